"""run.py: what it refuses, what it starts, and how it sets up.

Setting up is tried for real on a small stand-in course, whose packages lie in a package index on the disk.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import run
from tools import check, setup_speed

ROOT = Path(__file__).parent.parent
SETUPTOOLS = importlib.metadata.version("setuptools")
X86_LINUX = run.choose_tensorflow() == "tensorflow-cpu"


# --- what it refuses and what it starts --------------------------------------------------------------


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What run.py would have started, in an environment that is there already."""
    started = []
    monkeypatch.setattr(run, "run", lambda *command: started.append(command) or 0)
    monkeypatch.setattr(run, "prepare", lambda choice: None)
    monkeypatch.setattr(run, "VENV", tmp_path)
    return started


@pytest.mark.parametrize("version", [(3, 10), (3, 14), (2, 7)])
def test_an_unsuitable_python_gets_one_sentence(version):
    sentence = run.unsuitable_python(version)
    assert "needs Python 3.11 to 3.13" in sentence and f"{version[0]}.{version[1]}" in sentence


def test_an_old_python_without_tomllib_gets_as_far_as_that_sentence():
    code = "import sys; sys.modules['tomllib'] = None; import run; print(run.unsuitable_python((3, 10)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "needs Python 3.11" in result.stdout


def test_a_suitable_python_passes():
    assert run.unsuitable_python() == ""


def test_python_without_venv_gets_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert "-venv" in run.unsuitable_python((3, 11))


def test_unknown_command():
    result = subprocess.run([sys.executable, ROOT / "run.py", "tset"], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "There is no command 'tset'" in result.stderr


PYTEST = ("-m", "pytest", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["test", "-k", "losses"], (*PYTEST, "-k", "losses")),
        (["check"], ("-m", "tools.check")),
        (["sweep", "--help"], ("-m", "tools.sweep", "--help")),
        (["images"], ("-m", "tools.images")),
        (["labs", "--grade", "class"], ("-m", "tools.labs", "--grade", "class")),
        (["site", "--zip"], ("-m", "tools.site", "--zip")),
        (["hub", "--add", "anna", "ben"], ("-m", "tools.hub", "--add", "anna", "ben")),
        (["bench", "--full"], ("-m", "tools.training_speed", "--full")),
        (["bench", "sliders", "--record"], ("-m", "tools.slider_speed", "--record")),
        (["bench", "setup", "--record"], ("-m", "tools.setup_speed", "--record")),
        (["test", "--gpu", "-x", "--wheelhouse", "usb", "-k", "a"], (*PYTEST, "-x", "-k", "a")),
    ],
)
def test_a_command_starts_its_program_with_what_follows(arguments, expected, commands, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert run.main(arguments) == 0
    assert commands == [expected]
    assert importlib.util.find_spec(expected[1])


@pytest.mark.parametrize("arguments", [["--port", "{}"], ["--port={}"]])
def test_a_taken_port_gets_one_sentence(arguments, commands, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run.main(["lab", *(argument.format(port) for argument in arguments)]) == 1
    assert f"Port {port} is taken" in capsys.readouterr().err
    assert commands == []


@pytest.mark.parametrize("port", ["0", "70000", "eight", ""])
def test_a_port_that_is_none(port, commands, capsys):
    assert run.main(["lab", "--port", port]) == 1
    assert "--port needs a number" in capsys.readouterr().err


def test_a_taken_default_port_moves_on(commands, monkeypatch):
    monkeypatch.setattr(run, "port_is_free", lambda port: port > run.DEFAULT_PORT + 1)
    assert run.main(["lab"]) == 0
    assert f"--port={run.DEFAULT_PORT + 2}" in commands[0]


def test_lab_as_root_and_without_a_display(commands, monkeypatch, capsys):
    monkeypatch.setattr(run, "has_display", lambda: False)
    monkeypatch.setattr(run.os, "geteuid", lambda: 0, raising=False)
    run.main(["lab"])
    assert "--allow-root" in commands[0] and "--no-browser" in commands[0]
    assert "open the address below" in capsys.readouterr().out


def test_the_lab_sends_small_messages_at_once(commands, monkeypatch):
    run.main(["lab"])
    option = next(option for option in commands[0] if "kernel_websocket_connection_class" in option)
    module, _, name = option.partition("=")[2].rpartition(".")
    connection_class = getattr(importlib.import_module(module), name)
    calls = []
    monkeypatch.setattr(connection_class.__base__, "connect", lambda self: calls.append("connected"))
    connection = connection_class.__new__(connection_class)
    monkeypatch.setattr(connection_class, "websocket_handler", SimpleNamespace(set_nodelay=calls.append))
    connection.connect()
    assert calls == [True, "connected"]


@pytest.mark.parametrize(
    ("gpu", "system", "machine", "expected"),
    [
        (False, "linux", "x86_64", "tensorflow-cpu"),
        (False, "linux", "aarch64", "tensorflow"),
        (False, "darwin", "arm64", "tensorflow"),
        (False, "win32", "AMD64", "tensorflow"),
        (True, "linux", "x86_64", "tensorflow[and-cuda]"),
    ],
)
def test_which_tensorflow_is_installed(gpu, system, machine, expected):
    assert run.choose_tensorflow(gpu, system, machine) == expected


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_a_gpu_that_tensorflow_cannot_use_gets_one_sentence(system, monkeypatch, commands, capsys):
    monkeypatch.setattr(sys, "platform", system)
    assert run.main(["lab", "--gpu"]) == 1
    assert "on Linux only" in capsys.readouterr().err and commands == []


# --- setting up a stand-in course --------------------------------------------------------------------

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "small-course"
version = "1.0"
dependencies = ["tensorflow>=2", "greeting"]

[project.optional-dependencies]
dev = ["pytest"]

[tool.setuptools]
py-modules = ["small_course"]
"""
CONSTRAINTS = ["greeting==1.0", "pytest==1.0", f"setuptools=={SETUPTOOLS}", "tensorflow==2.0", "tensorflow-cpu==2.0"]

# In the place of pytest: prints what is installed and which networks there are.
REPORT = """\
import importlib.util, json, socket, sys
import greeting, small_course, tensorflow
networks = [name for _, name in socket.if_nameindex()]
report = {"greeting": greeting.TEXT, "tensorflow": tensorflow.BUILD, "course": small_course.__file__}
report |= {"gpu": bool(importlib.util.find_spec("nvidia_stub")), "arguments": sys.argv[1:], "networks": networks}
print("REPORT" + json.dumps(report))
"""


def write_wheel(folder, name, files, version="1.0", requires=(), tag="py3-none-any"):
    """A wheel of the given files (path: text), in a package index of the form of PEP 503."""
    stem = f"{name.replace('-', '_')}-{version}"
    header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        **files,
        f"{stem}.dist-info/METADATA": header + "".join(f"{line}\n" for line in requires),
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{stem}.dist-info/RECORD"])
    write_archive(folder / name, f"{stem}-{tag}.whl", {**files, f"{stem}.dist-info/RECORD": record})


def write_archive(folder, name, files):
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    links = "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text(links)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A package index: the real setuptools, and small packages in the place of all others."""
    folder = tmp_path_factory.mktemp("index")
    installed = importlib.metadata.distribution("setuptools")
    files = {path.as_posix(): path.read_binary() for path in installed.files if ".." not in path.parts}
    files = {path: content for path, content in files.items() if not path.endswith(".pyc")}
    write_archive(folder / "setuptools", f"setuptools-{SETUPTOOLS}-py3-none-any.whl", files)
    for version in ("0.9", "1.0"):
        on_windows = "Requires-Dist: windows-helper; sys_platform == 'win32'"
        write_wheel(folder, "greeting", {"greeting.py": f"TEXT = 'hello {version}'\n"}, version, [on_windows])
    write_wheel(folder, "windows-helper", {"windows_helper.py": ""}, tag="cp312-cp312-win_amd64")
    write_wheel(folder, "pytest", {"pytest/__init__.py": "", "pytest/__main__.py": REPORT})
    with_gpu = ["Provides-Extra: and-cuda", "Requires-Dist: nvidia-stub; extra == 'and-cuda'"]
    write_wheel(folder, "tensorflow", {"tensorflow.py": "BUILD = 'full'\n"}, "2.0", with_gpu)
    write_wheel(folder, "tensorflow-cpu", {"tensorflow.py": "BUILD = 'cpu'\n"}, "2.0")
    write_wheel(folder, "nvidia-stub", {"nvidia_stub.py": ""})
    write_wheel(folder, "uv", {"uv_stub.txt": ""})  # without a program; the tests take the real one from PATH
    return folder


class Course:
    """A copy of run.py in a small course, its folder's name one that careless programs trip over."""

    def __init__(self, folder, index):
        self.folder = folder / "Grüße an alle"
        (self.folder / "tools").mkdir(parents=True)
        for name in ("run.py", "tools/__init__.py", "tools/wheelhouse.py"):
            shutil.copy(ROOT / name, self.folder / name)
        (self.folder / "pyproject.toml").write_text(PYPROJECT)
        (self.folder / "small_course.py").write_text("")
        self.pin(*CONSTRAINTS)
        paths = [path for path in os.environ["PATH"].split(os.pathsep) if not shutil.which("uv", path=path)]
        self.path_without_uv = os.pathsep.join(paths)
        url = index.as_uri()
        own = {"PIP_INDEX_URL": url, "UV_DEFAULT_INDEX": url, "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
        own |= {"PIP_NO_CACHE_DIR": "1", "UV_CACHE_DIR": str(folder / "cache"), "PATH": self.path_without_uv}
        self.environment = {**os.environ, **own}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, uv would compile every package

    def pin(self, *constraints):
        (self.folder / "constraints.txt").write_text("\n".join(constraints))

    def use_uv(self, program):
        """Put a folder with this program as `uv` first on PATH."""
        folder = self.folder.parent / "bin"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(program, folder / f"uv{Path(program).suffix}")
        self.environment["PATH"] = f"{folder}{os.pathsep}{self.path_without_uv}"

    def start(self, *arguments, prefix=()):
        command = [*prefix, sys.executable, str(self.folder / "run.py"), *arguments]
        return subprocess.run(
            command, cwd=self.folder.parent, env=self.environment, capture_output=True, encoding="utf-8", check=False
        )

    def report(self, *arguments, prefix=()):
        """What `run.py test` found installed, and what else it printed."""
        result = self.start("test", *arguments, prefix=prefix)
        assert result.returncode == 0, result.stdout + result.stderr
        printed, _, report = result.stdout.partition("REPORT")
        return json.loads(report), printed


@pytest.fixture
def course(tmp_path, index):
    """A stand-in course on a machine without uv."""
    return Course(tmp_path, index)


@pytest.fixture(scope="module")
def uv():
    """The uv of this machine or environment."""
    path = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip("uv could not be had when this environment was set up")
    return path


def write_script(path, text):
    if os.name == "nt":
        pytest.skip("needs a shell script in the place of uv")
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_sets_up_once_and_again_when_something_changes(course, uv):
    course.use_uv(uv)
    report, printed = course.report("-k", "one")
    assert "Setting up" in printed and "pip" not in printed
    assert report["greeting"] == "hello 1.0" and report["arguments"][-2:] == ["-k", "one"]
    assert Path(report["course"]).parent == course.folder
    assert report["tensorflow"] == ("cpu" if X86_LINUX else "full") and not report["gpu"]

    index = course.environment["UV_DEFAULT_INDEX"]
    course.environment |= {name: "file:///nowhere" for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL")}
    assert "Setting up" not in course.report()[1]  # nothing to be done without the network
    course.environment |= {"UV_DEFAULT_INDEX": index, "PIP_INDEX_URL": index}

    course.pin("greeting==0.9", *CONSTRAINTS[1:])
    report, printed = course.report()
    assert "Setting up" in printed and report["greeting"] == "hello 0.9"

    course.folder = course.folder.rename(course.folder.parent / "elsewhere")
    report, printed = course.report()
    assert "Setting up" in printed and Path(report["course"]).parent == course.folder


@pytest.mark.skipif(sys.platform != "linux", reason="TensorFlow uses a GPU on Linux only")
def test_the_choice_of_a_gpu_is_kept(course, uv):
    course.use_uv(uv)
    report, _ = course.report("--gpu")
    assert report["tensorflow"] == "full" and report["gpu"] and "--gpu" not in report["arguments"]
    report, printed = course.report()
    assert report["gpu"] and "Setting up" not in printed
    report, _ = course.report("--cpu")
    assert not report["gpu"]


def test_an_unfinished_environment_is_made_anew(course, uv):
    course.use_uv(uv)
    course.pin("greeting==7.0", *CONSTRAINTS[1:])  # there is no such version
    result = course.start("test")
    assert result.returncode == 1 and result.stderr.splitlines()[-1].startswith("Setting up the environment failed")
    assert "check the network" in result.stderr and "Traceback" not in result.stderr
    assert not (course.folder / ".venv" / "made.txt").exists()
    (half,) = (course.folder / ".venv").rglob("site-packages")
    (half / "greeting.py").write_text("TEXT = 'half written'\n")  # as after a set-up that was killed half-way
    course.pin(*CONSTRAINTS)
    assert course.report()[0]["greeting"] == "hello 1.0"


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("exit 1", "uv is not to be had here"),
        ('test "$1" = --version', "uv could not install the packages"),
    ],
)
def test_pip_installs_where_uv_does_not(program, sentence, course, tmp_path):
    course.use_uv(write_script(tmp_path / "uv", program))
    report, printed = course.report()
    assert report["greeting"] == "hello 1.0"
    assert [line for line in printed.splitlines() if "uv" in line] == [
        f"{sentence}{' (see above)' if 'install' in sentence else ''}: pip installs them, which takes a few minutes."
    ]


# --- without internet --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def no_network():
    """What to put before a command so that it has no network."""
    for prefix in (["unshare", "-rn"], ["unshare", "-n"]):
        if (
            shutil.which("unshare")
            and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
        ):
            return prefix
    pytest.skip("this machine does not allow network namespaces")


@pytest.fixture(scope="module")
def collected(tmp_path_factory, index, uv):
    """A wheelhouse for this system and this Python."""
    course = Course(tmp_path_factory.mktemp("teacher"), index)
    course.use_uv(uv)
    result = course.start("wheelhouse", "Räder für alle")
    assert result.returncode == 0, result.stderr
    folder = course.folder.parent / "Räder für alle"
    assert f"{len(list(folder.glob('*.whl')))} wheels" in result.stdout
    return folder


def test_a_course_is_set_up_from_a_wheelhouse_without_network(course, uv, collected, no_network):
    course.use_uv(uv)
    report, _ = course.report("--wheelhouse", str(collected), prefix=no_network)
    assert report["greeting"] == "hello 1.0" and report["networks"] == ["lo"]
    assert Path(report["course"]).parent == course.folder


def test_pip_sets_up_from_a_wheelhouse(course, collected):
    course.environment["PIP_INDEX_URL"] = "file:///nowhere"
    report, printed = course.report(f"--wheelhouse={collected}")
    assert report["greeting"] == "hello 1.0" and "pip installs them" in printed


def test_a_wheelhouse_for_other_systems(course, uv):
    course.use_uv(uv)
    systems = ["--platform", "windows", "--platform", "macos", "--python", "3.12"]
    result = course.start("wheelhouse", "wheels", *systems)
    assert result.returncode == 0, result.stderr
    folder = course.folder.parent / "wheels"
    names = {path.name.split("-")[0] for path in folder.glob("*.whl")}
    assert names == {"greeting", "pytest", "setuptools", "tensorflow", "uv", "windows_helper"}
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in sorted(folder.glob("*.whl"))
    ]


def test_a_wheelhouse_comes_whole_or_not_at_all(course, uv):
    course.use_uv(uv)
    result = course.start("wheelhouse", "wheels", "--platform", "windows", "--python", "3.13")  # a helper is missing
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].endswith(("check the network.", "then run the command again."))
    assert sorted(path.name for path in course.folder.parent.iterdir()) == ["Grüße an alle", "bin", "cache"]


def test_a_folder_in_use_is_no_place_for_a_wheelhouse(course):
    result = course.start("wheelhouse", str(course.folder))
    assert result.returncode == 1 and "exists already" in result.stderr


@pytest.fixture
def wheelhouse(tmp_path):
    """A folder of two packages and their checksums."""
    for name in ("a-1.whl", "b-1.whl"):
        (tmp_path / name).write_text(name)
    sums = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in ("a-1.whl", "b-1.whl")]
    (tmp_path / "SHA256SUMS").write_text("".join(sums))
    return tmp_path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "b-1.whl").write_text("B-1.whl"), "b-1.whl in .* is damaged"),
        (lambda folder: (folder / "b-1.whl").unlink(), "b-1.whl in .* is missing"),
        (lambda folder: (folder / "c.whl").write_text(""), "c.whl in .* is not in its list"),
        (lambda folder: (folder / "c.tar.gz").write_text(""), "c.tar.gz in .* is not in its list"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "is no wheelhouse"),
        (lambda folder: (folder / "SHA256SUMS").write_text("not\na list\n"), "is no wheelhouse"),
    ],
)
def test_a_wheelhouse_that_changed_is_refused(change, sentence, wheelhouse, monkeypatch, capsys):
    run.verify_wheelhouse(wheelhouse)
    change(wheelhouse)
    monkeypatch.setattr(run, "VENV", wheelhouse / ".venv")
    monkeypatch.setattr(run, "STAMP", wheelhouse / ".venv" / "made.txt")
    assert run.main(["test", "--wheelhouse", str(wheelhouse)]) == 1
    assert re.search(sentence, capsys.readouterr().err) and not (wheelhouse / ".venv").exists()


def test_a_wheelhouse_needs_a_name(commands, capsys):
    assert run.main(["lab", "--wheelhouse"]) == 1
    assert "--wheelhouse needs a folder" in capsys.readouterr().err


# --- check -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_check_shows_every_line(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "tools.check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = {line[:14].strip(): line[15:] for line in result.stdout.splitlines()}
    for name in ("Python", "Packages", "Memory", "Disk", "Port", "Training step", "Widget"):
        assert lines[name].startswith(("OK ", "NOT OK ")), name
    assert re.fullmatch(r"OK +answers in \d+ ms", lines["Widget"])
    assert result.returncode == ("NOT OK" in result.stdout) and result.stderr == ""


@pytest.mark.parametrize(
    ("owner", "name", "value", "line", "advice"),
    [
        (
            "psutil",
            "virtual_memory",
            lambda: SimpleNamespace(available=1e9, total=8e9),
            "Memory",
            "close other programs",
        ),
        ("shutil", "disk_usage", lambda path: SimpleNamespace(free=2e8), "Disk", "Make room"),
        ("run", "port_is_free", lambda port: False, "Port", "--port 9999"),
        ("measure_seconds", "", lambda function, *rest: 1.0, "Training step", "connect the charger"),
        ("version", "", lambda name: "0.0.1", "Packages", "keras 0.0.1 instead of"),
    ],
)
def test_check_tells_what_to_do(owner, name, value, line, advice, monkeypatch, capsys):
    monkeypatch.setattr(getattr(check, owner) if name else check, name or owner, value)
    monkeypatch.setattr(check, "CHECKS", {line: check.CHECKS[line]})
    assert check.main([]) == 1
    printed = capsys.readouterr().out
    assert re.search(rf"{line} +NOT OK .*\n +-> .*{advice}", printed)


def test_check_goes_on_after_a_failure(monkeypatch, capsys):
    def fail():
        raise OSError("no such thing")

    monkeypatch.setattr(check, "CHECKS", {"Kernel": fail, "Port": lambda: ("8888", "")})
    assert check.main([]) == 1
    printed = capsys.readouterr().out
    assert "OSError: no such thing" in printed and "Delete the folder .venv" in printed
    assert re.search(r"Port +OK +8888\n", printed)


# --- bench setup -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["uv", "pip"])
def test_set_up_is_measured(way, course, monkeypatch):
    for name, text in course.environment.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(run, "ROOT", course.folder)
    monkeypatch.setattr(setup_speed, "FIRST_IMPORT", "import small_course, tensorflow")
    measured = setup_speed.measure(way)
    assert measured["seconds"] > 0 and measured["first_import_seconds"] >= 0  # rounded to tenths
    assert 5 < measured["disk_megabytes"] < 100  # pip itself takes 10
    assert not (course.folder / ".venv").exists()


def test_a_file_linked_from_the_cache_counts_once(tmp_path):
    for name in ("cache", "environment"):
        (tmp_path / name).mkdir()
    (tmp_path / "cache" / "a").write_bytes(bytes(1000))
    (tmp_path / "environment" / "b").write_bytes(bytes(10))
    os.link(tmp_path / "cache" / "a", tmp_path / "environment" / "a")
    assert setup_speed.measure_disk(tmp_path / "cache", tmp_path / "environment") == 1010


def test_the_readme_sentence_on_setting_up():
    uv = {"seconds": 12.4, "first_import_seconds": 8.2, "received_megabytes": 620, "disk_megabytes": 2150}
    pip = {"seconds": 74.4, "first_import_seconds": 5.1, "received_megabytes": 900, "disk_megabytes": 3500}
    record = {"uv": uv, "pip": pip, "ratio": 6.0, "machine": "M", "versions": "V", "note": "busy"}
    sentence = setup_speed.setup_block(record)
    for part in (
        "in 12 s (620 MB received, 2,150 MB",
        "74 s (900 MB and 3,500 MB)",
        "**6.0 times**",
        "21 s against 80 s",
    ):
        assert part in sentence
    assert sentence.endswith("(M; V; busy.)")
