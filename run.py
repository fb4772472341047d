"""Set up and run the course: `python3 run.py lab`, `python3 run.py test`.

Standard library only. The environment lives in `.venv`; it is updated when `pyproject.toml` or `constraints.txt`
changes, and made anew when the Python or the folder does.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "made.txt"
OLDEST, NEWEST = (3, 11), (3, 13)
DEFAULT_PORT = 8888
CHECKSUMS = "SHA256SUMS"  # the list in a wheelhouse, as `sha256sum` writes it

# What a command needs beside the course and its extra `dev`.
EXTRAS = {"test": ("teach", "site"), "labs": ("teach",), "site": ("site",), "hub": ("hub",)}

# JupyterLab would ask for news and look for updates on the network: a classroom may have none.
LAB_SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}

USAGE = """\
usage: python3 run.py COMMAND [options]

  lab         open the course in JupyterLab      (--port N; the rest goes to JupyterLab)
  test        run every test and every notebook  (what follows goes to pytest)
  labs        build the labs from their sources, or grade a folder of submissions  (--help tells the options)
  site        build the course as a website in build/site/, which needs no Python  (--output FOLDER, --zip)
  hub         serve the course to a class by JupyterHub  (--help tells the options)
  check       see on one screen whether this machine is ready for the course
  wheelhouse  collect every package in a folder, for machines without internet  (--help tells the options)
  sweep       train the models that ship         (--help tells the options)
  images      build the pictures in Images/ and the numbers in the README
  bench       measure speed against the usual example  (bench sliders: the sliders, bench setup: setting up)

The first command makes the environment in .venv. Options of every command:

  --wheelhouse FOLDER  take the packages from this folder alone, without internet
  --gpu                on Linux: TensorFlow for NVIDIA GPUs; .venv keeps it until a command says --cpu
"""


def main(arguments: list[str]) -> int:
    commands = {
        "lab": lab,
        "test": test,
        "labs": labs,
        "site": site,
        "hub": hub,
        "check": check,
        "wheelhouse": wheelhouse,
        "sweep": sweep,
        "images": images,
        "bench": bench,
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] not in commands:
        return fail(f"There is no command {arguments[0]!r}; choose one of {', '.join(commands)}.")
    command = commands[arguments[0]]
    problem = unsuitable_python()
    if problem:
        return fail(problem)
    try:
        if command is wheelhouse:  # needs no environment
            return wheelhouse(arguments[1:])
        choice, rest = read_choice(arguments[1:], EXTRAS.get(arguments[0], ()))
        prepare(choice)
        return command(rest)
    except SetupError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130


def fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


def take_option(arguments: list[str], name: str) -> tuple[str | None, list[str]]:
    """The value of `name`, given as `--name value` or `--name=value` (None if it is not), and the other arguments."""
    value, rest = None, []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == name:
            value = next(remaining, "")
        elif argument.startswith(f"{name}="):
            value = argument.partition("=")[2]
        else:
            rest.append(argument)
    return value, rest


# --- what to set up ----------------------------------------------------------------------------------


class SetupError(Exception):
    """Setting up failed; the message says what to do."""


class Choice(NamedTuple):
    """The distribution of TensorFlow and the extras to install, and the folder of wheels (None: the network)."""

    tensorflow: str
    extras: tuple[str, ...] = ("dev",)
    wheelhouse: Path | None = None


def unsuitable_python(version: tuple[int, ...] = sys.version_info[:2]) -> str:
    """Why this Python cannot run the course, in one sentence; empty if it can."""
    if not OLDEST <= tuple(version) <= NEWEST:
        return (
            f"The course needs Python {dotted(OLDEST)} to {dotted(NEWEST)}, but this is {dotted(version)}: "
            f"install one of those and run it with that, for example `python{dotted(NEWEST)} run.py lab`."
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return (
            "This Python comes without the venv module: install it "
            f"(on Debian and Ubuntu: sudo apt install python{dotted(version)}-venv) and run the command again."
        )
    return ""


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version[:2])


def read_choice(arguments: list[str], extras: tuple[str, ...] = ()) -> tuple[Choice, list[str]]:
    """The choice that `--gpu`, `--cpu` and `--wheelhouse` make, and the other arguments.

    Without `--gpu` and `--cpu`, an environment keeps the TensorFlow that it has; it keeps its extras in any case.
    """
    folder, rest = take_option(arguments, "--wheelhouse")
    if folder == "":
        raise SetupError("--wheelhouse needs a folder: make one with `python3 run.py wheelhouse FOLDER`.")
    found = read_stamp().splitlines()
    tensorflow, kept = (found[2], found[3].split()) if found else (choose_tensorflow(), ())
    for option in ("--gpu", "--cpu"):
        if option in rest:
            tensorflow = choose_tensorflow(gpu=option == "--gpu")
    rest = [argument for argument in rest if argument not in ("--gpu", "--cpu")]
    return Choice(tensorflow, tuple(sorted({"dev", *kept, *extras})), Path(folder).resolve() if folder else None), rest


def choose_tensorflow(gpu: bool = False, system: str = "", machine: str = "") -> str:
    """The distribution to install here, or on another system: `tensorflow-cpu`, half as large, is for x86-64 Linux."""
    system, machine = system or sys.platform, machine or platform.machine()
    if gpu and system != "linux":
        raise SetupError("TensorFlow uses a GPU on Linux only (on Windows: in WSL): leave out --gpu.")
    if gpu:
        return "tensorflow[and-cuda]"
    return "tensorflow-cpu" if (system, machine) == ("linux", "x86_64") else "tensorflow"


def list_requirements(tensorflow: str, extras: tuple[str, ...]) -> list[str]:
    """What the course and these extras need, and what builds it, with this distribution in place of `tensorflow`."""
    import tomllib  # new in Python 3.11; an older one must get as far as the sentence that says so

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    wanted = project["dependencies"] + settings["build-system"]["requires"]
    for extra in extras:
        wanted += project["optional-dependencies"].get(extra, [])
    return [re.sub(r"^tensorflow(?![\w-])", tensorflow, requirement) for requirement in wanted]


def make_stamp(choice: Choice) -> str:
    """What an environment was made for, by line: Python, folder, TensorFlow; extras; the list of packages."""
    files = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    digest = hashlib.sha256(b"".join(files)).hexdigest()
    return f"{sys.version_info[:2]}\n{ROOT}\n{choice.tensorflow}\n{' '.join(choice.extras)}\n{digest}"


def read_stamp() -> str:
    """What `.venv` was made for; empty if it is missing or unfinished."""
    text = STAMP.read_text(encoding="utf-8") if STAMP.exists() and venv_program("python").exists() else ""
    return text if len(text.splitlines()) == 5 else ""  # an older course's had fewer


# --- setting up --------------------------------------------------------------------------------------


def prepare(choice: Choice) -> None:
    """Make `.venv` and install into it, unless that was done; only another list of packages needs no new `.venv`."""
    found, wanted = read_stamp(), make_stamp(choice)
    if found == wanted:
        return
    if choice.wheelhouse:
        verify_wheelhouse(choice.wheelhouse)
    print("Setting up the environment in .venv …", flush=True)
    STAMP.unlink(missing_ok=True)  # until all is installed, so that an interrupted set-up starts anew
    anew = found.splitlines()[:3] != wanted.splitlines()[:3]
    if anew and not succeeds([sys.executable, "-m", "venv", "--clear", VENV]):
        raise SetupError("Python could not make the folder .venv (see above): close what uses it and try again.")
    install(choice)
    STAMP.write_text(wanted, encoding="utf-8")


def install(choice: Choice) -> None:
    """Install what the course needs, then the course itself: by uv, else by pip."""
    source = ["--no-index", "--find-links", choice.wheelhouse] if choice.wheelhouse else []
    packages = ["-c", ROOT / "constraints.txt", *list_requirements(choice.tensorflow, choice.extras)]
    course = ["--no-deps", "--no-build-isolation", "-e", ROOT]
    python = venv_program("python")
    uv = find_uv(VENV, source)
    if uv:
        command = [uv, "pip", "install", "--quiet", "--python", python, *source]
        if sys.dont_write_bytecode:  # then Python would compile every package again at every start
            command.append("--compile-bytecode")
        if succeeds([*command, *packages]) and succeeds([*command, *course]):
            return
    reason = "uv could not install the packages (see above)" if uv else "uv is not to be had here"
    print(f"{reason}: pip installs them, which takes a few minutes.", flush=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *source]
    if not (succeeds([*command, *packages]) and succeeds([*command, *course])):
        raise SetupError(explain_failure(choice.wheelhouse))


def explain_failure(folder: Path | None) -> str:
    if folder:
        return (
            f"Setting up from {folder} failed (see above): it must have been made for this system and "
            f"Python {dotted(sys.version_info)}, see `python3 run.py wheelhouse --help`."
        )
    return (
        "Setting up the environment failed (see above): check the network and the free disk space (3 GB), "
        "then run the command again."
    )


def find_uv(venv: Path, source: list) -> Path | str:
    """A uv that works: from PATH, else installed into the environment `venv`; empty if it cannot be had."""
    on_path = shutil.which("uv")
    if on_path and succeeds([on_path, "--version"], quiet=True):
        return on_path
    pip = [venv_program("python", venv), "-m", "pip", "install", "--retries=1", "-c", ROOT / "constraints.txt", *source]
    own = venv_program("uv", venv)
    return own if succeeds([*pip, "uv"], quiet=True) and own.exists() else ""


def venv_program(name: str, venv: Path | None = None) -> Path:
    """Path of a program in an environment, `.venv` unless another is given."""
    return (venv or VENV) / (f"Scripts/{name}.exe" if os.name == "nt" else f"bin/{name}")


def succeeds(command: list, quiet: bool = False) -> bool:
    """Run a program in the course's folder and return whether it went well."""
    output = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.call([str(part) for part in command], cwd=ROOT, stdout=output, stderr=output) == 0
    except OSError:
        return False


def verify_wheelhouse(folder: Path) -> None:
    """Raise SetupError unless the folder holds the packages of its list of checksums, unchanged, and no others."""
    sums = folder / CHECKSUMS
    text = sums.read_text(encoding="utf-8") if sums.is_file() else ""
    listed = {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (.+)$", text, re.MULTILINE)}
    if not listed:
        raise SetupError(f"{folder} is no wheelhouse: make one with `python3 run.py wheelhouse FOLDER`.")
    found = {path.name for path in folder.iterdir() if path.suffix in (".whl", ".gz", ".zip")}
    for name in sorted(listed.keys() | found):
        if name not in listed or name not in found or checksum(folder / name) != listed[name]:
            what = "missing" if name not in found else "damaged" if name in listed else "not in its list of checksums"
            raise SetupError(f"{name} in {folder} is {what}: copy the wheelhouse again.")


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- the commands ------------------------------------------------------------------------------------


def run(*command: str) -> int:
    """Run a Python program of the environment in the course's folder and return its exit code."""
    environment = {**os.environ, "PYTHONUTF8": "1"}
    process = subprocess.Popen([str(venv_program("python")), *command], cwd=ROOT, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # whoever ends this script ends the program
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the program got the same Ctrl-C and ends itself


def test(arguments: list[str]) -> int:
    """Three files at a time, the notebooks first: on two cores one of the three mostly waits. One thread in each."""
    for threads in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(threads, "1")
    at_once = ["-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
    return run("-m", "pytest", *at_once, *arguments)


def labs(arguments: list[str]) -> int:
    return run("-m", "tools.labs", *arguments)


def site(arguments: list[str]) -> int:
    return run("-m", "tools.site", *arguments)


def hub(arguments: list[str]) -> int:
    write_lab_settings()
    return run("-m", "tools.hub", *arguments)


def check(arguments: list[str]) -> int:
    return run("-m", "tools.check", *arguments)


def wheelhouse(arguments: list[str]) -> int:
    from tools.wheelhouse import main as collect

    return collect(arguments)


def sweep(arguments: list[str]) -> int:
    return run("-m", "tools.sweep", *arguments)


def images(arguments: list[str]) -> int:
    return run("-m", "tools.images", *arguments)


def bench(arguments: list[str]) -> int:
    """`bench sliders …` times the sliders, `bench setup …` setting up, `bench …` the training."""
    modules = {"sliders": "tools.slider_speed", "setup": "tools.setup_speed"}
    if arguments and arguments[0] in modules:
        return run("-m", modules[arguments[0]], *arguments[1:])
    return run("-m", "tools.training_speed", *arguments)


def lab(arguments: list[str]) -> int:
    port, rest, problem = choose_port(arguments)
    if problem:
        return fail(problem)
    write_lab_settings()
    options = [f"--port={port}", "--port-retries=0"]
    # `python -m` in the course's folder makes `tools` importable.
    options.append("--ServerApp.kernel_websocket_connection_class=tools.lab_server.PromptConnection")  # quick sliders
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    if not has_display():
        options.append("--no-browser")
        print("There is no display here: open the address below in a browser.", flush=True)
    if not any(option.startswith("--ServerApp.root_dir") for option in rest):
        options.append(f"--ServerApp.root_dir={ROOT / 'notebooks'}")
    return run("-m", "jupyterlab", *options, *rest)


def write_lab_settings() -> None:
    """JupyterLab's settings for this environment."""
    settings = VENV / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "overrides.json").write_text(json.dumps(LAB_SETTINGS), encoding="utf-8")


def choose_port(arguments: list[str]) -> tuple[int, list[str], str]:
    """The port to serve on, the other arguments, and what is wrong with the wish (empty if nothing)."""
    wished, rest = take_option(arguments, "--port")
    if wished is not None and not (wished.isdecimal() and 0 < int(wished) < 65536):
        return 0, rest, f"--port needs a number from 1 to 65535, not {wished!r}."
    port = int(wished or DEFAULT_PORT)
    free = find_free_port(port)
    if free == port:
        return port, rest, ""
    if wished is None and free is not None:
        print(f"Port {port} is taken by another program, so the course opens on {free}.", flush=True)
        return free, rest, ""
    hint = f"`python3 run.py lab --port {free}`" if free else "another port"
    return 0, rest, f"Port {port} is taken by another program: stop that one or try {hint}."


def find_free_port(port: int) -> int | None:
    """The first free port of the fifty from `port` on, None if all are taken."""
    return next((p for p in range(port, min(port + 50, 65536)) if port_is_free(p)), None)


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def has_display() -> bool:
    """Whether a browser can open here: always on Windows and macOS, elsewhere when a screen is announced."""
    return os.name == "nt" or sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
