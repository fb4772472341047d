"""The project's own rules: style, imports that run one way, size, dependencies, words, and a wheel that works alone."""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import vae_utils

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "vae_utils").glob("*.py"))
WIDGETS = sorted((ROOT / "vae_utils" / "widgets").glob("*.py"))

# What a module may import of ours; __init__ may import all. No arrow leads back.
OURS = {
    "vae": set(),
    "backend": set(),
    "latent": set(),
    "plots": set(),
    "data": {"vae"},
    "metrics": {"vae"},
    "checks": {"vae"},
    "progress": {"plots"},
    "training": {"backend", "progress", "vae"},
    "denoisers": {"data", "vae"},
    "pretrained": {"data", "denoisers", "vae"},
    "widgets": {"data", "latent", "metrics", "plots", "vae", "widgets"},
}
# What some may import of others' at most: `vae` can be copied alone, `plots` predicts nothing, models draw nothing.
OTHERS = {
    "vae": {"keras", "numpy"},
    "denoisers": {"keras", "numpy"},
    "latent": {"numpy"},
    "plots": {"IPython", "PIL", "matplotlib", "numpy"},
    "data": {"PIL", "numpy"},
}


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_style(command):
    command = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def find_imports(path):
    """Modules of ours that a file imports, anywhere in it, and the names of others'."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name.split(".")[1] for name in names if name.startswith("vae_utils.")}
    return ours, {name.split(".")[0] for name in names} - {"vae_utils"} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", MODULES + WIDGETS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_import_runs_upward(path):
    module = "widgets" if path in WIDGETS else path.stem
    ours, others = find_imports(path)
    assert "tools" not in others and "tests" not in others
    if module != "__init__":
        assert module in OURS, f"say in this test what {module}.py may import"
        assert ours <= OURS[module]
        assert others <= OTHERS.get(module, others)


def test_plots_never_predicts():
    calls = [
        node.func for node in ast.walk(ast.parse(inspect.getsource(vae_utils.plots))) if isinstance(node, ast.Call)
    ]
    methods = {function.attr for function in calls if isinstance(function, ast.Attribute)}
    assert not methods & {"call", "decode", "encode", "evaluate", "fit", "predict", "predict_on_batch", "reconstruct"}


def count_lines(paths):
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def test_the_package_is_small():
    folder = ROOT / "vae_utils"
    core = count_lines(path for path in MODULES if path.stem != "checks")
    assert core <= 1600, f"vae_utils without widgets/ and checks.py has {core} lines; at most 1,600 are allowed"
    limits = {"": 2600, "widgets": 1000, "vae.py": 260}
    for name, limit in limits.items():
        paths = [folder / name] if name.endswith(".py") else [*(folder / name).rglob("*.*")]
        lines = count_lines(path for path in paths if path.suffix in (".py", ".js", ".css"))
        assert 0 < lines <= limit, f"vae_utils/{name} has {lines} lines; at most {limit:,} are allowed"


@pytest.mark.parametrize(
    "path", [*MODULES, *WIDGETS, *sorted((ROOT / "tools").glob("*.py"))], ids=lambda path: path.name
)
def test_modules_are_described_in_the_fields_own_words(path):
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"(?<!make )\b(?:rooms?|shel(?:f|ves)|doors?)\b", text, flags=re.IGNORECASE)
    assert not found, f"{path.name} uses {found} for what has a plain name"
    assert path.stem == "__init__" or ast.get_docstring(ast.parse(text)), f"{path.name} does not say what it is for"


def test_every_public_name_is_documented():
    public = {name: value for name, value in vars(vae_utils).items() if name[0] != "_" and callable(value)}
    assert len(public) > 25
    assert not [name for name, value in public.items() if not value.__doc__]


def test_keras_starts_without_chatter():
    code = "import vae_utils; from keras import ops; ops.zeros((2, 2)) + 1; print('done')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert (result.stdout, result.stderr) == ("done\n", "")


def test_every_dependency_is_pinned_and_explained():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    pinned = {name.lower().replace("_", "-") for name in pinned}
    assert "keras>=3.13" in project["dependencies"]  # Muon's `adam_weight_decay` came with it
    for requirement in sum(project["optional-dependencies"].values(), project["dependencies"]):
        name = re.match(r"[\w-]+", requirement)[0]
        assert name.lower() in pinned, f"{name} has no exact version in constraints.txt"
        assert re.search(rf'"{re.escape(requirement)}",\s*# \w+', text), f"{name} lacks a word on its use"
        assert name not in (ROOT / "environment.yml").read_text(encoding="utf-8")


def test_nothing_names_a_path_of_one_machine_or_a_host_of_packages():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    if result.returncode:
        pytest.skip("not a git checkout")
    hosts = [host + r"\.(org|com|net)" for host in ("pypi", "pythonhosted", "npmjs", "anaconda")]
    for path in (ROOT / name for name in result.stdout.split("\0") if name):
        if path.is_file() and path.suffix not in {".gif", ".h5", ".npz", ".png"}:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/(home|root|work|Users)/\w", text), f"{path.name} names a path of one machine"
            assert not re.search("|".join(hosts), text), f"{path.name} names a host of packages"


LOAD_ALL_KINDS = """
import sys
from vae_utils import data, pretrained

(x, _), _ = data.load_mnist()
print(len(x), len(data.load_fashion_mnist()[0]), len(data.load_emoji()[0][0]), len(pretrained.load_sweep_table()))
for model, denoising in [(2, False), (10, True), *((name, False) for name in pretrained.DENOISERS)]:
    assert pretrained.load_pretrained(model, denoising).reconstruct(x[:2]).shape == (2, 28, 28, 1)
    assert pretrained.pretrained_record(model, denoising)["recipe"]
for model in pretrained.COLOUR_MODELS:
    assert pretrained.load_pretrained(model).count_params() == pretrained.pretrained_record(model)["parameters"]
print(*(module.__file__ for name, module in sys.modules.items() if name.startswith("vae_utils")), sep="\\n")
"""


def run_python(code, *arguments, cwd, **environment):
    """What Python prints."""
    command = [sys.executable, "-c", code, *arguments]
    options = {"cwd": cwd, "env": {**os.environ, **environment}, "capture_output": True, "encoding": "utf-8"}
    result = subprocess.run(command, **options, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_an_installed_wheel_holds_and_loads_data_and_models(tmp_path):
    """Built from a copy of the sources, unpacked into an empty folder as an installer does, used from another one."""
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("vae_utils", "tools", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    run_python(build, str(tmp_path), cwd=source)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(target)
    assert [path.name for path in target.iterdir() if path.suffix != ".dist-info"] == ["vae_utils"]
    for path in (ROOT / "vae_utils" / "assets").iterdir():
        assert (target / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    counts, *files = run_python(LOAD_ALL_KINDS, cwd=tmp_path, PYTHONPATH=str(target)).splitlines()
    assert counts.split()[:3] == ["60000", "1000", "2844"] and int(counts.split()[3]) == 27
    assert not [file for file in files if not Path(file).is_relative_to(target)]  # none from the checkout
