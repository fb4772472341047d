"""The course as a website: notebooks with their results, labs, guide, and the explorer, which runs the trained models.

    python3 run.py site [--output FOLDER] [--zip]

The pages are copied to a temporary folder, adapted there, and built by Sphinx. They load nothing from the network, so
they open from the disk, from any static host and without internet.
"""

import argparse
import base64
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = Path(__file__).with_name("site")
WIDGETS = ROOT / "vae_utils" / "widgets"
MATHJAX = Path(__file__).with_name("mathjax-tex-svg.js")
WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"
DIGITS = 1000  # validation images that an explorer carries

# What stands in place of a widget: by the notebook's number the model, by the function that makes it the view.
MODELS_SHOWN = {"04": "digits-2", "06": "digits-10", "07": "digits-10"}
VIEWS = {"latent_sliders": "sliders", "noise_slider": "noise", "explore": "plane"}
NO_VIEW = {"attribute_slider": "In the notebook, a slider stands here, which needs Python."}


# --- the explorer's models ----------------------------------------------------------------------------


def load_digits(latent_dim: int) -> dict[str, Any]:
    """A VAE for digits with its denoising encoder, and validation digits, as `explorer_data` takes them."""
    from vae_utils import load_mnist, load_pretrained, split_validation

    (x, y), _ = load_mnist()
    (_, x), (_, y) = split_validation(x), split_validation(y)
    denoiser = load_pretrained(latent_dim, denoising=True)
    return {"vae": load_pretrained(latent_dim), "x": x[:DIGITS], "y": y[:DIGITS], "denoiser": denoiser}


def load_emoji() -> dict[str, Any]:
    """The VAE for colour emoji, and the first emoji that it was trained on: it reproduces new ones less well."""
    from tools.colour import load_pictures
    from vae_utils import load_pretrained

    return {"vae": load_pretrained("emoji_vae"), "x": load_pictures()[0]}


# Name, what the page calls it, and how it is loaded.
MODELS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "digits-2": ("2 dimensions", lambda: load_digits(2)),
    "digits-10": ("10 dimensions", lambda: load_digits(10)),
    "emoji": ("colour emoji", load_emoji),
}


def write_models(folder: Path) -> None:
    """A script per model, which a page can load from the disk as well: weights and images as text."""
    from vae_utils.widgets.explore import explorer_data

    folder.mkdir(parents=True)
    for name, (_, load) in MODELS.items():
        data = explorer_data(**load())
        parts = {key: base64.b64encode(data[key]).decode("ascii") for key in ("weights", "images")}
        text = json.dumps({"spec": data["spec"], **parts})
        (folder / f"{name}.js").write_text(f"(window.explorerData ??= {{}})[{name!r}] = {text};\n", encoding="utf-8")


def make_classic(module: str) -> str:
    """The explorer's module as a classic script, since browsers load no module from the disk; and the models' names."""
    body = re.sub(r"^export default .*\n", "", module, flags=re.MULTILINE)
    body = re.sub(r"^export ", "", body, flags=re.MULTILINE)
    names = json.dumps({name: title for name, (title, _) in MODELS.items()})
    script = f"window.explorer = (() => {{\n{body}\nreturn {{ mount, readModel, readState, writeState }};\n}})();\n"
    return f"{script}window.explorerModels = {names};\n"


# --- the pages ----------------------------------------------------------------------------------------


def replace_widget(source: str, number: str) -> str:
    """What stands on the page in place of the widget that a cell shows. ValueError if that is not said above."""
    for name, sentence in NO_VIEW.items():
        if f"{name}(" in source:
            return sentence
    for name, view in VIEWS.items():
        if f"{name}(" in source and number in MODELS_SHOWN:
            mount = f'<div class="explorer" data-model="{MODELS_SHOWN[number]}" data-view="{view}"></div>'
            note = "\n\nOn this page it shows the model that ships with the course." if name == "explore" else ""
            return f"{mount}\n<noscript><p>With scripts switched on, the explorer stands here.</p></noscript>{note}"
    raise ValueError(f"Notebook {number} shows a widget: say in tools/site.py what stands in its place on the site.")


def adapt_notebook(notebook: NotebookNode, number: str) -> None:
    """Hand the figures' alternative texts to the page, and replace the widgets."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        outputs = cell.get("outputs", [])
        texts = [o.metadata["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
        if texts:
            cell.metadata["mystnb"] = {"image": {"alt": texts[0]}}
        cell_widgets = [output for output in outputs if WIDGET_TYPE in output.get("data", {})]
        if cell_widgets:
            cell.outputs = [output for output in outputs if output not in cell_widgets]
            cells.append(nbformat.v4.new_markdown_cell(replace_widget(cell.source, number)))
    notebook.cells = cells


def copy_pages(folder: Path) -> None:
    """The sources of all pages, adapted."""
    for path in [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted((ROOT / "notebooks" / "labs").glob("*.ipynb"))]:
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        notebook = nbformat.read(path, as_version=4)
        if path.parent.name == "labs":
            note = f"To solve this lab, open `{path.relative_to(ROOT)}` in JupyterLab: see [how to set the course up]"
            notebook.cells.insert(1, nbformat.v4.new_markdown_cell(f"{note}(../../index.md)."))
        adapt_notebook(notebook, path.name[:2])
        nbformat.write(notebook, target)
    (folder / "labs").mkdir()
    for path in (ROOT / "labs").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^# Lab (\d\d)", r"# Guide to lab \1", text)
        if path.name == "README.md":
            text += "\n```{toctree}\n:hidden:\n:glob:\n\nhub\n0*\n```\n"
        (folder / "labs" / path.name).write_text(text, encoding="utf-8")
    for path in (ROOT / "README.md", *PAGES.glob("*.md"), PAGES / "conf.py"):
        shutil.copy(path, folder)


def copy_static(folder: Path) -> None:
    """Scripts, style sheets and pictures that the pages name themselves."""
    write_models(folder / "models")
    module = (WIDGETS / "explorer.js").read_text(encoding="utf-8")
    (folder / "explorer.js").write_text(make_classic(module), encoding="utf-8")
    for path in (WIDGETS / "explorer.css", PAGES / "site.css", PAGES / "site.js", PAGES / "favicon.svg", MATHJAX):
        shutil.copy(path, folder)
    with Image.open(ROOT / "Images" / "main_gif.gif") as picture:  # its first frame
        picture.convert("RGB").save(folder / "plane.png")


def build(output: Path) -> None:
    """Build the site into a folder that is new, empty, or an earlier site. ValueError if it is none of these."""
    from sphinx.cmd.build import build_main

    if output.exists() and any(output.iterdir()) and not (output / "searchindex.js").exists():
        raise ValueError(f"{output} holds something else than a site: name another folder.")
    with tempfile.TemporaryDirectory(prefix="site-") as name:
        source, built = Path(name) / "source", Path(name) / "built"
        source.mkdir()
        copy_pages(source)
        copy_static(source / "_static")
        if build_main(["-q", "-n", "-W", "--keep-going", "-d", f"{name}/doctrees", str(source), str(built)]):
            raise ValueError("Sphinx has warnings or errors (see above), so there is no site.")
        shutil.rmtree(output, ignore_errors=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(built, output)


def main(arguments: list[str]) -> int:
    """The command line of `python3 run.py site`."""
    parser = argparse.ArgumentParser(prog="run.py site", description=__doc__.splitlines()[0])
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=ROOT / "build" / "site")
    parser.add_argument("--zip", action="store_true", help="write FOLDER.zip, too, which unpacks to one folder")
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    try:
        build(output)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Open {output / 'index.html'} in a browser.")
    if options.zip:
        print(shutil.make_archive(str(output), "zip", output.parent, output.name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
