"""The cells of a notebook that define given names, run by themselves."""

import ast
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def defined_names(source: str) -> set[str]:
    """Names that a cell binds at its top level."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        else:
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def run_cells(notebook: str, *names: str) -> dict[str, Any]:
    """What the import cell of a notebook, given by its number, and the cells that bind `names` define."""
    path = next(NOTEBOOKS.glob(f"{notebook}_*.ipynb"))
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    space: dict[str, Any] = {}
    for source in [cells[0], *(cell for cell in cells[1:] if defined_names(cell) & set(names))]:
        exec(source, space)
    missing = set(names) - set(space)
    assert not missing, f"{path.name} no longer defines {', '.join(sorted(missing))}: change the test with it."
    return space
