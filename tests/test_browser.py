"""A student's view: JupyterLab in a real browser, a notebook run from top to bottom, sliders dragged and keyed.

Needs a Chromium on the machine; screenshots land in `screenshots/`.
"""

import base64
import io
import shutil

import nbformat
import numpy as np
import pytest
from PIL import Image

from tools.browser import PROJECTOR, ROOT, open_notebook, run_all_cells, serve_lab

pytest.importorskip("playwright.sync_api")

SCREENSHOTS = ROOT / "screenshots"
NOTEBOOK = "04_convolutional_vae"
FIGURES = (4, 11)  # inches wide
LOADED = "images => images.filter(i => i.complete && i.naturalWidth > 50).map(i => i.src.length + i.src.slice(-99))"
TALL = {"width": 1280, "height": 2400}
PHONE = {"width": 400, "height": 800}
SHOWN = "images => images.map(i => i.complete && i.naturalWidth > 20 && i.getBoundingClientRect().height > 20)"
# The PNG bytes of an <img>, whose address is a blob that only the page can read.
PNG_BYTES = """async image => {
  const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
}"""
SLIDERS = """\
from vae_utils import latent_sliders, load_pretrained
latent_sliders(load_pretrained(10).decode, 10)"""
SHOW_FIGURE = """\
import matplotlib.pyplot as plt
from vae_utils import plots
figure, _ = plt.subplots(figsize=({inches}, 2))
plots.show(figure, "An empty coordinate system that is as wide as the page allows.")"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory, browser):
    """Notebook 04 run in JupyterLab, as `run.py lab` starts it, with sliders and figures as further cells.

    Gives the page, the errors of its console, and the notebook as saved. The model is trained for one epoch on some of
    the digits: what it learns then, nbval sees.
    """
    folder = tmp_path_factory.mktemp("course") / "notebooks"
    folder.mkdir()
    shutil.copytree(ROOT / "Images" / "L2_E30", folder.parent / "Images" / "L2_E30")  # the notebook shows a picture
    notebook = nbformat.read(ROOT / "notebooks" / f"{NOTEBOOK}.ipynb", as_version=4)
    (loading,) = [cell for cell in notebook.cells if cell.cell_type == "code" and "= load_mnist()" in cell.source]
    parts = [f"{name}_{part}" for part in ("train", "validation", "test") for name in "xy"]
    loading.source += "\nEPOCHS = 1\n" + "\n".join(f"{part} = {part}[:1_000]" for part in parts)
    further = SLIDERS, *(SHOW_FIGURE.format(inches=inches) for inches in FIGURES)
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in further]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, folder / f"{NOTEBOOK}.ipynb")
    with serve_lab(folder) as address:
        page = browser.new_page(viewport=PROJECTOR)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        open_notebook(page, address, NOTEBOOK)
        run_all_cells(page)
        page.get_by_text("[*]:").first.wait_for(timeout=60_000)
        yield page, errors, wait_until_done(page, folder / f"{NOTEBOOK}.ipynb")
        page.close()


def test_a_notebook_runs_from_top_to_bottom(executed):
    page, errors, notebook = executed
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert pictures >= 8
    assert visible_pictures(page, NOTEBOOK) >= pictures
    assert not errors


def test_the_sliders_follow_the_hand(executed):
    """Mouse and keys to both ends; the picture is the decoder's own for the values on the sliders."""
    from vae_utils import load_pretrained

    page, errors, _ = executed
    sliders = scroll_to(page, "vae-latent-sliders")
    handles = sliders.locator(".noUi-handle")
    vae = load_pretrained(handles.count())
    for index in (0, handles.count() - 1):
        for end, target in (("Home", -3.0), ("End", 3.0)):
            handles.nth(index).focus()
            page.keyboard.press(end)
            check_picture(page, sliders, vae, index, target)
        page.keyboard.press("ArrowLeft")
        check_picture(page, sliders, vae, index, 2.95)
        for side, target in ((-1, -3.0), (1, 3.0)):
            drag(page, sliders, index, side)
            check_picture(page, sliders, vae, index, target)
    look_at(page, NOTEBOOK, ["vae-latent-sliders"])
    assert not errors


def test_a_figure_fits_the_page_and_keeps_its_proportions(executed):
    page, errors, _ = executed
    page.set_viewport_size(PROJECTOR)
    page.locator(".jp-WindowedPanel-outer").first.evaluate("e => e.scrollTo(0, e.scrollHeight)")
    page.wait_for_timeout(1000)
    column = page.locator(".jp-OutputArea-output").last.bounding_box()
    pictures = page.locator(".jp-OutputArea-output img").all()[-len(FIGURES) :]
    for picture, inches in zip(pictures, FIGURES, strict=True):
        box = picture.bounding_box()
        assert box["x"] + box["width"] <= column["x"] + column["width"] + 1
        assert box["width"] == pytest.approx(min(110 * inches, column["width"]), abs=20)
        assert box["width"] / box["height"] == pytest.approx(inches / 2, rel=0.02)
    assert not errors


def look_at(page, name, widgets):
    """A screenshot of each widget on a projector and on a phone; none is cut off, none lacks a picture."""
    for viewport, kind in ((PROJECTOR, "projector"), (PHONE, "phone")):
        if viewport is PHONE:
            page.locator(".jp-SideBar [data-id=filebrowser]").click()  # else the list of files covers the page
        page.set_viewport_size(viewport)
        for widget in widgets:
            body = scroll_to(page, widget)
            page.screenshot(path=SCREENSHOTS / f"{name}_{widget}_{kind}.png")
            assert body.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), f"{widget} is cut off on a {kind}"
            assert all(body.locator("img").evaluate_all(SHOWN)), f"{widget} lacks a picture on a {kind}"


def scroll_to(page, css_class):
    """The first widget of that class, scrolled to the top of the view."""
    SCREENSHOTS.mkdir(exist_ok=True)
    scroller = page.locator(".jp-WindowedPanel-outer").first
    body = page.locator(f".{css_class}").first
    scroller.evaluate("e => e.scrollTo(0, 0)")
    for _ in range(80):  # JupyterLab draws only the cells near the view
        page.wait_for_timeout(150)
        if body.count():
            for _ in range(6):  # cells above it that are drawn only now push it away again
                body.evaluate("e => e.scrollIntoView({block: 'start'})")
                page.wait_for_timeout(250)
            return body
        scroller.evaluate("e => e.scrollBy(0, 0.8 * e.clientHeight)")
    raise AssertionError(f"no {css_class} on the page")


def drag(page, sliders, index, side):
    """By the mouse from the handle over the end of its track (−1 left, 1 right), in many small moves."""
    handle, track = (sliders.locator(css).nth(index).bounding_box() for css in (".noUi-handle", ".noUi-base"))
    y = handle["y"] + handle["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] / 2 + side * (track["width"] / 2 + 20), y, steps=40)
    page.mouse.up()


def check_picture(page, sliders, vae, index, target):
    """The slider's readout is `target`, and the picture is what the shipped decoder makes of all readouts."""
    readouts = sliders.locator(".widget-readout")
    for _ in range(100):
        page.wait_for_timeout(50)
        values = [float(readout.inner_text().replace("−", "-")) for readout in readouts.all()]
        shown = picture_of(sliders)
        names = [label.inner_text() for label in sliders.locator(".widget-slider .widget-label").all()]
        z = np.zeros((1, len(values)), np.float32)
        z[0, [int(label.strip("z[]")) for label in names]] = values
        expected = vae.decode(z)[0, ..., 0]
        error = np.abs(shown / 255 - expected).max()
        if abs(values[index] - target) < 1e-6 and error < 2 / 255:
            return
    raise AssertionError(f"slider {index} shows {values[index]} for {target}; the picture is off by {error:.3f}")


def picture_of(widget):
    data = base64.b64decode(widget.locator("img").first.evaluate(PNG_BYTES))
    return np.asarray(Image.open(io.BytesIO(data)), np.float32)


def wait_until_done(page, path):
    """Save whenever the kernel rests, until the file holds a result, or an error, of every code cell."""
    for _ in range(150):
        page.wait_for_timeout(2000)
        if not page.locator('.jp-NotebookPanel [data-status="idle"]').count():
            continue
        page.keyboard.press("Control+s")
        page.wait_for_timeout(500)
        try:
            notebook = nbformat.read(path, as_version=4)
        except ValueError:  # half a file: the server empties it before it writes it anew
            continue
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        failed = any(output.output_type == "error" for cell in cells for output in cell.outputs)
        if failed or all(cell.execution_count for cell in cells):
            return notebook
    raise AssertionError("the notebook did not finish in 5 minutes")


def visible_pictures(page, name):
    """Scroll from top to bottom, take a screenshot of every page, and count the pictures that have loaded."""
    SCREENSHOTS.mkdir(exist_ok=True)
    for old in SCREENSHOTS.glob(f"{name}_*.png"):
        old.unlink()
    seen = set()
    page.set_viewport_size(TALL)
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
