"""A class server: JupyterHub with an account, a kernel and a folder for every student, and the course read-only.

    python3 run.py hub --add anna ben    makes accounts and prints their passwords, this once
    python3 run.py hub                   serves the class on this machine alone; other options go to JupyterHub
    python3 run.py hub --measure         memory per student, written to hub.json, from where the guide has it

All students' processes run as the user who starts this, so nothing keeps a kernel out of another student's folder: for
one machine, for tests, and for a class that is trusted. labs/hub.md says what fits other classes.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import requests
import websocket

import run

ROOT = run.ROOT
RECORD_PATH = Path(__file__).with_suffix(".json")
PROXY = ROOT / "build" / "proxy" / "node_modules" / ".bin" / "configurable-http-proxy"
INSTALL_PROXY = "npm install --prefix build/proxy configurable-http-proxy"
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # of passwords: none that is mistaken for another
CLASS_SIZE = 30


class HubError(Exception):
    """The class server cannot start; the message says what to do."""


# --- accounts -----------------------------------------------------------------------------------------


def read_accounts(folder: Path) -> dict[str, list[str]]:
    """Salt and hash of the password, in hexadecimal digits, by the student's name."""
    path = folder / "accounts.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def add_account(folder: Path, name: str) -> str:
    """Make an account, or a new password for one that exists; the password is returned and stored nowhere."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name):
        raise HubError(f"{name!r} cannot be a name: use a to z, 0 to 9, - and _, a letter first, at most 32 in all.")
    password = "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(3))
    salt = secrets.token_hex(16)
    accounts = read_accounts(folder) | {name: [salt, hash_password(password, salt)]}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = folder / "accounts.new"
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)  # before anything is in it
    new.write_text(json.dumps(accounts, indent=1), encoding="utf-8")
    new.replace(folder / "accounts.json")  # at once: the hub may be reading
    return password


def hash_password(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1).hex()


def is_right(folder: Path, name: str, password: str) -> bool:
    """Whether this is the password of an account; of a name without one it takes as long to say no."""
    salt, digest = read_accounts(folder).get(name, ("00" * 16, ""))
    return secrets.compare_digest(hash_password(password, salt), digest)


# --- folders and start --------------------------------------------------------------------------------


def lay_out_course(folder: Path) -> None:
    """Copy notebooks, labs and pictures to `course` in the class's folder, read-only; an earlier copy goes."""
    course = folder / "course"
    for path in course.glob("**/"):
        path.chmod(0o755)
    shutil.rmtree(course, ignore_errors=True)
    for name in ("notebooks", "Images"):
        shutil.copytree(ROOT / name, course / name, ignore=shutil.ignore_patterns(".*"))
    for path in (course, *course.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def lay_out_home(home: Path) -> None:
    """A student's folder: a link to the course, and notebooks of the student's own, of which none is overwritten."""
    course = home.parent.parent / "course"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, target in (("course", "../../course"), ("Images", "course/Images")):  # notebooks show ../Images/…
        if not (home / name).exists():
            (home / name).symlink_to(target)
    for source in (course / "notebooks").rglob("*"):
        copy = home / source.relative_to(course)
        if source.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)  # without the mode: this one can be written


def find_proxy() -> str:
    """The program of the proxy: the one in build/proxy, else the one on PATH; HubError if there is none."""
    found = shutil.which(PROXY) or shutil.which(PROXY.name)
    if not found or not shutil.which("node"):
        raise HubError(f"JupyterHub's proxy is missing: install Node.js, then run `{INSTALL_PROXY}` in {ROOT}.")
    return str(found)


def start(folder: Path, port: int, public: bool, rest: list[str]) -> None:
    """Become JupyterHub in the class's folder, where it keeps its own files, too; HubError if that cannot be."""
    if os.name == "nt":
        raise HubError("JupyterHub runs on Linux and macOS only (on Windows: in WSL).")
    if importlib.util.find_spec("jupyterhub") is None:
        raise HubError("JupyterHub is missing: start it by `python3 run.py hub`, or install `.[dev,hub]`.")
    find_proxy()
    accounts = read_accounts(folder)
    if not accounts:
        raise HubError("There are no accounts: make some with `python3 run.py hub --add NAME NAME …`.")
    if not run.port_is_free(port):
        raise HubError(f"Port {port} is taken by another program: stop that one or choose another with --port.")
    lay_out_course(folder)
    address = f"http://{'0.0.0.0' if public else '127.0.0.1'}:{port}"
    reach = "Only this machine reaches it; --public opens it to the network."
    if public:
        reach = "The network reaches it; without HTTPS (labs/hub.md) passwords cross it for everyone to read."
    print(f"{len(accounts)} accounts, {address} (end with Ctrl-C). {reach}", flush=True)
    hub_port = run.find_free_port(port + 1)
    options = [
        f"--config={Path(__file__).with_name('hub_config.py')}",
        f"--JupyterHub.bind_url={address}",
        f"--JupyterHub.hub_port={hub_port}",
        f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{run.find_free_port(hub_port + 1)}",
    ]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]  # hub_config.py imports this module
    program = str(Path(sys.executable).with_name("jupyterhub"))
    os.chdir(folder)
    os.execve(program, [program, *options, *rest], {**os.environ, "PYTHONPATH": os.pathsep.join(paths)})


# --- a class of students, for the tests and the measuring ---------------------------------------------


@contextmanager
def serve_class(*names: str, options: tuple[str, ...] = ()) -> Iterator[tuple[psutil.Process, str, dict[str, str]]]:
    """A class server in a folder of its own: the hub's process, its address, and the password of each student."""
    with tempfile.TemporaryDirectory(prefix="class-") as temporary:
        folder, port = Path(temporary), run.find_free_port(8600)
        passwords = {name: add_account(folder, name) for name in names}
        command = [sys.executable, "-m", "tools.hub", f"--folder={folder}", f"--port={port}", *options]
        log = folder / "hub.log"
        with log.open("w") as file:
            server = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
        try:
            wait_until(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/hub/health"))
            if server.poll() is not None:
                raise HubError(f"The class server did not start: {log.read_text()}")
            yield psutil.Process(server.pid), f"http://127.0.0.1:{port}", passwords
        finally:
            server.terminate()
            server.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.RequestException:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Return when the condition holds; TimeoutError if it takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"The class server did not do in {seconds} s what was waited for.")
        time.sleep(0.2)


class Student:
    """What a student's browser does: logs in, starts the server, runs cells in a kernel."""

    def __init__(self, address: str, name: str) -> None:
        self.hub, self.name, self.server = f"{address}/hub", name, f"{address}/user/{name}"
        self.session = requests.Session()

    def log_in(self, password: str) -> requests.Response:
        """Fill in the login page; the reply is the page behind it."""
        self.session.get(f"{self.hub}/login")
        form = {"username": self.name, "password": password, "_xsrf": self.session.cookies.get("_xsrf")}
        return self.session.post(f"{self.hub}/login?next=/hub/home", data=form)

    def start_server(self) -> None:
        """Start the server, open JupyterLab, and start a kernel in the folder of the notebooks."""
        self.session.get(f"{self.hub}/spawn")
        wait_until(lambda: self.session.get(f"{self.server}/lab").url.startswith(self.server))  # not at the hub
        kernel = self.call("POST", "kernels", {"name": "python3", "path": "notebooks"}).json()["id"]
        url = f"{self.server}/api/kernels/{kernel}/channels"
        cookies = requests.cookies.get_cookie_header(self.session.cookies, requests.Request("GET", url))
        self.socket = websocket.create_connection(url.replace("http", "ws", 1), cookie=cookies, timeout=300)

    def call(self, method: str, path: str, content: Any = None) -> requests.Response:
        """One call of the server's API."""
        token = self.session.cookies.get("_xsrf", path=f"/user/{self.name}/")
        return self.session.request(method, f"{self.server}/api/{path}", json=content, headers={"X-XSRFToken": token})

    def run(self, code: str) -> str:
        """Run a cell and return what it prints; RuntimeError if it fails."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": self.name, "version": "5.3"}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self.socket.send(json.dumps(message))
        printed = ""
        while True:
            reply = json.loads(self.socket.recv())
            kind, content = reply["header"]["msg_type"], reply["content"]
            if reply["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if kind == "stream":
                printed += content["text"]
            elif kind == "error":
                raise RuntimeError(f"{self.name}: {content['ename']}: {content['evalue']}")
            elif kind == "status" and content["execution_state"] == "idle":
                return printed


# --- measuring ----------------------------------------------------------------------------------------

EXPLORING = """\
import numpy as np
from vae_utils import load_pretrained
vae = load_pretrained(2)
for x in np.linspace(-2, 2, 20):
    vae.decode(np.array([[x, 0.0]], np.float32))"""
TRAINING = """\
from vae_utils import VAE, BernoulliDraws, build_decoder, build_encoder, load_mnist, split_validation, train
x_train, x_validation = split_validation(load_mnist()[0][0])
train(VAE(build_encoder(2), build_decoder(2)), x_train, x_validation, epochs=1, corrupt=BernoulliDraws())"""


def measure_memory(hub: psutil.Process) -> Counter[str]:
    """Megabytes (10⁶ bytes) by student, and of hub and proxy under the name "".

    It is the proportional set size: of a page that several processes share, each counts its part.
    """
    megabytes: Counter[str] = Counter()
    for process in (hub, *hub.children(recursive=True)):
        megabytes[process.environ().get("JUPYTERHUB_USER", "")] += process.memory_full_info().pss / 1e6
    return megabytes


def measure(*names: str) -> dict[str, Any]:
    """Memory per student after exploring and at the peak of training, all of them at once; what a class needs."""
    with serve_class(*names) as (hub, address, passwords), ThreadPoolExecutor() as threads:
        students = [Student(address, name) for name in names]
        for student in students:
            student.log_in(passwords[student.name])
            student.start_server()
            student.run(EXPLORING)
        exploring = training = measure_memory(hub)
        epochs = [threads.submit(student.run, TRAINING) for student in students]
        while not all(epoch.done() for epoch in epochs):
            time.sleep(0.5)
            training = training | measure_memory(hub)  # the larger of each
        [epoch.result() for epoch in epochs]  # raises what a cell raised
    hub_megabytes = exploring[""]
    record: dict[str, Any] = {"students": len(names), "hub_megabytes": round(hub_megabytes)}
    for name, megabytes in (("exploring", exploring), ("training", training)):
        most = max(megabytes[student] for student in names)
        record[f"{name}_megabytes"] = round(most)
        record[f"class_of_{CLASS_SIZE}_{name}_gigabytes"] = round((hub_megabytes + CLASS_SIZE * most) / 1000, 1)
    record["machine"] = f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores"
    packages = [f"{name} {version(name)}" for name in ("jupyterhub", "jupyterlab", "keras")]
    return record | {"versions": ", ".join([f"Python {platform.python_version()}", *packages])}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py hub", description=__doc__.splitlines()[0])
    parser.add_argument("--add", nargs="+", default=[], metavar="NAME", help="make accounts, or new passwords")
    parser.add_argument("--folder", type=Path, default=ROOT / "class", help="accounts and students' folders")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--public", action="store_true", help="let in other machines of the network, too")
    parser.add_argument("--measure", action="store_true", help=f"measure memory and write {RECORD_PATH.name}")
    options, rest = parser.parse_known_args(arguments)
    try:
        for name in options.add:
            print(f"{name:16s}{add_account(options.folder.resolve(), name)}")
        if options.measure:
            RECORD_PATH.write_text(json.dumps(measure("anna", "ben", "cem"), indent=1) + "\n", encoding="utf-8")
            print(RECORD_PATH.read_text(encoding="utf-8"), end="")
        elif not options.add:
            start(options.folder.resolve(), options.port, options.public, rest)
    except HubError as error:
        return run.fail(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
