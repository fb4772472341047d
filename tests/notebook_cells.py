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


def read_cells(notebook: str) -> list[str]:
    """The code cells of a notebook, given by its number."""
    path = next(NOTEBOOKS.glob(f"{notebook}_*.ipynb"))
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def run_definition(notebook: str, name: str, **constants: Any) -> Any:
    """The function `name` of a notebook alone, without what else its cell does; it reads imports and `constants`."""
    cells = read_cells(notebook)
    found = [n for cell in cells for n in ast.parse(cell).body if getattr(n, "name", "") == name]
    assert len(found) == 1, f"notebook {notebook} no longer defines {name} once: change the test with it."
    space = dict(constants)
    exec(cells[0], space)
    exec(ast.unparse(found[0]), space)
    return space[name]


def run_cells(notebook: str, *names: str) -> dict[str, Any]:
    """What the import cell of a notebook, given by its number, and the cells that bind `names` define."""
    cells = read_cells(notebook)
    space: dict[str, Any] = {}
    for source in [cells[0], *(cell for cell in cells[1:] if defined_names(cell) & set(names))]:
        exec(source, space)
    missing = set(names) - set(space)
    assert not missing, f"notebook {notebook} no longer defines {', '.join(sorted(missing))}: change the test with it."
    return space
