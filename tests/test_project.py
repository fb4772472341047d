"""The project's own rules: style, rooms that import downwards, a cheap import, one list of dependencies."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The rooms from the ground up: a room may import those before it.
ROOMS = [
    "backend",
    "data",
    "losses",
    "models",
    "metrics",
    "plots",
    "training",
    "pretrained",
    "sweep",
    "widgets",
    "figures",
    "lab",
]
WITHOUT_KERAS = {"data", "plots", "widgets"}


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_style(command):
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def imported_rooms(path):
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "vae_utils":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vae_utils."):
            rooms.add(node.module.split(".")[1])
    return rooms


def test_no_room_imports_upwards():
    paths = [path for path in (ROOT / "vae_utils").glob("*.py") if path.stem != "__init__"]
    assert {path.stem for path in paths} <= set(ROOMS)
    for path in paths:
        below = set(ROOMS[: ROOMS.index(path.stem)])
        assert imported_rooms(path) <= below, path.name


def test_importing_the_package_loads_no_tensorflow():
    code = "import sys, vae_utils; print(sorted({'tensorflow', 'keras', 'matplotlib', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("room", sorted(WITHOUT_KERAS))
def test_rooms_without_keras(room):
    code = f"import sys, vae_utils.{room}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_every_public_name_exists():
    import vae_utils

    for name in vae_utils.__all__:
        assert getattr(vae_utils, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vae_utils.nothing


def test_keras_starts_without_chatter():
    code = "from vae_utils.backend import keras; keras.ops.zeros((2, 2)) + 1; print('done')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "done\n" and result.stderr == ""


def test_every_dependency_is_pinned_and_explained():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    pinned = {name.lower().replace("_", "-") for name in pinned}
    for requirement in project["dependencies"] + project["optional-dependencies"]["dev"]:
        name = re.match(r"[\w-]+", requirement)[0]
        assert name in pinned
        assert re.search(rf'"{re.escape(requirement)}",\s*# \w+', text), f"{name} lacks a word on its use"
        assert name not in (ROOT / "environment.yml").read_text(encoding="utf-8")


def test_nothing_names_a_path_of_one_machine():
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, result.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".txt", ".ipynb", ".json", ".csv"} and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/(home|root|work|Users)/\w", text), name
