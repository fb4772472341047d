"""The labs: students' copies and answer keys from one source each, and the grading of what a class hands in.

    python3 run.py labs                  builds what the checks compare with, the students' copies (notebooks/labs/),
                                         the answer keys (build/labs/) and the slides (build/slides/)
    python3 run.py labs --grade FOLDER   grades every file in FOLDER; marks and feedback go to FOLDER-graded/
    python3 run.py labs --grade FOLDER --lab 03   the lab that was set, if the folder holds several

The sources are the notebooks in labs/, in nbgrader's format; nbgrader's own preprocessors make the copies, execute what
was handed in and read the points. A submission gives only its own cells: imports, data and tests are the source's. Each
runs in a process and a folder of its own, with time and memory limited, and without network, the other submissions and
the sources where bubblewrap (`bwrap`, on Linux) is installed.
"""

import argparse
import contextlib
import csv
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bleach
import nbformat
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbgrader import preprocessors
from nbgrader.utils import determine_grade, is_grade, is_locked, is_solution

from tools import slides
from tools.slides import MATHJAX

ROOT = Path(__file__).resolve().parent.parent
SOURCES, COPIES, KEYS = ROOT / "labs", ROOT / "notebooks" / "labs", ROOT / "build" / "labs"
WITH_ANSWERS = (SOURCES, ROOT / "tests", KEYS)  # what a submission must not read
STUB = "# Your code here.\nraise NotImplementedError()"
CELL_SECONDS, SUBMISSION_SECONDS = 20, 180
MEMORY = 8 * 2**30  # bytes of address space of a submission
LARGEST_FILE, LARGEST_OUTPUT = 50_000_000, 100_000  # bytes of a submission, characters that a cell prints
TAGS = set(re.findall(r"\w+", "p br hr h1 h2 h3 h4 h5 h6 div span pre details summary table thead tbody tr th td"))
NO_RESULT = "is not in the notebook", "is not written", "takes too long"
TAMPERED = (  # each must fail after the student's cells, else the tests could not fail either
    "assert False",
    "import numpy as np\nassert np.allclose([0.0], [1.0])",
    "assert np.array_equal([0], [1]) or np.isclose(0.0, 1.0)",
)


# --- the students' copies and the answer keys ---------------------------------------------------------


def read_sources() -> dict[str, NotebookNode]:
    """The labs' sources by the stem of their file's name."""
    return {path.stem: nbformat.read(path, as_version=4) for path in sorted(SOURCES.glob("*.ipynb"))}


def make_student_copy(source: NotebookNode) -> NotebookNode:
    """The source without solutions, hidden tests and outputs, as nbgrader's `generate_assignment` makes it."""
    steps = (
        preprocessors.LockCells(),
        preprocessors.ClearSolutions(code_stub={"python": STUB}),
        preprocessors.ClearOutput(),
        preprocessors.CheckCellMetadata(),
        preprocessors.ClearHiddenTests(),
        preprocessors.ClearMarkScheme(),
        preprocessors.ComputeChecksums(),
    )
    notebook, resources = nbformat.from_dict(json.loads(json.dumps(source))), {}
    for step in steps:
        notebook, resources = step.preprocess(notebook, resources)
    return notebook


def write_checks() -> None:
    """Store what the checks of the labs compare with."""
    from labs import references  # here, since a submission's process must not see it, nor needs TensorFlow

    references.write_exercises()
    print(references.PATH.relative_to(ROOT), flush=True)


def write_student_copies() -> None:
    """Write every student's copy to notebooks/labs/."""
    COPIES.mkdir(parents=True, exist_ok=True)
    for name, source in read_sources().items():
        nbformat.write(make_student_copy(source), COPIES / f"{name}.ipynb")
        print(COPIES.relative_to(ROOT) / f"{name}.ipynb", flush=True)


def write_answer_keys() -> None:
    """Execute every source and write it, with its outputs, as a page to build/labs/."""
    KEYS.mkdir(parents=True, exist_ok=True)
    shutil.copy(MATHJAX, KEYS)
    for name, source in read_sources().items():
        execute(source, SOURCES, cell_seconds=300)
        write_page(KEYS / f"{name}.html", f"Answer key: {name}", to_html(source))
        print(KEYS.relative_to(ROOT) / f"{name}.html", flush=True)


def list_labs() -> str:
    """A table of the labs: what students write, minutes and points."""
    lines = ["| lab | task | minutes | points |", "|---|---|---|---|"]
    for name, source in read_sources().items():
        title, text = re.match(r"# Lab \d+ · (.+)\n+([^.]+\.)", source.cells[0].source).groups()
        minutes = re.search(r"(\d+) minutes", source.cells[0].source).group(1)
        points = sum(cell.metadata.nbgrader.points for cell in source.cells if is_grade(cell))
        lines.append(f"| {name[:2]} [{title}]({name}.md) | {' '.join(text.split())} | {minutes} | {points:g} |")
    return "\n".join(lines)


def renew_table(text: str) -> str:
    """The guide's text with the table between its markers made anew."""
    start, _, rest = text.partition("<!-- labs -->\n")
    return f"{start}<!-- labs -->\n{list_labs()}\n<!-- end of labs -->{rest.partition('<!-- end of labs -->')[2]}"


def to_html(notebook: NotebookNode) -> str:
    """Cells and outputs as HTML that runs no script."""
    options = {"sanitize_html": True, "exclude_input_prompt": True, "exclude_anchor_links": True}
    exporter = HTMLExporter(template_name="basic", filters={"clean_html": clean}, **options)
    return exporter.from_notebook_node(notebook)[0]


def clean(element: Any) -> str:
    """HTML with the tags that Markdown makes and no others: nbconvert's own list lacks paragraphs and headings."""
    text = element.decode() if isinstance(element, bytes) else str(element)
    return bleach.clean(text, bleach.ALLOWED_TAGS | TAGS, {"*": ["class"], "a": ["href", "title"]})


def write_page(path: Path, title: str, body: str) -> None:
    """A page of its own; formulas are drawn by the MathJax beside it."""
    style = "body{max-width:50em;margin:2em auto;padding:0 1em;font:16px/1.5 sans-serif}img{max-width:100%}"
    style += "pre{overflow:auto;background:#f5f5f5;padding:.5em}td,th{padding:.2em .8em;text-align:left}"
    tex = '<script>MathJax={tex:{inlineMath:[["$","$"]]},options:{enableMenu:false}}</script>'
    tex += f'<script defer src="{MATHJAX.name}"></script>'
    text = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    path.write_text(f"{text}<style>{style}</style>{tex}<h1>{html.escape(title)}</h1>{body}</html>", encoding="utf-8")


# --- what was handed in -------------------------------------------------------------------------------


class UngradableError(Exception):
    """A file cannot be graded; the message says why."""


@dataclass
class Marks:
    """The line of one file: points by exercise (None: to be graded by hand), and what the teacher should know."""

    student: str
    lab: str = ""
    points: dict[str, float | None] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    notebook: NotebookNode | None = None

    @property
    def total(self) -> float | None:
        """The points of all exercises that a program grades, None if the file could not be graded."""
        return sum(value for value in self.points.values() if value is not None) if self.points else None


def grade_id(cell: NotebookNode) -> str:
    """nbgrader's name of a cell, empty if it has none."""
    found = cell.metadata.get("nbgrader")
    return str(found.get("grade_id", "")) if isinstance(found, dict) else ""


def name_cell(cell: NotebookNode) -> str:
    """A cell's name, or else its first line, as a teacher can look for it."""
    return repr(grade_id(cell) or cell.source.strip().partition("\n")[0])


def read_submission(path: Path, sources: dict[str, NotebookNode]) -> tuple[NotebookNode, str]:
    """The notebook in a file, and the lab that it is of.

    Raises UngradableError if the file is no notebook, or one of no lab.
    """
    if path.suffix != ".ipynb":
        raise UngradableError("is no notebook: its name does not end in .ipynb.")
    if path.stat().st_size > LARGEST_FILE:
        raise UngradableError(f"is larger than {LARGEST_FILE // 10**6} MB: ask for it without its outputs.")
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(notebook, relax_add_props=True)
    except Exception as error:  # nbformat raises many kinds on what is no notebook
        raise UngradableError(f"is no notebook that can be read ({type(error).__name__}).") from error
    defined = set(re.findall(r"^def (\w+)", "\n".join(cell.source for cell in notebook.cells), re.MULTILINE))
    counts = Counter()
    for name, source in sources.items():
        wanted = {grade_id(cell) for cell in source.cells if is_solution(cell)}
        counts[name] = len(wanted & (defined | {grade_id(cell) for cell in notebook.cells}))
    lab, found = counts.most_common(1)[0]
    if not found:
        raise UngradableError("holds no exercise of any lab.")
    return notebook, lab


def assemble(source: NotebookNode, submission: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """What is executed: the source's given cells, the student's own cells, the source's tests; and remarks.

    The student's cells keep their order, whether they were moved or copied. Cells as they were handed out are left out;
    a stub stays if the function is not written elsewhere, which it would hide.
    """
    handed_out = make_student_copy(source).cells
    stubs = {grade_id(cell): cell.source for cell in handed_out}
    first = next(index for index, cell in enumerate(source.cells) if is_solution(cell))
    given = [cell for cell in source.cells[:first] if cell.cell_type == "code"]
    own, changed = [], []
    for cell in submission.cells:
        name, text = grade_id(cell), cell.source.strip()
        original = stubs.get(name, "").strip()
        locked = any(grade_id(other) == name and is_locked(other) for other in source.cells) if name else False
        if locked and text != original:
            changed.append(name)
        if not locked and text:
            own.append(cell)
    written = {cell.source.strip() for cell in own} - {cell.source.strip() for cell in handed_out}
    defined = set(re.findall(r"^def (\w+)", "\n".join(written), re.MULTILINE)) | {""}
    own = [cell for cell in own if cell.source.strip() in written or grade_id(cell) not in defined]
    remarks = [f"changed cells that were given, which were not used: {', '.join(changed)}"] if changed else []
    tests = [cell for cell in source.cells if is_grade(cell) and not is_solution(cell)]
    canaries = [nbformat.v4.new_code_cell(text, metadata={"canary": True}) for text in TAMPERED]
    for cell in own:
        cell.metadata = {"own": True, "nbgrader": {"grade_id": grade_id(cell)}}
    notebook = nbformat.v4.new_notebook(metadata=source.metadata)
    notebook.cells = [clear(cell) for cell in [*given, *own, *canaries, given[0], *tests]]
    return notebook, remarks


def clear(cell: NotebookNode) -> NotebookNode:
    """A copy of a cell, without outputs and identifier."""
    make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
    return make(cell.source, metadata=dict(cell.metadata))


# --- executing it -------------------------------------------------------------------------------------


class Execute(preprocessors.Execute):
    """nbgrader's executing, which also drops what a cell prints beyond a limit."""

    def process_message(self, message: dict, cell: NotebookNode, cell_index: int) -> Any:
        if message["msg_type"] == "stream":
            printed = sum(len(output.text) for output in cell.outputs if output.output_type == "stream")
            if printed > LARGEST_OUTPUT:
                return None
            message["content"]["text"] = message["content"]["text"][:LARGEST_OUTPUT]
        return super().process_message(message, cell, cell_index)


def execute(notebook: NotebookNode, folder: Path, cell_seconds: int = CELL_SECONDS) -> None:
    """Execute a notebook in place, in `folder`; a cell that fails or takes too long keeps its error."""
    runner = Execute(timeout=cell_seconds, startup_timeout=SUBMISSION_SECONDS, kernel_name="python3")
    runner.preprocess(notebook, {"metadata": {"path": str(folder)}})


def execute_file(path: Path) -> None:
    """What the process of a submission does: execute the notebook in a file, and write it or the reason beside it."""
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    notebook = nbformat.read(path, as_version=4)
    try:
        execute(notebook, path.parent)
    except DeadKernelError:
        cell = ([cell for cell in notebook.cells if cell.get("execution_count")] or notebook.cells)[-1]
        reason = f"ended Python or used too much memory, in or after the cell {name_cell(cell)}."
        path.with_name("reason.txt").write_text(reason, encoding="utf-8")
        return
    nbformat.write(notebook, path.with_name("executed.ipynb"))


def find_sandbox() -> list[str]:
    """The command that shuts a program in, empty if there is none that works here."""
    program = shutil.which("bwrap")
    command = [program, "--ro-bind", "/", "/", "--unshare-all", "--dev", "/dev", "--proc", "/proc", "--die-with-parent"]
    works = program and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if works else []


def run_apart(
    notebook: NotebookNode, sandbox: list[str], workplace: Path, hidden: list[Path], seconds: int
) -> NotebookNode:
    """Execute a notebook in a process and a folder of its own within `workplace`.

    In the sandbox, what else is in `workplace`, and all that is in the folders `hidden`, cannot be seen.
    Raises UngradableError if it does not come to an end.
    """
    with tempfile.TemporaryDirectory(dir=workplace) as name:
        folder = Path(name)
        path = folder / "submission.ipynb"
        nbformat.write(notebook, path)
        command = [sys.executable, "-m", "tools.labs", "--execute", str(path)]
        if sandbox:
            places = [part for place in (workplace, *hidden) if place.exists() for part in ("--tmpfs", str(place))]
            command = [*sandbox, *places, "--bind", name, name, *command]
        own = {"HOME": name, "IPYTHONDIR": name, "JUPYTER_RUNTIME_DIR": name, "TMPDIR": name, "MPLCONFIGDIR": name}
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **own},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise UngradableError(f"did not end within {seconds} s.") from None
        finally:
            if os.name == "posix":  # whatever the submission has started ends with it
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
        if (folder / "reason.txt").exists():
            raise UngradableError((folder / "reason.txt").read_text(encoding="utf-8"))
        if not (folder / "executed.ipynb").exists():
            raise UngradableError("ended the program that executes it.")
        return nbformat.read(folder / "executed.ipynb", as_version=4)


# --- marks --------------------------------------------------------------------------------------------


def read_marks(marks: Marks, executed: NotebookNode, source: NotebookNode) -> None:
    """Fill in points and messages from an executed notebook. Raises UngradableError if it disarmed the tests."""
    for cell in executed.cells:
        if cell.metadata.get("canary") and not any(output.output_type == "error" for output in cell.outputs):
            raise UngradableError("changes what the tests rely on (assert or NumPy): read it and grade it by hand.")
    by_name = {grade_id(cell): cell for cell in executed.cells if not cell.metadata.get("own")}
    for cell in source.cells:
        if not is_grade(cell):
            continue
        name = grade_id(cell).removeprefix("test_")
        marks.most[name] = float(cell.metadata.nbgrader.points)
        if is_solution(cell):
            marks.points[name] = None
            marks.messages[name] = "graded by hand"
            continue
        test = by_name[grade_id(cell)]
        test.outputs = [output for output in test.outputs if output.output_type == "error"]  # a warning costs no points
        marks.points[name], _ = determine_grade(test)
        marks.messages[name] = explain(test, name)
        if marks.messages[name] in NO_RESULT:
            marks.remarks.append(f"{name} {marks.messages[name]}")
    for cell in executed.cells:
        errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
        tried = errors and errors[0].ename == "NameError" and not grade_id(cell)  # uses a given cell that is not run
        if cell.metadata.get("own") and errors and not tried:
            what = "takes too long" if errors[0].ename in ("CellTimeoutError", "KeyboardInterrupt") else errors[0].ename
            marks.remarks.append(f"the cell {name_cell(cell)}: {what}")


def explain(cell: NotebookNode, name: str) -> str:
    """Why a test failed, empty if it did not."""
    error = next((output for output in cell.outputs if output.output_type == "error"), None)
    if error is None:
        return ""
    if error.ename == "NameError" and f"'{name}'" in error.evalue:
        return NO_RESULT[0]
    if error.ename == "NotImplementedError":
        return NO_RESULT[1]
    if error.ename in ("CellTimeoutError", "KeyboardInterrupt"):
        return NO_RESULT[2]
    return error.evalue if error.ename == "AssertionError" else f"stops with {error.ename}: {error.evalue}"


def grade_file(
    path: Path, folder: Path, workplace: Path, sources: dict, lab: str, sandbox: list[str], seconds: int
) -> Marks:
    """Grade one file; whatever is wrong with it stands in its marks."""
    marks = Marks(str(path.relative_to(folder).with_suffix("")))
    try:
        submission, marks.lab = read_submission(path, sources)
        if marks.lab != lab:
            raise UngradableError(f"is of the lab {marks.lab}, and {lab} was set.")
        notebook, marks.remarks = assemble(sources[lab], submission)
        executed = run_apart(notebook, sandbox, workplace, [folder, *WITH_ANSWERS], seconds)
        read_marks(marks, executed, sources[lab])
        marks.notebook = executed
    except UngradableError as error:
        marks.remarks = [f"not graded: {error}"]
        marks.points = {}
    return marks


def choose_lab(files: list[Path], sources: dict[str, NotebookNode], wish: str) -> str:
    """The lab that was set: the one that `wish` begins, else the one of most files. ValueError if there is none."""
    if wish:
        found = [name for name in sources if name.startswith(wish)]
        if len(found) != 1:
            raise ValueError(f"--lab {wish} names no lab: choose one of {', '.join(sources)}.")
        return found[0]
    counts = Counter()
    for path in files:
        try:
            counts[read_submission(path, sources)[1]] += 1
        except UngradableError:
            continue
    if not counts:
        raise ValueError("No file in the folder is a notebook of a lab.")
    return counts.most_common(1)[0][0]


def grade_folder(folder: Path, lab: str = "", seconds: int = SUBMISSION_SECONDS) -> list[Marks]:
    """Grade every file in a folder and its subfolders, two at a time; write marks.csv and feedback beside it.

    Raises ValueError if the folder or the lab is none, or if marks of an earlier run are there.
    """
    folder = folder.resolve()
    result = folder.with_name(f"{folder.name}-graded")
    if result.exists():  # it may hold points that were given by hand
        raise ValueError(f"{result} holds the marks of an earlier run: rename or remove it.")
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: name the one that holds what the class handed in.")
    parts = ((path, path.relative_to(folder).parts) for path in sorted(folder.rglob("*")))
    files = [path for path, names in parts if path.is_file() and not any(name.startswith(".") for name in names)]
    if not files:
        raise ValueError(f"{folder} holds no files.")
    sources, sandbox = read_sources(), find_sandbox()
    lab = choose_lab(files, sources, lab)
    print(f"{len(files)} files; the lab is {lab}.", flush=True)
    if not sandbox:
        print("Without bubblewrap (bwrap) the submissions can use the network and read other files.", flush=True)
    with tempfile.TemporaryDirectory(prefix="grading-") as name, ThreadPoolExecutor(2) as pool:
        place = Path(name).resolve()
        marks = list(pool.map(lambda path: grade_file(path, folder, place, sources, lab, sandbox, seconds), files))
    with tempfile.TemporaryDirectory(prefix=".graded-", dir=folder.parent) as unfinished:
        write_marks(marks, Path(unfinished) / "new")
        (Path(unfinished) / "new").rename(result)
    print(f"{sum(bool(m.points) for m in marks)} graded, {sum(not m.points for m in marks)} not: see {result}")
    return marks


def write_marks(marks: list[Marks], folder: Path) -> None:
    """marks.csv, a line per file, and a page of feedback for each."""
    (folder / "feedback").mkdir(parents=True)
    shutil.copy(MATHJAX, folder / "feedback")
    names = list(dict.fromkeys(name for mark in marks for name in mark.most))
    with (folder / "marks.csv").open("w", newline="", encoding="utf-8-sig") as file:  # spreadsheets know UTF-8 by it
        writer = csv.writer(file)
        writer.writerow(["student", "lab", "points", "of", *names, "remarks"])
        for mark in marks:
            total = "" if mark.total is None else f"{mark.total:g}"
            cells = ["" if mark.points.get(name) is None else f"{mark.points[name]:g}" for name in names]
            row = [mark.student, mark.lab, total, f"{sum(mark.most.values()):g}" if mark.points else ""]
            writer.writerow([as_text(cell) for cell in (*row, *cells, "; ".join(mark.remarks))])
    for number, mark in enumerate(marks, 1):  # with the number, no two pages have one name
        page = f"{number:02d}_" + re.sub(r"[^\w.-]+", "_", mark.student)
        write_page(folder / "feedback" / f"{page}.html", f"{mark.student}: {mark.lab}", describe(mark))


def as_text(cell: str) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell


def describe(mark: Marks) -> str:
    """Points and messages as a table, remarks, then the student's own cells with their outputs."""
    others = [remark for remark in mark.remarks if remark.partition(" ")[0] not in mark.points]  # not in the table
    lines = [f"<p>{html.escape(remark)}</p>" for remark in others]
    if mark.points:
        rows = []
        for name, value in mark.points.items():
            points = f"{'?' if value is None else f'{value:g}'} of {mark.most[name]:g}"
            rows.append(f"<tr><td>{name}<td>{points}<td>{html.escape(mark.messages[name])}</tr>")
        rows.append(f"<tr><th>together<th>{mark.total:g} of {sum(mark.most.values()):g}<th></tr>")
        lines.insert(0, f"<table><tr><th>exercise<th>points<th></tr>{''.join(rows)}</table>")
    if mark.notebook:
        own = nbformat.v4.new_notebook(cells=[cell for cell in mark.notebook.cells if cell.metadata.get("own")])
        limit = preprocessors.LimitOutput(max_lines=100, max_traceback=20)
        lines.append(to_html(limit.preprocess(own, {})[0]))
    return "\n".join(lines)


def main() -> int:
    """The command line of `python3 run.py labs`."""
    parser = argparse.ArgumentParser(prog="run.py labs", description=__doc__.splitlines()[0])
    parser.add_argument("--grade", metavar="FOLDER", type=Path, help="grade every file in this folder")
    parser.add_argument("--lab", default="", help="the lab that was set, for example 03; else that of most files")
    parser.add_argument("--seconds", type=int, default=SUBMISSION_SECONDS, help="time limit of one submission")
    parser.add_argument("--execute", metavar="FILE", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.execute:
        execute_file(options.execute)
    elif options.grade:
        try:
            grade_folder(options.grade, options.lab, options.seconds)
        except ValueError as error:
            parser.error(str(error))
    else:
        write_checks()
        write_student_copies()
        guide = SOURCES / "README.md"
        guide.write_text(renew_table(guide.read_text(encoding="utf-8")), encoding="utf-8")
        write_answer_keys()
        slides.write_decks(sorted((ROOT / "notebooks").glob("*.ipynb")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
