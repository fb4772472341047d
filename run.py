"""Set up and run the course: `python3 run.py lab`, `python3 run.py test`.

Standard library only. The environment lives in `.venv` and is made again when `pyproject.toml` or
`constraints.txt` changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST, NEWEST = (3, 11), (3, 13)
DEFAULT_PORT = 8888

# JupyterLab would ask for news and look for updates on the network: a classroom may have none.
LAB_SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}

USAGE = """\
usage: python3 run.py COMMAND [options]

  lab     open the course in JupyterLab      (--port N; the rest goes to JupyterLab)
  test    run every test and every notebook  (what follows goes to pytest)
  sweep   train the models that ship         (--help tells the options)
  images  build the pictures in Images/ and the numbers in the README
  bench   measure speed against the usual example  (bench sliders: the sliders' speed)

The first command makes the environment in .venv, which takes a few minutes.
"""


def main(arguments: list[str]) -> int:
    commands = {"lab": lab, "test": test, "sweep": sweep, "images": images, "bench": bench}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] not in commands:
        return fail(f"There is no command {arguments[0]!r}; choose one of {', '.join(commands)}.")
    problem = unsuitable_python()
    if problem:
        return fail(problem)
    try:
        prepare()
    except SetupError as error:
        return fail(str(error))
    try:
        return commands[arguments[0]](arguments[1:])
    except KeyboardInterrupt:
        return 130


def fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


# --- the environment ---------------------------------------------------------------------------------


class SetupError(Exception):
    """Setting up failed; the message says what to do."""


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


def made_with() -> str:
    """The interpreter and the folder that an environment belongs to; it works with no other."""
    return f"{sys.version_info[:2]} {ROOT}"


def dependencies() -> str:
    """Changes when what is to be installed does."""
    names = ("pyproject.toml", "constraints.txt")
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def stamped(name: str, text: str) -> bool:
    """Whether the environment carries this stamp: a step that was finished with this text."""
    stamp = VENV / name
    return PYTHON.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == text


def prepare() -> None:
    """Make `.venv` and install into it, unless it is up to date."""
    if stamped("made.txt", made_with()) and stamped("installed.txt", dependencies()):
        return
    print("Setting up the environment in .venv; this takes a few minutes the first time.", flush=True)
    install = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[dev]"]
    if not stamped("made.txt", made_with()):
        step([sys.executable, "-m", "venv", "--clear", str(VENV)])
        (VENV / "made.txt").write_text(made_with(), encoding="utf-8")
    (VENV / "installed.txt").unlink(missing_ok=True)
    step(install)
    (VENV / "installed.txt").write_text(dependencies(), encoding="utf-8")


def step(command: list[str]) -> None:
    """One step of setting up."""
    if subprocess.call(command, cwd=ROOT) != 0:
        raise SetupError(
            "Setting up the environment failed (see above): check the network and the free disk space (3 GB), "
            "then run the command again."
        )


# --- the commands ------------------------------------------------------------------------------------


def run(*command: str) -> int:
    """Run a program of the environment in the course's folder and return its exit code."""
    environment = {**os.environ, "PYTHONUTF8": "1"}
    process = subprocess.Popen([str(PYTHON), *command], cwd=ROOT, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # whoever ends this script ends the program
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the program got the same Ctrl-C and ends itself


def test(arguments: list[str]) -> int:
    return run("-m", "pytest", *arguments)


def sweep(arguments: list[str]) -> int:
    return run("-m", "vae_utils.sweep", *arguments)


def images(arguments: list[str]) -> int:
    return run("-m", "vae_utils.figures", *arguments)


def bench(arguments: list[str]) -> int:
    """`bench sliders …` times the sliders, `bench …` the training."""
    script = "training_speed.py"
    if arguments[:1] == ["sliders"]:
        script, arguments = "slider_speed.py", arguments[1:]
    return run(str(ROOT / "benchmarks" / script), *arguments)


def lab(arguments: list[str]) -> int:
    port, rest, problem = chosen_port(arguments)
    if problem:
        return fail(problem)
    settings = VENV / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "overrides.json").write_text(json.dumps(LAB_SETTINGS), encoding="utf-8")
    options = [f"--port={port}", "--port-retries=0"]
    options.append("--ServerApp.kernel_websocket_connection_class=vae_utils.lab.PromptConnection")  # quick sliders
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    if not has_display():
        options.append("--no-browser")
        print("There is no display here: open the address below in a browser.", flush=True)
    if not any(option.startswith("--ServerApp.root_dir") for option in rest):
        options.append(f"--ServerApp.root_dir={ROOT / 'notebooks'}")
    return run("-m", "jupyterlab", *options, *rest)


def chosen_port(arguments: list[str]) -> tuple[int, list[str], str]:
    """The port to serve on, the other arguments, and what is wrong with the wish (empty if nothing)."""
    wished, rest = None, []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--port" or argument.startswith("--port="):
            wished = argument.partition("=")[2] or next(remaining, "")
        else:
            rest.append(argument)
    if wished is not None and not (wished.isdecimal() and 0 < int(wished) < 65536):
        return 0, rest, f"--port needs a number from 1 to 65535, not {wished!r}."
    port = int(wished or DEFAULT_PORT)
    free = next((p for p in range(port, min(port + 50, 65536)) if port_is_free(p)), None)
    if free == port:
        return port, rest, ""
    if wished is None and free is not None:
        print(f"Port {port} is taken by another program, so the course opens on {free}.", flush=True)
        return free, rest, ""
    hint = f"`python3 run.py lab --port {free}`" if free else "another port"
    return 0, rest, f"Port {port} is taken by another program: stop that one or try {hint}."


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
