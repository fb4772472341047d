"""A student's view: JupyterLab in a real browser, a notebook run from top to bottom.

Needs a Chromium on the machine; screenshots land in `screenshots/`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

playwright = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "screenshots"
NOTEBOOKS = ["04_convolutional_vae"]
LOADED = "images => images.filter(i => i.complete && i.naturalWidth > 50).map(i => i.src.length + i.src.slice(-99))"
PROJECTOR = {"width": 1280, "height": 720}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        assert not os.environ.get("REQUIRE_BROWSER"), "No Chromium found, and REQUIRE_BROWSER asks for one."
        pytest.skip("no Chromium on this machine")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab, as `run.py lab` starts it, on a copy of the notebooks."""
    folder = tmp_path_factory.mktemp("course")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, ROOT / "run.py", "lab", f"--port={port}", "--no-browser", "--IdentityProvider.token="]
    environment = {**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings")}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={folder}"], cwd=folder, env=environment, stdout=log, stderr=log
        )
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for_server(address, server, folder / "server.log")
            yield address, folder
        finally:
            server.terminate()
            server.wait(timeout=30)


def wait_for_server(address, server, log):
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=2)
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(name, browser, lab):
    address, folder = lab
    path = folder / f"{name}.ipynb"
    clear_outputs(path)
    page = browser.new_page(viewport=PROJECTOR)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{address}/lab/tree/{name}.ipynb", wait_until="load")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    wait_for_kernel(page)
    run_all_cells(page)
    notebook = wait_until_done(page, path)

    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert pictures >= 8
    assert visible_pictures(page, name) >= pictures
    assert not errors
    page.close()


def clear_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


def wait_for_kernel(page):
    page.wait_for_selector('.jp-NotebookPanel [data-status="idle"]', timeout=60_000)


def run_all_cells(page):
    """By the menu, as a student would; again if the kernel was not ready to listen."""
    for _ in range(5):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            page.get_by_text("[*]:").first.wait_for(timeout=5_000)
            return
        except playwright.TimeoutError:
            continue
    raise AssertionError("no cell started to run")


def wait_until_done(page, path):
    """Save every few seconds until the file holds a result, or an error, of every code cell."""
    for _ in range(150):
        time.sleep(2)
        page.keyboard.press("Control+s")
        notebook = nbformat.read(path, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        failed = any(output.output_type == "error" for cell in cells for output in cell.outputs)
        idle = page.locator('.jp-NotebookPanel [data-status="idle"]').count()
        if failed or (idle and all(cell.execution_count for cell in cells)):
            return notebook
    raise AssertionError("the notebook did not finish in 5 minutes")


def visible_pictures(page, name):
    """Scroll from top to bottom, take a screenshot of every page, and count the pictures that have loaded."""
    SCREENSHOTS.mkdir(exist_ok=True)
    for old in SCREENSHOTS.glob(f"{name}_*.png"):
        old.unlink()
    seen = set()
    scroller = page.locator(".jp-WindowedPanel-outer").first
    scroller.evaluate("e => e.scrollTo(0, 0)")
    for number in range(80):
        page.wait_for_timeout(250)
        seen |= set(page.locator(".jp-OutputArea img").evaluate_all(LOADED))
        page.screenshot(path=SCREENSHOTS / f"{name}_{number:02d}.png")
        at_end = scroller.evaluate("e => e.scrollTop + e.clientHeight >= e.scrollHeight - 5")
        if at_end:
            break
        scroller.evaluate("e => e.scrollBy(0, 0.85 * e.clientHeight)")
    return len(seen)
