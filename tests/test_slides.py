"""Slides: every cell is marked, and in a real browser a deck fits the screen and loads nothing from the network."""

import nbformat
import pytest

from tools import slides

NOTEBOOKS = sorted((slides.ROOT / "notebooks").glob("*.ipynb"))
SCREEN = {"width": 1280, "height": 720}
# Where the slide that is shown ends, how much it was made smaller, and what is hidden at its right edge.
MEASURE = """() => {
  const slide = Reveal.getCurrentSlide(), box = slide.getBoundingClientRect();
  return [box.top, box.bottom, box.right, parseFloat(slide.style.zoom || 1), slide.scrollWidth - slide.clientWidth];
}"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_are_marked(path):
    committed, fresh = (nbformat.read(path, as_version=4) for _ in range(2))
    slides.mark_cells(fresh)
    assert committed == fresh, "stale: python3 run.py labs"
    kinds = [cell.metadata.slideshow.slide_type for cell in committed.cells]
    assert kinds[0] == "slide" and kinds.count("slide") > 5 and kinds.count("notes") < 5


def test_a_deck_fits_the_screen_and_needs_no_network(tmp_path, monkeypatch, browser):
    monkeypatch.setattr(slides, "DECKS", tmp_path)
    slides.write_decks(NOTEBOOKS[3:4])
    errors, requests = [], []
    page = browser.new_page(viewport=SCREEN)
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / f"{NOTEBOOKS[3].stem}.slides.html").as_uri())
    page.wait_for_selector("mjx-container", state="attached")  # the formulas are drawn
    page.wait_for_timeout(1000)
    shown = page.evaluate("Reveal.getTotalSlides()")
    for number in range(shown):
        top, bottom, right, zoom, hidden = page.evaluate(MEASURE)
        assert top > -2 and bottom < 722 and right < 1282 and zoom >= 0.5 and hidden < 5, f"slide {number}"
        page.evaluate("Reveal.next()")
    assert page.evaluate("Reveal.isLastSlide()") and shown > 30
    assert not errors and all(url.startswith(("file:", "data:", "blob:")) for url in requests)
