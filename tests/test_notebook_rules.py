"""The house rules for notebooks that a program can check, on every committed notebook; its code runs under nbval."""

import ast
import builtins
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IGNORE = "nbval-ignore-output"
FIRST_EDITION = set()  # none is left, and none may be added
WORDS, CODE_CELLS, PREDICTIONS = 2500, 45, 6  # at most, before "Going further"


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=[path for path in PATHS if path.name[:2] not in FIRST_EDITION], ids=lambda path: path.stem)
def second_edition(request):
    return nbformat.read(request.param, as_version=4)


def core(notebook):
    """The cells before "Going further"."""
    headings = [cell.cell_type == "markdown" and cell.source.startswith("## Going further") for cell in notebook.cells]
    return notebook.cells[: headings.index(True)] if True in headings else notebook.cells


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def has_picture(cell):
    return cell.cell_type == "code" and any("image/png" in output.get("data", {}) for output in cell.outputs)


def test_there_are_notebooks_and_they_are_numbered():
    assert PATHS
    assert all(re.fullmatch(r"\d\d_[a-z_]+", path.stem) for path in PATHS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_file_is_small(path):
    assert path.stat().st_size < 1_500_000


def test_it_is_a_valid_notebook(notebook):
    nbformat.validate(notebook)
    widgets = notebook.metadata.get("widgets", {})
    assert all("state" in content for content in widgets.values())


def test_it_was_committed_from_one_clean_run(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_output_is_an_error_or_stderr(notebook):
    assert not [o for o in outputs(notebook) if o.output_type == "error" or o.get("name") == "stderr"]


def test_pictures_are_png_and_nothing_is_a_bare_repr(notebook):
    for output in outputs(notebook):
        data = output.get("data", {})
        assert "image/svg+xml" not in data
        assert not re.match(r"<(Axes|Figure|matplotlib)|Text\(|\[<matplotlib", str(data.get("text/plain", ""))) or (
            "image/png" in data
        )


def test_one_first_level_heading_at_the_top(notebook):
    headings = re.findall(r"^# .+", markdown(notebook), flags=re.MULTILINE)
    assert len(headings) == 1
    first = notebook.cells[0].source
    assert first.startswith("# ") and "learn" in first and "need" in first and "minute" in first


def test_it_closes_with_a_summary_and_what_comes_next(notebook):
    text = markdown(notebook)
    headings = re.findall(r"^## (.+)", text, flags=re.MULTILINE)
    closing = headings[headings.index("Summary") :]
    if "Exercises" in closing:  # a notebook of the first edition
        assert closing == ["Summary", "Exercises", "Next"]
        assert text[text.index("## Exercises") :].count("*Hint:") >= 4
    else:
        assert closing in (["Summary", "To the lab", "Next"], ["Summary", "To the lab", "Next", "Going further"])
    summary = text[text.index("## Summary") : text.index(f"## {closing[1]}")]
    assert len(re.findall(r"^\d\. ", summary, flags=re.MULTILINE)) <= 5


def test_one_import_cell_that_starts_with_the_package(notebook):
    first = notebook.cells[1]
    assert first.cell_type == "code" and len(first.source.splitlines()) <= 12
    tree = ast.parse(first.source)
    assert all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree.body)
    modules = [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in tree.body]
    assert modules[0].startswith("vae_utils")


def test_cells_are_short_and_hold_one_definition(notebook):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert max(lengths) <= 30
    assert sum(length <= 15 for length in lengths) >= 0.8 * len(lengths)
    for cell in code_cells(notebook):
        body = ast.parse(cell.source).body
        assert sum(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in body) <= 1, cell.source


def test_no_magics_and_no_skipped_cells(notebook):
    for cell in code_cells(notebook):
        assert not re.search(r"^\s*[%!]", cell.source, flags=re.MULTILINE)
        tags = cell.metadata.get("tags", [])
        assert not {"nbval-skip", "nbval-raises-exception", "skip-execution"} & set(tags)
        assert "NBVAL_" not in cell.source


def test_every_picture_has_words_before_and_after(notebook):
    cells = notebook.cells
    for index, cell in enumerate(cells):
        if has_picture(cell):
            after = cells[index + 1] if index + 1 < len(cells) else None
            before = next((c for c in reversed(cells[:index]) if c.cell_type == "markdown" or has_picture(c)), None)
            assert after is not None and after.cell_type == "markdown", f"no reading after cell {index}"
            assert not after.source.startswith("#"), f"a heading stands where cell {index} should be read"
            assert before is not None and before.cell_type == "markdown", f"no question before cell {index}"


def test_some_outputs_are_compared(notebook):
    compared = [
        cell
        for cell in code_cells(notebook)
        if IGNORE not in cell.metadata.get("tags", []) and any(o.output_type == "stream" for o in cell.outputs)
    ]
    assert len(compared) >= 3


def test_the_core_fits_its_class(second_edition):
    cells = core(second_edition)
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    count = sum(cell.cell_type == "code" for cell in cells)
    predictions = len(re.findall(r"\*\*Predict\b", markdown(second_edition)))
    assert words <= WORDS and count <= CODE_CELLS and predictions <= PREDICTIONS, (words, count, predictions)


def test_no_check_is_printed_as_true_or_false(second_edition):
    text = "".join(output.text for output in outputs(second_edition) if output.output_type == "stream")
    assert not re.findall(r".*\b(?:True|False)\b.*", text)


def test_every_picture_has_an_alternative_text(second_edition):
    texts = []
    for output in outputs(second_edition):
        if "image/png" in output.get("data", {}):
            texts.append(output.metadata.get("image/png", {}).get("alt", ""))
    assert texts
    for text in texts:
        assert 40 <= len(text) <= 250, text
        assert not re.search(r"\.(?:png|gif|jpe?g)\b", text) and text.count(" ") >= 5, f"not words: {text}"
    assert len(set(texts)) == len(texts), "two pictures have the same alternative text"


def test_the_fields_names_are_used(notebook):
    names = {
        node.id
        for cell in code_cells(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name)
    }
    assert not names & {"mu", "logvar", "codings", "data2"}


def test_nothing_needs_the_network(notebook):
    source = "\n".join(cell.source for cell in code_cells(notebook))
    assert not re.search(r"urllib|requests|keras\.datasets|get_file|https?://", source)


def defined_names(tree):
    """Names bound at the top level of a module."""
    names = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names


def test_helpers_read_no_hidden_state(notebook):
    """A function in a notebook reads its arguments, constants in capitals, imports and other definitions only."""
    trees = [ast.parse(cell.source) for cell in code_cells(notebook)]
    allowed = set(dir(builtins)).union(*(defined_names(tree) for tree in trees))
    for tree in trees:
        for function in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
            nodes = list(ast.walk(function))
            own = {n.arg for n in nodes if isinstance(n, ast.arg)}
            own |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            own |= {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
            read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            hidden = {name for name in read - own - allowed if not name.isupper()}
            assert not hidden, f"{function.name} reads {hidden}"
