"""JupyterLab in a real browser, for tests and the slider benchmark: start it as a student does, run a notebook."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECTOR = {"width": 1280, "height": 720}
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome on this machine, None if there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@contextmanager
def open_browser() -> Iterator[Any]:
    """A Chromium without a window, as Playwright's `Browser`; RuntimeError if the machine has none."""
    from playwright.sync_api import sync_playwright

    if find_chromium() is None:
        raise RuntimeError("No Chromium on this machine: install one (on Debian and Ubuntu: apt install chromium).")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_chromium(), args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def serve_lab(folder: Path) -> Iterator[str]:
    """Address of a JupyterLab on `folder`, as `run.py lab` starts it, without settings or tabs of earlier ones."""
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


def open_notebook(page: Any, address: str, name: str) -> None:
    """Open `name.ipynb` and wait for its kernel."""
    page.goto(f"{address}/lab/tree/{name}.ipynb", wait_until="load")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    wait_for_kernel(page, address)


def wait_for_kernel(page: Any, address: str) -> None:
    """Until the kernel of the server's one open notebook is idle and the page is connected to it.

    Asked to run cells before that, JupyterLab starts a second kernel, and asks which one to take.
    """
    for _ in range(240):
        with urllib.request.urlopen(f"{address}/api/sessions", timeout=10) as reply:
            kernels = [session["kernel"] for session in json.load(reply)]
        if any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels):
            return
        page.wait_for_timeout(250)
    raise RuntimeError(f"The notebook's kernel was not ready after a minute: {kernels}.")


def run_all_cells(page: Any) -> None:
    """By the menu, as a student does."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
