"""Speed of sliders and explorer beside the usual way, in one run on one machine, in a notebook's kernel and a browser.

    python3 run.py bench sliders              a few minutes: 2 and 10 dimensions, 500 ticks of each way, and a browser
    python3 run.py bench sliders --quick      fewer ticks of the usual way, fewer in the browser
    python3 run.py bench sliders --record     writes the numbers to slider_speed.json

The usual way is the one of most tutorials: `interact`, `predict`, a new matplotlib figure. Both ways run in a
real kernel, so what a tick sends to the browser is counted. A tick is one change of one slider's value.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tools.browser import PROJECTOR, ROOT, open_browser, open_notebook, run_all_cells, serve_lab
from tools.training_speed import describe_machine, describe_versions

RECORD_PATH = Path(__file__).with_suffix(".json")
TICKS, QUICK_TICKS = 500, 60
SIZES = (2, 10)


# --- in the kernel -----------------------------------------------------------------------------------


def build_model(latent_dim: int) -> Any:
    """A VAE of the course's architecture; speed does not depend on its weights."""
    from vae_utils import VAE, build_decoder, build_encoder

    return VAE(build_encoder(latent_dim), build_decoder(latent_dim))


def time_ticks(tick: Callable[[float], None], ticks: int) -> list[float]:
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

    from vae_utils import latent_sliders

    panel = latent_sliders(build_model(latent_dim).decode, latent_dim)
    display(panel)
    times = time_ticks(lambda value: setattr(panel.sliders[0], "value", value), ticks)
    panel.close()
    return times


def time_usual(latent_dim: int, ticks: int) -> list[float]:
    """The usual way: `interact`, `predict`, a new figure."""
    import matplotlib.pyplot as plt
    from IPython.display import display
    from ipywidgets import FloatSlider, interactive

    decoder = build_model(latent_dim).decoder

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
    return time_ticks(lambda value: setattr(sliders["z0"], "value", value), ticks)


def measure_in_kernel(ticks: int, usual_ticks: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds per tick of both ways and all sizes, measured in a fresh Jupyter kernel."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    code = f"""
import sys, json
sys.path.insert(0, {str(ROOT)!r})
from tools import slider_speed as s
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


def summarise(times: list[float]) -> dict[str, float]:
    """Number of ticks, median, 95th and 99th percentile in milliseconds."""
    median, p95, p99 = np.quantile(times, (0.5, 0.95, 0.99)).tolist()
    return {"ticks": len(times), "median": round(median, 2), "p95": round(p95, 2), "p99": round(p99, 2)}


# --- in the browser ----------------------------------------------------------------------------------

NOTEBOOK_CELL = """\
from vae_utils import latent_sliders, load_pretrained
panel = latent_sliders(load_pretrained({size}).decode, {size})
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


EXPLORER_CELL = """\
from vae_utils import VAE, build_decoder, build_encoder, explore, load_mnist, load_pretrained, train
(x, y), _ = load_mnist()
explore(load_pretrained({size}), x[-1000:], y[-1000:])"""
TRAINING_CELL = "train(VAE(build_encoder(2), build_decoder(2)), x[:20_000], x[-1000:], epochs=30, live=False)"

# From a move of the mouse to the end of the frame that shows the changed picture, and the frames.
WATCH_MAP = """() => {
  const plane = document.querySelector('.vx-plane canvas'), channel = new MessageChannel();
  let moved = 0;
  window.watch = { latencies: [] };
  channel.port1.onmessage = () => { watch.latencies.push(performance.now() - moved); moved = 0; };
  plane.addEventListener('pointermove', (event) => {
    if (!event.buttons || moved) return;
    moved = event.timeStamp;
    requestAnimationFrame(() => channel.port2.postMessage(0));
  });
}"""
# Changed pictures per second if the page moves the pointer itself, once a frame, for so many milliseconds.
MOVE_IN_PAGE = """(milliseconds) => new Promise((done) => {
  const plane = document.querySelector('.vx-plane canvas'), box = plane.getBoundingClientRect();
  const decoded = document.querySelector('.vx-decoded canvas'), { width, height } = decoded;
  const started = performance.now();
  let before = '', pictures = 0;
  plane.setPointerCapture = () => {}; // there is no pointer to capture
  const move = () => {
    const passed = performance.now() - started;
    if (passed > milliseconds) { delete plane.setPointerCapture; return done(1000 * pictures / passed); }
    const clientX = box.left + box.width * (0.5 + 0.4 * Math.sin(0.0025 * passed));
    const clientY = box.top + box.height * (0.5 + 0.4 * Math.cos(0.0017 * passed));
    plane.dispatchEvent(new PointerEvent(before ? 'pointermove' : 'pointerdown', { buttons: 1, clientX, clientY }));
    const now = decoded.getContext('2d').getImageData(0, 0, width, height).data.join();
    if (now !== before) pictures += 1;
    before = now;
    requestAnimationFrame(move);
  };
  requestAnimationFrame(move);
})"""
# What `times` changes take, each in milliseconds: of the first slider (decode, draw), or on the map (encode as well).
TIME_CHANGES = """([view, times]) => {
  document.querySelector(`.vae-explorer input[value=${view}]`).click();
  const target = document.querySelector(view === 'sliders' ? '[data-dim]' : '.vx-plane canvas');
  const box = target.getBoundingClientRect(), middle = { clientX: box.left + box.width / 2, clientY: box.top + 9 };
  const taken = [];
  target.setPointerCapture = () => {}; // there is no pointer to capture
  if (view === 'plane') target.dispatchEvent(new PointerEvent('pointerdown', { buttons: 1, ...middle }));
  for (let i = 0; i < times; i++) {
    const at = 0.5 + 0.45 * Math.sin(0.37 * i), started = performance.now();
    if (view === 'sliders') {
      target.value = 6 * at - 3;
      target.dispatchEvent(new Event('input', { bubbles: true }));
    } else {
      const place = { clientX: box.left + at * box.width, clientY: box.top + at * box.height };
      target.dispatchEvent(new PointerEvent('pointermove', { buttons: 1, ...place }));
    }
    taken.push(performance.now() - started);
  }
  delete target.setPointerCapture;
  return taken.slice(10);
}"""


@contextmanager
def serve_notebook(*sources: str) -> Iterator[str]:
    """Address of a JupyterLab with `sliders.ipynb`, a notebook with these code cells."""
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(notebook, Path(folder) / "sliders.ipynb")
        with serve_lab(Path(folder)) as address:
            yield address


def measure_kernel() -> float:
    """Resident memory of the notebook's kernel, which the server started, in MB."""
    import psutil

    return sum(
        process.memory_info().rss / 1e6
        for process in psutil.Process().children(recursive=True)
        if "ipykernel" in " ".join(process.cmdline())
    )


def measure_in_browser(size: int, presses: int, seconds: float, ticks: int) -> dict[str, float]:
    """Slider event to changed picture, pictures per second in a drag, and memory over many ticks.

    Args:
        size: latent dimensions.
        presses: arrow keys, one after another, each timed to the picture it changes.
        seconds: length of the drag.
        ticks: changes between the two looks at memory.
    """
    with serve_notebook(NOTEBOOK_CELL.format(size=size)) as address, open_browser() as browser:
        page = browser.new_page(viewport=PROJECTOR)
        open_notebook(page, address, "sliders")
        run_all_cells(page)
        page.wait_for_selector(".vae-latent-sliders img", timeout=120_000)
        page.wait_for_timeout(2000)
        page.evaluate(WATCH)
        handle = page.locator(".vae-latent-sliders .noUi-handle").first
        handle.focus()
        press_keys(page, presses)
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

        session = page.context.new_cdp_session(page)
        handle.focus()
        page.keyboard.press("Home")  # from there the arrows never meet an end, where no picture would change
        page.wait_for_timeout(1000)
        press_keys(page, ticks // 4)  # caches fill
        before = (measure_heap(session), measure_kernel())
        press_keys(page, ticks)
        after = (measure_heap(session), measure_kernel())
    return {
        "events": len(latencies),
        "latency_median": round(float(np.median(latencies)), 1),
        "latency_p95": round(float(np.quantile(latencies, 0.95)), 1),
        "pictures_per_second": round(dragged, 1),
        "memory_ticks": ticks,
        "browser_megabytes_grown": round(after[0] - before[0], 2),
        "kernel_megabytes_grown": round(after[1] - before[1], 2),
    }


def measure_explorer(size: int, seconds: float, moves: int = 2000) -> dict[str, Any]:
    """The explorer: what a change costs; move to picture and pictures per second in a drag, idle and while the kernel
    trains; memory over many moves."""
    with serve_notebook(EXPLORER_CELL.format(size=size), TRAINING_CELL) as address, open_browser() as browser:
        page = browser.new_page(viewport=PROJECTOR)
        open_notebook(page, address, "sliders")
        page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector(".vae-explorer", timeout=120_000)
        page.wait_for_timeout(2000)
        measured: dict[str, Any] = {
            "slider_milliseconds": summarise(page.evaluate(TIME_CHANGES, ["sliders", 510])),
            "map_milliseconds": summarise(page.evaluate(TIME_CHANGES, ["plane", 510])),
        }
        page.evaluate(WATCH_MAP)
        measured["drag"] = drag_on_map(page, seconds)
        session = page.context.new_cdp_session(page)
        before = (measure_heap(session), measure_kernel())
        page.evaluate(TIME_CHANGES, ["plane", moves])
        measured["memory_moves"] = moves
        for name, grown in zip(("browser", "kernel"), (measure_heap(session), measure_kernel()), strict=True):
            measured[f"{name}_megabytes_grown"] = round(grown - before[name == "kernel"], 2)
        page.locator(".jp-CodeCell .jp-InputArea-editor").nth(1).click()
        page.keyboard.press("Control+Enter")  # the second cell trains
        page.wait_for_timeout(15_000)
        measured["drag_while_training"] = drag_on_map(page, seconds)
        if not page.locator('[data-status="busy"]').count():
            raise RuntimeError("The training ended before the drag: give it more epochs.")
    return measured


def drag_on_map(page: Any, seconds: float) -> dict[str, float]:
    """Over the map in ellipses: by Playwright's mouse, whose two processes share the cores, then by the page itself."""
    plane = page.locator(".vx-plane canvas")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    page.evaluate("watch.latencies = []")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        across, down = 0.5 + 0.4 * np.sin(2.5 * passed), 0.5 + 0.4 * np.cos(1.7 * passed)
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
    page.mouse.up()
    latencies = page.evaluate("watch.latencies")
    return {
        **summarise(latencies),
        "driven_pictures_per_second": round(len(latencies) / passed, 1),
        "pictures_per_second": round(page.evaluate(MOVE_IN_PAGE, 1000 * seconds), 1),
    }


def press_keys(page: Any, times: int) -> None:
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


def measure_heap(session: Any) -> float:
    """The page's JavaScript heap after a garbage collection, in MB."""
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
    return metrics["JSHeapUsedSize"] / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="run.py bench sliders", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer ticks of the usual way and in the browser")
    parser.add_argument("--no-browser", action="store_true", help="leave the browser out")
    parser.add_argument("--record", action="store_true", help="write the numbers to slider_speed.json")
    options = parser.parse_args()
    packages = ("ipywidgets", "jupyterlab")
    versions = ", ".join([describe_versions(), *(f"{name} {version(name)}" for name in packages)])
    machine = describe_machine()
    print(f"{machine}\n{versions}\n", flush=True)
    record: dict[str, Any] = {"machine": machine, "versions": versions, "milliseconds_per_tick": {}}
    for size, ways in measure_in_kernel(TICKS, QUICK_TICKS if options.quick else TICKS).items():
        ours, usual = summarise(ways["ours"]), summarise(ways["usual"])
        ratio = round(usual["median"] / ours["median"], 1)
        record["milliseconds_per_tick"][size] = {"ours": ours, "usual": usual, "ratio": ratio}
        print(f"{size} dimensions: ours {ours}, usual {usual}: {ratio} times faster", flush=True)
    if not options.no_browser:
        amount = (60, 3.0, 200) if options.quick else (200, 6.0, 2000)
        record["browser"] = {str(size): measure_in_browser(size, *amount) for size in SIZES}
        print(f"browser: {record['browser']}", flush=True)
        record["explorer"] = {str(size): measure_explorer(size, amount[1]) for size in SIZES}
        print(f"explorer: {record['explorer']}", flush=True)
    if options.record:
        RECORD_PATH.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
