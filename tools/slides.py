"""Slides of the notebooks: which cells are shown, and the decks, which load nothing from the network.

`python3 run.py labs` marks the cells of every notebook and writes the decks to build/slides/. In an environment with
the course, `jupyter nbconvert --to slides` does the same for one notebook, with the options in labs/README.md.
"""

import shutil
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE, DECKS = Path(__file__).with_name("slides"), ROOT / "build" / "slides"
MATHJAX = Path(__file__).with_name("mathjax-tex-svg.js")
MOST_WORDS, MOST_LINES = 200, 16  # of a slide; what is longer is for reading


def choose_kind(cell: NotebookNode, is_set_up: bool) -> str:
    """How a cell appears: "slide" (a new section), "subslide" (below it), "notes" (for the speaker) or "skip"."""
    if cell.cell_type == "markdown":
        words = len(cell.source.split())
        return "slide" if cell.source.startswith("#") else "subslide" if words <= MOST_WORDS else "notes"
    has_picture = any("image/png" in output.get("data", {}) for output in cell.outputs)
    short = len(cell.source.splitlines()) <= MOST_LINES and not is_set_up
    return "subslide" if has_picture or short else "skip"


def mark_cells(notebook: NotebookNode) -> None:
    """Write into every cell how it appears; what goes further is left out."""
    beyond = False
    for index, cell in enumerate(notebook.cells):
        beyond = beyond or cell.source.startswith("## Going further")
        kind = "skip" if beyond else choose_kind(cell, is_set_up=index < 4)
        cell.metadata["slideshow"] = {"slide_type": kind}


def write_decks(paths: list[Path]) -> None:
    """Mark the cells of these notebooks, and write their decks with all that these need."""
    DECKS.mkdir(parents=True, exist_ok=True)
    shutil.copytree(TEMPLATE / "reveal", DECKS / "reveal", dirs_exist_ok=True)
    shutil.copy(MATHJAX, DECKS)
    exporter = SlidesExporter(
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(TEMPLATE.parent)],
        reveal_url_prefix="reveal",
        reveal_theme="course",
    )
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        mark_cells(notebook)
        if notebook != nbformat.read(path, as_version=4):
            nbformat.write(notebook, path)
        deck = DECKS / f"{path.stem}.slides.html"
        deck.write_text(exporter.from_notebook_node(notebook)[0], encoding="utf-8")
        print(deck, flush=True)
