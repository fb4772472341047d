"""The site: built once, read by a program and by a browser, from the disk and over HTTP, and checked by axe."""

import functools
import html
import http.server
import re
import threading
import zipfile
from urllib.parse import parse_qs, unquote, urldefrag

import nbformat
import pytest
from axe_playwright_python.base import AXE_SCRIPT

from tools import site as builder

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # the theme's own

ROOT = builder.ROOT
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECTOR, TABLET, PHONE = ({"width": w, "height": h} for w, h in ((1280, 720), (768, 1024), (360, 740)))
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# Contrast is slow to measure: `data-sample` marks the first text of each kind, by tags, classes and styles up to the
# root; of the thousands of words of code and strokes of formulas, only what that needs stays on the page.
THIN_OUT = """() => {
  const words = new Set(), kinds = new Set();
  for (const span of document.querySelectorAll(".highlight span"))
    words.has(span.className) ? span.replaceWith(span.textContent) : words.add(span.className);
  document.querySelectorAll("mjx-container svg").forEach((svg) => svg.replaceChildren());
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())) continue;
    let kind = "";
    for (let e = element; e; e = e.parentElement) kind += [e.tagName, e.className, e.getAttribute("style")];
    if (!kinds.has(kind)) element.dataset.sample = "";
    kinds.add(kind);
  }
}"""
IS_MARKED = """() => [...document.querySelectorAll("pre, mjx-container[display]")]
  .every((box) => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)"""
RUN_AXE = """async ([theme, tags]) => {
  document.documentElement.dataset.theme = theme;
  const options = { resultTypes: ["violations"], preload: false }, rules = { "color-contrast": { enabled: false } };
  const results = [await axe.run("[data-sample]", { ...options, runOnly: ["color-contrast"] })];
  if (theme === "light") results.push(await axe.run({ ...options, runOnly: tags, rules })); // all that has no colours
  const violations = results.flatMap((result) => result.violations);
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => [theme, id, html]));
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder, and the text of its pages by their path in it. Sphinx's warnings are errors."""
    folder = tmp_path_factory.mktemp("some where") / "site"
    assert builder.main(["--output", str(folder), "--zip"]) == 0
    files = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    return folder, {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def read_attributes(text, pattern):
    """All values of an attribute, whose name ends the pattern."""
    return [html.unescape(value) for value in re.findall(rf'{pattern}="([^"]*)"', text)]


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served, in a subfolder."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=site[0].parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/site/"
        server.shutdown()


def open_page(browser, **options):
    """A page in its own context, and the list of what it should not do."""
    page, problems = browser.new_context(viewport=PROJECTOR, reduced_motion="reduce", **options).new_page(), []
    page.on("pageerror", lambda error: problems.append((page.url, str(error))))
    page.on("console", lambda m: problems.append((page.url, m.text)) if m.type in ("error", "warning") else None)
    inside = ("file:", "data:", "blob:", "http://127.0.0.1:")
    page.on("request", lambda r: None if r.url.startswith(inside) else problems.append((page.url, r.url)))
    page.on("response", lambda r: None if r.status < 400 else problems.append((page.url, r.url, r.status)))
    return page, problems


# --- the files -----------------------------------------------------------------------------------------


def test_it_holds_every_page_and_is_small(site):
    folder, pages = site
    sources = [*NOTEBOOKS, *(ROOT / "notebooks" / "labs").glob("*.ipynb"), *(ROOT / "labs").glob("*.md")]
    names = {path.relative_to(ROOT).with_suffix(".html").as_posix() for path in sources}
    assert pages.keys() == names | {"index.html", "explorer.html", "search.html"}
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 40e6
    with zipfile.ZipFile(folder.with_suffix(".zip")) as file:
        assert "site/index.html" in file.namelist()
        assert all(name.startswith("site/") for name in file.namelist())


def test_every_link_leads_somewhere(site):
    folder, pages = site
    for name, text in pages.items():
        for target in read_attributes(text, r"\s(?:href|src)"):
            path, anchor = urldefrag(target)
            if re.match(r"(https?|data):", target):
                continue
            found = (folder / name).parent / unquote(path.partition("?")[0]) if path else folder / name
            assert found.is_file(), f"{name}: {target}"
            if "=" in anchor:  # a state of the explorer
                assert parse_qs(anchor)["model"][0] in builder.MODELS, f"{name}: {target}"
            elif anchor:
                place = found.resolve().relative_to(folder.resolve()).as_posix()
                assert unquote(anchor) in read_attributes(pages[place], r"\sid"), f"{name}: {target}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_figures_keep_their_texts_and_widgets_are_replaced(path, site):
    text = site[1][f"notebooks/{path.stem}.html"]
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    outputs = [(cell, output) for cell in cells for output in cell.outputs]
    texts = [o.metadata["image/png"]["alt"] for _, o in outputs if "image/png" in o.get("data", {})]
    assert texts and read_attributes(text, "<img[^>]* alt") == texts
    widgets = [cell.source for cell, output in outputs if builder.WIDGET_TYPE in output.get("data", {})]
    shown = [source for source in widgets if not any(f"{name}(" in source for name in builder.NO_VIEW)]
    assert len(read_attributes(text, '<div class="explorer" data-model')) == len(shown)
    assert text.count("a slider stands here, which needs Python") == len(widgets) - len(shown)


def test_an_unknown_widget_stops_the_build():
    with pytest.raises(ValueError, match="Notebook 01 shows a widget"):
        builder.replace_widget("some_slider()", "01")


def test_another_folder_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("")
    assert builder.main(["--output", str(tmp_path)]) == 1
    assert "something else than a site" in capsys.readouterr().err and (tmp_path / "thesis.txt").exists()


# --- in a browser --------------------------------------------------------------------------------------


def test_every_page_works_from_the_disk(browser, site):
    folder, pages = site
    page, problems = open_page(browser)
    for name in pages:
        page.goto((folder / name).as_uri())
        show_explorers(page)
    assert not problems


def show_explorers(page):
    """Scroll to every explorer of a page, and wait for it."""
    for explorer in page.locator("div.explorer").all():
        explorer.scroll_into_view_if_needed()
        explorer.locator("canvas").first.wait_for(state="attached")


@pytest.mark.slow
def test_every_page_is_accessible_and_fits_every_screen(browser, site, address):
    """Over HTTP. axe looks at two of the four pairs of width and theme, at the other two in the next page; at all four
    where the explorer fills the page."""
    page, problems = open_page(browser, color_scheme="light")
    for number, name in enumerate(site[1]):
        page.set_viewport_size(PROJECTOR)
        page.goto(address + name)
        page.evaluate("window.MathJax?.startup.promise.then(() => true)")
        show_explorers(page)
        page.evaluate(THIN_OUT)
        page.evaluate(AXE_SCRIPT)
        for viewport in (PROJECTOR, TABLET, PHONE):
            page.set_viewport_size(viewport)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= viewport["width"], f"{name} is too wide for {viewport}"
            if viewport is TABLET:
                continue
            page.wait_for_function(IS_MARKED)  # by the theme, 300 ms later
            themes = ["light", "dark"]
            if name not in ("index.html", "explorer.html"):
                themes = [themes[(number + (viewport is PHONE)) % 2]]
            for theme in themes:
                problems += [(name, viewport, *found) for found in page.evaluate(RUN_AXE, [theme, WCAG])]
    assert not problems


def test_the_address_keeps_the_state(browser, address):
    page, problems = open_page(browser)
    page.goto(f"{address}index.html#model=digits-2&view=sliders&z=0.5,-1.25")
    sliders = page.locator(".explorer input[type=range]:visible")
    sliders.first.wait_for()
    values = {slider.get_attribute("aria-label"): slider.input_value() for slider in sliders.all()}
    assert values == {"z[0]": "0.5", "z[1]": "-1.25"}
    page.get_by_label("z[0]").press("Home")
    page.wait_for_function("location.hash.includes('z=-3.00,-1.25')")
    page.get_by_label("Model").select_option("digits-10")
    page.wait_for_function("location.hash.includes('model=digits-10')")
    page.wait_for_function("document.querySelectorAll('.explorer input[type=range]').length > 9")
    page.goto(f"{address}explorer.html")
    page.get_by_role("link", name="Half-way between two digits").click()
    page.locator(".vx-slerp").wait_for()
    page.reload()
    page.locator(".vx-slerp").wait_for()
    assert page.get_by_label("Model").input_value() == "digits-10"
    assert not problems


def test_the_explorer_is_in_view_at_once(browser, address):
    for viewport in (PROJECTOR, PHONE):
        page, _ = open_page(browser)
        page.set_viewport_size(viewport)
        page.goto(address)
        for part in (".vx-plane canvas", ".vx-decoded canvas"):
            page.locator(part).wait_for()
            box = page.locator(part).bounding_box()
            assert box["y"] + box["height"] <= viewport["height"], f"{part} begins too low"


def test_without_scripts_and_on_paper(browser, address):
    page, _ = open_page(browser, java_script_enabled=False)
    page.goto(address)
    assert page.get_by_role("img", name="The latent plane of a trained VAE").bounding_box()["height"] > 100
    page.goto(f"{address}notebooks/{NOTEBOOKS[3].stem}.html")
    page.emulate_media(media="print")
    left = page.locator(".explorer, .bd-sidebar, .bd-header-article").locator("visible=true")
    assert not [part.evaluate("e => e.outerHTML.slice(0, 200)") for part in left.all()]
