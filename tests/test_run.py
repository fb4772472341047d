"""The two commands: what they refuse, and when they install."""

import importlib
import importlib.util
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What run.py would have started."""
    started = []
    monkeypatch.setattr(run, "run", lambda *command: started.append(command) or 0)
    monkeypatch.setattr(run, "prepare", lambda: None)
    monkeypatch.setattr(run, "VENV", tmp_path)
    return started


@pytest.mark.parametrize("version", [(3, 10), (3, 14), (2, 7)])
def test_an_unsuitable_python_gets_one_sentence(version):
    sentence = run.unsuitable_python(version)
    assert "needs Python 3.11 to 3.13" in sentence and f"{version[0]}.{version[1]}" in sentence


def test_a_suitable_python_passes():
    assert run.unsuitable_python() == ""


def test_python_without_venv_gets_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert "-venv" in run.unsuitable_python((3, 11))


def test_unknown_command():
    result = subprocess.run([sys.executable, ROOT / "run.py", "tset"], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "There is no command 'tset'" in result.stderr


def test_what_follows_test_goes_to_pytest(commands):
    assert run.main(["test", "-k", "losses"]) == 0
    assert commands == [("-m", "pytest", "-k", "losses")]


def test_bench_times_the_training_or_the_sliders(commands):
    run.main(["bench", "--full"])
    run.main(["bench", "sliders", "--record"])
    assert [(Path(script).name, *rest) for script, *rest in commands] == [
        ("training_speed.py", "--full"),
        ("slider_speed.py", "--record"),
    ]


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


def make_environment(tmp_path, monkeypatch, exit_code=0):
    """A copy of the project whose installs are counted, not done."""
    calls = []

    def call(command, cwd):
        calls.append(command)
        run.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        run.PYTHON.touch()
        return exit_code

    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("a")
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(run, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(run.subprocess, "call", call)
    return calls


def test_installs_once_and_again_when_a_dependency_file_changes(tmp_path, monkeypatch):
    calls = make_environment(tmp_path, monkeypatch)
    run.prepare()
    assert len(calls) == 2 and "venv" in calls[0] and "pip" in calls[1]
    run.prepare()
    assert len(calls) == 2
    (tmp_path / "constraints.txt").write_text("b")
    run.prepare()
    assert len(calls) == 3 and "pip" in calls[2]
    monkeypatch.setattr(run, "made_with", lambda: "another Python")
    run.prepare()
    assert len(calls) == 5 and "venv" in calls[3]


def test_a_failed_install_is_tried_again(tmp_path, monkeypatch):
    calls = make_environment(tmp_path, monkeypatch, exit_code=1)
    for _ in range(2):
        with pytest.raises(run.SetupError, match="check the network"):
            run.prepare()
    assert len(calls) == 2


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
