"""One screen that tells whether this machine is ready for the course: `python3 run.py check`.

Each line ends in OK, or is followed by what to do. The exit code is 1 if something is not well.
"""

import argparse
import platform
import queue
import re
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

import run

# Of the notebooks, 08 takes the most memory: 2.4 GB. The browser takes the rest.
MEMORY_GB, DISK_GB = 3.0, 1.0
SHOWN_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "ipywidgets", "jupyterlab")
BATCH_SIZE, EPOCH_STEPS, EPOCH_SECONDS = 256, 214, 60  # an epoch of the course, and the longest that a class waits
WIDGET_SECONDS = 1.0
MAKE_ANEW = "Delete the folder .venv and run this command again."

# A slider whose value is copied into a label; both are known to the page by the numbers that are printed.
WIDGETS = """\
import ipywidgets
slider, label = ipywidgets.IntSlider(), ipywidgets.Label()
slider.observe(lambda change: setattr(label, "value", f"got {change['new']}"), "value")
print(slider.model_id, label.model_id)
"""

Finding = tuple[str, str]  # what was found; what to do, empty if all is well


def check_python() -> Finding:
    return f"{platform.python_version()} on {platform.system()}, {platform.machine()}", ""


def check_packages() -> Finding:
    """Whether every package has the version of constraints.txt."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", (run.ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    installed = {name: find_version(name) for name, _ in pins}
    shown = [f"{name} {installed[name]}" for name in SHOWN_PACKAGES if installed.get(name)]
    other = [f"{name} {installed[name]} instead of {pin}" for name, pin in pins if installed[name] not in ("", pin)]
    return ", ".join(shown), f"Other versions than tested ({', '.join(other)}). {MAKE_ANEW}" if other else ""


def find_version(name: str) -> str:
    """Version of an installed package, empty if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def check_memory() -> Finding:
    memory = psutil.virtual_memory()
    advice = (
        f"A notebook needs up to {MEMORY_GB:.0f} GB: close other programs."
        if memory.available < MEMORY_GB * 1e9
        else ""
    )
    return f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free", advice


def check_disk() -> Finding:
    free = shutil.disk_usage(run.ROOT).free / 1e9
    return f"{free:.1f} GB free", f"Make room for at least {DISK_GB:.0f} GB." if free < DISK_GB else ""


def check_port() -> Finding:
    port = run.find_free_port(run.DEFAULT_PORT)
    if port is None:
        return "none is free", "Close other JupyterLabs, or choose one: `python3 run.py lab --port 9999`."
    return f"{port} is free", ""


def check_training_step() -> Finding:
    """Seconds of a training step on a batch of digits, after three that build the graph."""
    from vae_utils import VAE, build_decoder, build_encoder, load_mnist
    from vae_utils.training import build_optimizer

    x = load_mnist(limit=BATCH_SIZE)[0][0]
    vae = VAE(build_encoder(2), build_decoder(2))
    vae.compile(build_optimizer(1e-3))
    seconds = statistics.median([measure_seconds(vae.train_on_batch, x) for _ in range(13)][3:])
    epoch = seconds * EPOCH_STEPS
    slow = "The trainings in the notebooks will be slow: close other programs, connect the charger."
    return f"{seconds:.3f} s, so an epoch takes {epoch:.0f} s", slow if epoch > EPOCH_SECONDS else ""


def measure_seconds(function: Any, *arguments: Any) -> float:
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def check_widget() -> Finding:
    """Milliseconds from a slider's new value, sent as a browser does, to the label that answers, in a real kernel."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", stderr=subprocess.DEVNULL)  # without its warnings
    try:
        printed: list[str] = []
        client.execute_interactive(WIDGETS, timeout=60, output_hook=lambda message: read_output(message, printed))
        slider, label = "".join(printed).split()
        times = [measure_seconds(move_slider, client, slider, label, value) for value in (1, 2, 3)]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    slow = "The sliders will be slow: close other programs." if min(times) > WIDGET_SECONDS else ""
    return f"answers in {1000 * min(times):.0f} ms", slow


def read_output(message: dict[str, Any], printed: list[str]) -> None:
    """Append what a cell printed to `printed`; raise RuntimeError if it failed."""
    if message["msg_type"] == "error":
        raise RuntimeError(f"{message['content']['ename']}: {message['content']['evalue']}")
    if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
        printed.append(message["content"]["text"])


def move_slider(client: Any, slider: str, label: str, value: int) -> None:
    """Set the slider as a browser does and wait for the label's answer; TimeoutError after 30 s of silence."""
    data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": slider, "data": data}))
    answer = None
    while answer != f"got {value}":
        try:
            content = client.get_iopub_msg(timeout=30)["content"]
        except queue.Empty:
            raise TimeoutError("the kernel did not answer") from None
        if content.get("comm_id") == label:
            answer = content["data"].get("state", {}).get("value")


CHECKS = {
    "Python": check_python,
    "Packages": check_packages,
    "Memory": check_memory,
    "Disk": check_disk,
    "Port": check_port,
    "Training step": check_training_step,
    "Widget": check_widget,
}


def main(arguments: list[str]) -> int:
    argparse.ArgumentParser(prog="run.py check", description=__doc__.splitlines()[0]).parse_args(arguments)
    failed = 0
    for name, check in CHECKS.items():
        try:
            found, advice = check()
        except Exception as error:  # the other lines are still worth seeing
            found, advice = (
                f"{type(error).__name__}: {error}",
                f"{MAKE_ANEW} If that does not help, show it your teacher.",
            )
        failed += bool(advice)
        print(f"{name:14} {'NOT OK' if advice else 'OK':7} {found}", flush=True)
        if advice:
            print(f"{'':22} -> {advice}", flush=True)
    print(f"\n{failed} of {len(CHECKS)} not well: do what stands behind the arrows." if failed else "\nAll is well.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
