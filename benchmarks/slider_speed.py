"""Speed of the sliders beside the usual way, measured in one run on one machine, in a notebook's kernel and a browser.

    python3 run.py bench sliders              a few minutes: 2 and 10 dimensions, 500 ticks of each way, and a browser
    python3 run.py bench sliders --quick      fewer ticks of the usual way, fewer in the browser
    python3 run.py bench sliders --record     writes the numbers to slider_speed.json

The usual way is the one of most tutorials: `interact`, `predict`, a new matplotlib figure. Both ways run in a
real kernel, so what a tick sends to the browser is counted. A tick is one change of one slider's value.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RECORD_PATH = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).resolve().parent.parent
TICKS, QUICK_TICKS = 500, 60
SIZES = (2, 10)


# --- in the kernel -----------------------------------------------------------------------------------


def model(latent_dim: int) -> Any:
    """A VAE of the course's architecture; speed does not depend on its weights."""
    from vae_utils import VAE, build_decoder, build_encoder

    return VAE(build_encoder(latent_dim), build_decoder(latent_dim))


def milliseconds(tick: Callable[[float], None], ticks: int) -> list[float]:
    """What each of `ticks` slider changes takes, after ten that warm up; the values sweep to and fro."""
    gc.collect()
    values = 3 * np.sin(np.arange(ticks + 10) * 0.37)
    times = []
    for value in values:
        started = time.perf_counter()
        tick(float(value))
        times.append(1000 * (time.perf_counter() - started))
    return times[10:]


def time_ours(latent_dim: int, ticks: int) -> list[float]:
    """Our widget: the slider's callback, from the new value to the picture sent."""
    from IPython.display import display

    from vae_utils import compiled_decoder, latent_sliders

    panel = latent_sliders(compiled_decoder(model(latent_dim)), latent_dim)
    display(panel)
    times = milliseconds(lambda value: setattr(panel.sliders[0], "value", value), ticks)
    panel.close()
    return times


def time_usual(latent_dim: int, ticks: int) -> list[float]:
    """The usual way: `interact`, `predict`, a new figure."""
    import matplotlib.pyplot as plt
    from IPython.display import display
    from ipywidgets import FloatSlider, interactive

    decoder = model(latent_dim).decoder

    def show(**z: float) -> None:
        logits = decoder.predict(np.array([list(z.values())]), verbose=0)
        plt.figure(figsize=(4, 4))
        plt.imshow(1 / (1 + np.exp(-logits[0, :, :, 0])), cmap="gray")
        plt.axis("off")
        plt.show()

    sliders = {f"z{i}": FloatSlider(0, min=-3, max=3, step=0.001) for i in range(latent_dim)}
    panel = interactive(show, **sliders)  # what `interact` makes and displays
    display(panel)
    panel.update()
    return milliseconds(lambda value: setattr(sliders["z0"], "value", value), ticks)


def in_kernel(ticks: int, usual_ticks: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds per tick of both ways and all sizes, measured in a fresh Jupyter kernel."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    code = f"""
import sys, json
sys.path.insert(0, {str(Path(__file__).parent)!r})
import slider_speed as s
print("RESULT" + json.dumps({{str(n): {{"ours": s.time_ours(n, {ticks}), "usual": s.time_usual(n, {usual_ticks})}}
                              for n in {SIZES}}}))
"""
    printed = []

    def listen(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            printed.append(content["text"])
        elif message["msg_type"] == "error":
            raise RuntimeError("\n".join(content["traceback"]))

    try:
        client.execute_interactive(code, timeout=3600, output_hook=listen)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return json.loads("".join(printed).split("RESULT", 1)[1])


def summary(times: list[float]) -> dict[str, float]:
    """Number of ticks, median, 95th and 99th percentile in milliseconds."""
    median, p95, p99 = np.quantile(times, (0.5, 0.95, 0.99)).tolist()
    return {"ticks": len(times), "median": round(median, 2), "p95": round(p95, 2), "p99": round(p99, 2)}


# --- in the browser ----------------------------------------------------------------------------------

NOTEBOOK_CELL = """\
from vae_utils import compiled_decoder, latent_sliders, load_pretrained
panel = latent_sliders(compiled_decoder(load_pretrained({size})), {size})
panel"""

# Notes when a key or the mouse moves the slider, and when the changed picture has loaded.
WATCH = """() => {
  const root = document.querySelector('.vae-latent-sliders'), image = root.querySelector('img');
  window.watch = {moved: 0, latencies: [], pictures: []};
  const moved = () => { if (!watch.moved) watch.moved = performance.now(); };
  root.addEventListener('keydown', moved, true);
  window.addEventListener('pointermove', moved, true);
  image.addEventListener('load', () => {
    const now = performance.now();
    watch.pictures.push(now);
    if (watch.moved) { watch.latencies.push(now - watch.moved); watch.moved = 0; }
  });
}"""


@contextmanager
def served_notebook(size: int) -> Iterator[str]:
    """Address of a JupyterLab with `sliders.ipynb`, a notebook of one cell with the sliders."""
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK_CELL.format(size=size))])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(notebook, Path(folder) / "sliders.ipynb")
        with jupyterlab(Path(folder)) as address:
            yield address


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """Address of a JupyterLab on `folder`, as `run.py lab` starts it; it knows no settings or tabs of earlier ones."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "run.py"), "lab", f"--port={port}", "--no-browser"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    own = {f"JUPYTERLAB_{name.upper()}_DIR": str(folder / f".{name}") for name in ("settings", "workspaces")}
    log = folder / "server.log"
    with log.open("w") as file:
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=file, stderr=file)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for_server(address, server, log)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=30)


def wait_for_server(address: str, server: subprocess.Popen, log: Path) -> None:
    """Until the server answers, at most two minutes."""
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=2)
            return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.5)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()}")


def wait_for_kernel(page: Any, server: str) -> None:
    """Until the kernel of the server's one open notebook is idle and the page is connected to it.

    Asked to run cells before that, JupyterLab starts a second kernel, and asks which one to take.
    """
    for _ in range(240):
        with urllib.request.urlopen(f"{server}/api/sessions", timeout=10) as reply:
            kernels = [session["kernel"] for session in json.load(reply)]
        if any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels):
            return
        page.wait_for_timeout(250)
    raise RuntimeError(f"The notebook's kernel was not ready after a minute: {kernels}.")


def run_all_cells(page: Any) -> None:
    """By the menu, as a student would."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def chromium() -> str | None:
    """Path of a Chromium or Chrome on this machine, None if there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def kernel_megabytes() -> float:
    """Resident memory of the notebook's kernel, which the server started, in MB."""
    import psutil

    return sum(
        process.memory_info().rss / 1e6
        for process in psutil.Process().children(recursive=True)
        if "ipykernel" in " ".join(process.cmdline())
    )


def in_browser(size: int, presses: int, seconds: float, ticks: int) -> dict[str, float]:
    """Slider event to changed picture, pictures per second in a drag, and memory over many ticks.

    Args:
        size: latent dimensions.
        presses: arrow keys, one after another, each timed to the picture it changes.
        seconds: length of the drag.
        ticks: changes between the two looks at memory.
    """
    from playwright.sync_api import sync_playwright

    if chromium() is None:
        raise RuntimeError("No Chromium on this machine: install one, or leave the browser out with --no-browser.")
    with served_notebook(size) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{address}/lab/tree/sliders.ipynb")
        wait_for_kernel(page, address)
        run_all_cells(page)
        page.wait_for_selector(".vae-latent-sliders img", timeout=120_000)
        page.wait_for_timeout(2000)
        page.evaluate(WATCH)
        handle = page.locator(".vae-latent-sliders .noUi-handle").first
        handle.focus()
        press(page, presses)
        latencies = page.evaluate("watch.latencies")

        track = page.locator(".vae-latent-sliders .noUi-base").first.bounding_box()
        middle = track["y"] + track["height"] / 2
        page.evaluate("watch.pictures = []")
        box = handle.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        started = time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            page.mouse.move(track["x"] + track["width"] * (0.5 + 0.49 * np.sin(2.5 * passed)), middle)
            page.wait_for_timeout(4)
        page.mouse.up()
        dragged = page.evaluate("watch.pictures.length") / passed

        tools = page.context.new_cdp_session(page)
        handle.focus()
        page.keyboard.press("Home")  # from there the arrows never meet an end, where no picture would change
        page.wait_for_timeout(1000)
        press(page, ticks // 4)  # caches fill
        before = (heap_megabytes(tools), kernel_megabytes())
        press(page, ticks)
        after = (heap_megabytes(tools), kernel_megabytes())
        browser.close()
    return {
        "events": len(latencies),
        "latency_median": round(float(np.median(latencies)), 1),
        "latency_p95": round(float(np.quantile(latencies, 0.95)), 1),
        "pictures_per_second": round(dragged, 1),
        "memory_ticks": ticks,
        "browser_megabytes_grown": round(after[0] - before[0], 2),
        "kernel_megabytes_grown": round(after[1] - before[1], 2),
    }


def press(page: Any, times: int) -> None:
    """Arrow keys to and fro, each awaited until its picture is there; a rare step may leave every pixel as it was."""
    from playwright.sync_api import TimeoutError

    unchanged = 0
    for index in range(times):
        seen = page.evaluate("() => { watch.moved = 0; return watch.pictures.length; }")
        page.keyboard.press("ArrowRight" if index // 40 % 2 == 0 else "ArrowLeft")
        try:
            page.wait_for_function("n => watch.pictures.length > n", arg=seen, polling=2, timeout=2000)
        except TimeoutError:
            unchanged += 1
    if unchanged > times / 50:
        raise RuntimeError(f"{unchanged} of {times} keys changed no picture.")


def heap_megabytes(tools: Any) -> float:
    """The page's JavaScript heap after a garbage collection, in MB."""
    tools.send("HeapProfiler.collectGarbage")
    tools.send("Performance.enable")
    metrics = {entry["name"]: entry["value"] for entry in tools.send("Performance.getMetrics")["metrics"]}
    return metrics["JSHeapUsedSize"] / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py bench sliders", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer ticks of the usual way and in the browser")
    parser.add_argument("--no-browser", action="store_true", help="leave the browser out")
    parser.add_argument("--record", action="store_true", help="write the numbers to slider_speed.json")
    options = parser.parse_args()
    packages = ("keras", "tensorflow", "ipywidgets", "jupyterlab")
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
    machine = f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores"
    print(f"{machine}\n{versions}\n", flush=True)
    record: dict[str, Any] = {"machine": machine, "versions": versions, "milliseconds_per_tick": {}}
    for size, ways in in_kernel(TICKS, QUICK_TICKS if options.quick else TICKS).items():
        ours, usual = summary(ways["ours"]), summary(ways["usual"])
        ratio = round(usual["median"] / ours["median"], 1)
        record["milliseconds_per_tick"][size] = {"ours": ours, "usual": usual, "ratio": ratio}
        print(f"{size} dimensions: ours {ours}, usual {usual}: {ratio} times faster", flush=True)
    if not options.no_browser:
        amount = (60, 3.0, 200) if options.quick else (200, 6.0, 2000)
        record["browser"] = {str(size): in_browser(size, *amount) for size in SIZES}
        print(f"browser: {record['browser']}", flush=True)
    if options.record:
        RECORD_PATH.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
