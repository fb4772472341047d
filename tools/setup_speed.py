"""Set-up by uv with the course's choice of TensorFlow beside pip's way, in one run on one machine, with empty caches.

    python3 run.py bench setup              a few minutes: seconds, megabytes received and megabytes on the disk
    python3 run.py bench setup --record     writes the numbers to setup_speed.json, from where the README has them

pip's way is `pip install -e .[dev]` in a new environment, as the first edition did it. Ours is what `run.py` does on a
machine without uv. Both work on copies in temporary folders, ours first: a network that caches helps the second.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

import run

RECORD_PATH = Path(__file__).with_suffix(".json")
BUSY_PERCENT = 10  # of the processor, taken by other programs, above which the record says so
OURS = "import run; run.prepare(run.read_choice(['--cpu'])[0])"
FIRST_IMPORT = "import vae_utils, jupyterlab.labapp"


def measure(way: str) -> dict[str, float]:
    """Set up a copy of the course by one `way`, "uv" or "pip", in a temporary folder.

    Returns:
        seconds of setting up, seconds of the first import (which compiles what uv leaves to it), MB (10⁶ bytes)
        received from the network, MB of the environment and its cache on the disk.
    """
    with tempfile.TemporaryDirectory(prefix="setup-") as name:
        folder = Path(name)
        course = folder / "course"
        shutil.copytree(run.ROOT, course, ignore=shutil.ignore_patterns(".*", "Images", "notebooks", "wheelhouse"))
        received, started = count_received(), time.perf_counter()
        for command in list_commands(way, course):
            subprocess.run(command, cwd=course, env=make_environment(folder / "cache"), check=True)
        seconds = time.perf_counter() - started
        python = run.venv_program("python", course / ".venv")
        started = time.perf_counter()
        subprocess.run([python, "-c", FIRST_IMPORT], cwd=course, env=make_environment(folder / "cache"), check=True)
        return {
            "seconds": round(seconds, 1),
            "first_import_seconds": round(time.perf_counter() - started, 1),
            "received_megabytes": round((count_received() - received) / 1e6),
            "disk_megabytes": round(measure_disk(course / ".venv", folder / "cache") / 1e6),
        }


def list_commands(way: str, course: Path) -> list[list[str | Path]]:
    """What sets up the environment of the folder `course`."""
    if way == "uv":
        return [[sys.executable, "-c", OURS]]
    pip = [run.venv_program("python", course / ".venv"), "-m", "pip", "install", "-qq", "-c", "constraints.txt"]
    return [[sys.executable, "-m", "venv", ".venv"], [*pip, "-e", ".[dev]"]]


def make_environment(cache: Path) -> dict[str, str]:
    """The environment of a machine without uv, with empty caches and no settings of pip's or uv's in files.

    A local package index in such a file would spare one of the two a part of the network. Python stores compiled
    modules, as usual.
    """
    folders = os.environ["PATH"].split(os.pathsep)
    own = {
        "PATH": os.pathsep.join(folder for folder in folders if not shutil.which("uv", path=folder)),
        "PIP_CACHE_DIR": str(cache / "pip"),
        "UV_CACHE_DIR": str(cache / "uv"),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
    }
    return {**{name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}, **own}


def count_received() -> int:
    """Bytes that this machine has received from the network."""
    counters = psutil.net_io_counters(pernic=True)
    return sum(counter.bytes_recv for name, counter in counters.items() if not name.startswith("lo"))


def measure_disk(*folders: Path) -> int:
    """Bytes of all files in the folders; one that uv has linked from its cache into the environment counts once."""
    sizes = {}
    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def setup_block(record: dict[str, Any]) -> str:
    """The README's sentence."""
    uv, pip = record["uv"], record["pip"]
    return (
        f"- `python3 run.py bench setup`: with empty caches, `run.py` sets up the course in {uv['seconds']:.0f} s "
        f"({uv['received_megabytes']:,} MB received, {uv['disk_megabytes']:,} MB on the disk); pip with the full "
        f"TensorFlow takes {pip['seconds']:.0f} s ({pip['received_megabytes']:,} MB and {pip['disk_megabytes']:,} MB), "
        f"**{record['ratio']:.1f} times** as long. With the first import, which compiles what uv has not, it is "
        f"{uv['seconds'] + uv['first_import_seconds']:.0f} s against "
        f"{pip['seconds'] + pip['first_import_seconds']:.0f} s. "
        f"({record['machine']}; {record['versions']}{record['note'] and '; ' + record['note']}.)"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py bench setup", description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help=f"write the numbers to {RECORD_PATH.name}")
    options = parser.parse_args(arguments)
    busy = psutil.cpu_percent(interval=3)
    record: dict[str, Any] = {
        "machine": f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores",
        "versions": f"Python {platform.python_version()}, {', '.join(read_pins(('uv', 'tensorflow')))}",
        "note": f"other programs took {busy:.0f} % of the processor" if busy > BUSY_PERCENT else "",
    }
    for way in ("uv", "pip"):
        print(f"Setting up by {way} …", flush=True)
        record[way] = measure(way)
        print(f"  {record[way]}", flush=True)
    record["ratio"] = round(record["pip"]["seconds"] / record["uv"]["seconds"], 1)
    print(setup_block(record))
    if options.record:
        RECORD_PATH.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def read_pins(names: tuple[str, ...]) -> list[str]:
    """Name and version of packages as constraints.txt pins them."""
    lines = (run.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [" ".join(line.split("==")) for line in lines if line.split("==")[0] in names]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
