"""Collects every package that the course needs in a folder, for machines without internet. Standard library only.

    python3 run.py wheelhouse                    into wheelhouse/, for this system and this Python
    python3 run.py wheelhouse FOLDER --platform windows --platform macos --python 3.12 --python 3.13

In the classroom: `python3 run.py lab --wheelhouse FOLDER`. The folder holds wheels and `SHA256SUMS`, their checksums.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import run

DEFAULT_FOLDER = run.ROOT / "wheelhouse"


class Platform(NamedTuple):
    """A system as uv and pip name it, and the values of `sys.platform` and `platform.machine()` there."""

    uv_name: str
    pip_tags: list[str]
    system: str
    machine: str


PLATFORMS = {
    "linux": Platform(
        "x86_64-manylinux_2_28",
        [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)] + ["manylinux2014_x86_64"],
        "linux",
        "x86_64",
    ),
    "macos": Platform("aarch64-apple-darwin", ["macosx_13_0_arm64"], "darwin", "arm64"),
    "windows": Platform("x86_64-pc-windows-msvc", ["win_amd64"], "win32", "AMD64"),
}


def main(arguments: list[str]) -> int:
    options = read_options(arguments)
    folder = Path(options.folder).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return run.fail(f"{folder} exists already: remove it or name another folder.")
    try:
        make_wheelhouse(folder, options)
    except run.SetupError as error:
        return run.fail(str(error))
    sizes = [path.stat().st_size for path in folder.glob("*.whl")]
    print(f"{len(sizes)} wheels, {sum(sizes) / 1e6:.0f} MB, are in {folder}. On the machine without internet:")
    print(f'  python3 run.py lab --wheelhouse "{folder.name}"')
    return 0


def read_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py wheelhouse", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=DEFAULT_FOLDER, help="to be made (wheelhouse/)")
    several = "may be given several times"
    parser.add_argument(
        "--platform",
        action="append",
        choices=PLATFORMS,
        help=f"x86-64 Linux, macOS on Apple silicon or 64-bit Windows instead of this system; {several}",
    )
    versions = [f"3.{minor}" for minor in range(run.OLDEST[1], run.NEWEST[1] + 1)]
    parser.add_argument(
        "--python", action="append", choices=versions, help=f"version instead of that of this Python; {several}"
    )
    parser.add_argument("--gpu", action="store_true", help="TensorFlow for NVIDIA GPUs (Linux only)")
    return parser.parse_args(arguments)


def make_wheelhouse(folder: Path, options: argparse.Namespace) -> None:
    """Make the folder, whole or not at all; what is unfinished lies beside it and goes if something fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheelhouse-", dir=folder.parent) as unfinished:
        wheels = Path(unfinished) / "wheels"
        collect(Path(unfinished), wheels, options)
        write_checksums(wheels)
        if folder.exists():
            folder.rmdir()
        wheels.rename(folder)


def collect(workplace: Path, wheels: Path, options: argparse.Namespace) -> None:
    """Download the wheels of every platform and Python asked for into `wheels`, by a pip and a uv in `workplace`."""
    venv = workplace / "venv"
    if not run.succeeds([sys.executable, "-m", "venv", venv]):
        raise run.SetupError("Python could not make an environment to work in (see above).")
    uv = run.find_uv(venv, [])
    if not uv:
        raise run.SetupError("uv could not be installed: check the network, then run the command again.")
    for name in options.platform or [None]:
        for version in options.python or [run.dotted(sys.version_info)]:
            print(f"Collecting the packages for {name or 'this system'}, Python {version} …", flush=True)
            listing = workplace / "requirements.txt"
            listing.write_text(resolve(uv, name, version, options.gpu), encoding="utf-8")
            download(venv, wheels, listing, name, version)


def resolve(uv: Path | str, name: str | None, version: str, gpu: bool) -> str:
    """Every package, with its version, that is needed there, line by line.

    uv finds them, since `pip download --platform` decides by this machine's system which of the packages are needed.
    """
    where = PLATFORMS.get(name)
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", version]
    command += ["--python-platform", where.uv_name] if where else []
    tensorflow = run.choose_tensorflow(gpu, *((where.system, where.machine) if where else ()))
    wanted = [*run.list_requirements(tensorflow, ("dev", "teach", "site")), "uv"]
    command += ["-c", run.ROOT / "constraints.txt", "-"]
    result = subprocess.run(
        [str(part) for part in command],
        cwd=run.ROOT,
        input="\n".join(wanted),
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if result.returncode:
        raise run.SetupError("uv could not tell which packages are needed (see above): check the network.")
    return result.stdout


def download(venv: Path, wheels: Path, listing: Path, name: str | None, version: str) -> None:
    """Download the wheels of a list of packages into the folder `wheels`."""
    command = [run.venv_program("python", venv), "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--python-version", version, "--dest", wheels, "-r", listing]
    tags = PLATFORMS[name].pip_tags if name else []
    if not run.succeeds([*command, *(f"--platform={tag}" for tag in tags)]):
        raise run.SetupError(
            "Downloading the packages failed (see above): check the network and the free disk space (1 GB a platform), "
            "then run the command again."
        )


def write_checksums(wheels: Path) -> None:
    """Write the list that `sha256sum --check` and `run.py … --wheelhouse` read."""
    lines = [f"{run.checksum(path)}  {path.name}\n" for path in sorted(wheels.glob("*.whl"))]
    (wheels / run.CHECKSUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
