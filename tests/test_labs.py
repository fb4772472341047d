"""The labs: copies fresh, answers graded and recognised as they should be, and a class's submissions marked."""

import csv
import importlib
import re
import sys
import time

import nbformat
import numpy as np
import pytest
from nbgrader.utils import is_grade, is_solution

from labs import references
from tools import labs
from vae_utils import checks

SOURCES = labs.read_sources()
CHECKS = checks.read_exercises()
ANSWERS = {name: importlib.import_module(f"lab_answers.lab_{name[:2]}") for name in SOURCES}
RIGHT = {name: functions for answers in ANSWERS.values() for name, functions in answers.RIGHT.items()}
WRONG = {name: functions for answers in ANSWERS.values() for name, functions in answers.WRONG.items()}
PART = re.compile(r"^## .+ \((\d+) minutes, (?:(\d+) points?|[^)]+)\)$", re.MULTILINE)


def graded(source):
    """The graded code cells of a lab by the name of what they test."""
    cells = [cell for cell in source.cells if is_grade(cell) and not is_solution(cell)]
    return {labs.grade_id(cell).removeprefix("test_"): cell for cell in cells}


def lab_of(exercise):
    return next(name for name, source in SOURCES.items() if exercise in graded(source))


@pytest.fixture(scope="module")
def solved():
    """What the given cells before the first exercise and the solutions of a lab define, by lab; made once each."""
    spaces = {}

    def solve(lab):
        if lab not in spaces:
            cells = SOURCES[lab].cells
            first = next(index for index, cell in enumerate(cells) if is_solution(cell))
            code = [cell for index, cell in enumerate(cells) if index < first or is_solution(cell)]
            spaces[lab] = {}
            for cell in code:
                if cell.cell_type == "code":
                    exec(cell.source, spaces[lab])
        return dict(spaces[lab])

    return solve


def test_there_is_a_lab_for_every_notebook_with_a_page_for_the_teacher():
    notebooks = {path.stem for path in (labs.ROOT / "notebooks").glob("*.ipynb")}
    assert set(SOURCES) == notebooks == {path.stem for path in labs.SOURCES.glob("*.md")} - {"README", "hub"}
    for name in notebooks:
        text = (labs.ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        assert f"(labs/{name}.ipynb)" in text, "the notebook does not lead to its lab"


def test_the_guides_table_is_fresh():
    text = (labs.SOURCES / "README.md").read_text(encoding="utf-8")
    assert text.count("](0") == len(SOURCES) and labs.renew_table(text) == text, "stale: python3 run.py labs"


@pytest.mark.parametrize("name", SOURCES)
def test_the_students_copy_is_fresh_and_holds_no_answer(name):
    committed = nbformat.read(labs.COPIES / f"{name}.ipynb", as_version=4)
    assert committed == labs.make_student_copy(SOURCES[name]), "stale: python3 run.py labs"
    text = "\n".join(cell.source for cell in committed.cells if "def broken_" not in cell.source)
    assert "SOLUTION" not in text and "HIDDEN" not in text
    assert not any(cell.get("outputs") for cell in committed.cells)
    for cell in SOURCES[name].cells:
        if is_solution(cell) and cell.cell_type == "code":
            body = re.search(r"### BEGIN SOLUTION\n(.*?)\s*### END SOLUTION", cell.source, re.DOTALL).group(1)
            for line in (line.strip() for line in body.splitlines()):
                assert len(line) < 30 or line not in text, f"the copy holds the answer's line {line!r}"


@pytest.mark.parametrize("name", SOURCES)
def test_minutes_and_points_add_up(name):
    text = "\n".join(cell.source for cell in SOURCES[name].cells)
    parts = [(int(minutes), int(points or 0)) for minutes, points in PART.findall(text)]
    assert 3 <= len(re.findall(r"^## Exercise", text, re.MULTILINE)) <= 7
    minutes, points = (sum(column) for column in zip(*parts, strict=True))
    assert points == sum(cell.metadata.nbgrader.points for cell in SOURCES[name].cells if is_grade(cell))
    stated = [int(number) for number in re.findall(r"\d+", SOURCES[name].cells[0].source.partition("ime:")[2])]
    assert stated[0] - 5 <= minutes <= stated[0] and points in stated  # up to five minutes to read
    long = name[:2] in ("02", "03", "04", "08", "09")
    assert (60 if long else 25) <= minutes <= (75 if long else 40)


@pytest.mark.parametrize("name", SOURCES)
def test_run_all_goes_on_past_an_exercise_and_settings_can_be_set(name):
    cells = nbformat.read(labs.COPIES / f"{name}.ipynb", as_version=4).cells
    first = next(index for index, cell in enumerate(cells) if is_solution(cell))
    for cell in cells[first:]:
        if cell.cell_type == "code" and not is_grade(cell) and not is_solution(cell):
            assert "raises-exception" in cell.metadata.tags, cell.source
    for setting in re.findall(r"set `([A-Z_]+)`", "\n".join(cell.source for cell in cells)):
        cell = next(cell for cell in cells if re.search(f"^{setting} =", cell.source, re.MULTILINE))
        assert cell.metadata.get("editable", True), f"JupyterLab does not let a student set {setting}"


def test_every_exercise_is_checked_and_graded():
    functions = [name for source in SOURCES.values() for name in graded(source)]
    assert sorted(functions) == sorted(CHECKS) == sorted(RIGHT) == sorted(WRONG)
    for name in functions:
        cells = [cell.source for cell in SOURCES[lab_of(name)].cells]
        assert f"checks.{name}({name})" in cells


@pytest.mark.parametrize("lab", SOURCES)
def test_the_solution_gets_all_points_and_the_stub_none(lab, solved):
    space = solved(lab)
    stubs = {labs.grade_id(cell): cell.source for cell in labs.make_student_copy(SOURCES[lab]).cells}
    for name, cell in graded(SOURCES[lab]).items():
        exec(cell.source, space)
        without = space.copy()
        exec(stubs[name], without)
        assert "not written" in checks.find_problem(name, without[name])
        with pytest.raises(NotImplementedError):
            exec(cell.source, without)


@pytest.mark.parametrize("name", CHECKS)
def test_right_answers_written_differently_pass(name, solved):
    assert len(RIGHT[name]) >= 2
    space = solved(lab_of(name))
    for answer in [space[name], *RIGHT[name]]:
        assert checks.find_problem(name, answer) == ""
        exec(graded(SOURCES[lab_of(name)])[name].source, {**space, name: answer})


@pytest.mark.parametrize("name", CHECKS)
def test_usual_mistakes_fail_and_are_named(name, solved):
    assert len(WRONG[name]) >= 3
    space = solved(lab_of(name))
    for sentence, answer in WRONG[name]:
        assert sentence in checks.find_problem(name, answer)
        with pytest.raises(Exception):  # noqa: B017  whatever stops the test keeps the points back
            exec(graded(SOURCES[lab_of(name)])[name].source, {**space, name: answer})


@pytest.mark.parametrize("name", ["gaussian_kl", "reconstruction_term", "find_active"])
def test_a_check_prints_one_line_and_never_the_value(name, capsys):
    right = np.concatenate([np.ravel(part) for case in checks.read_exercises()[name].right for part in case])
    getattr(checks, name)(lambda *given: 0.37 * np.arange(5))
    printed = capsys.readouterr().out
    assert printed.startswith(f"{name}: ") and printed.count("\n") == 1 and "correct" not in printed
    assert not any(f"{value:.3g}" in printed for value in right if f"{value:.3g}" not in ("0", "1"))


def test_the_checks_are_those_of_the_references():
    fresh, stored = references.collect(), checks.read_exercises()
    assert fresh.keys() == stored.keys()
    for name, exercise in fresh.items():
        assert exercise.mistakes.keys() == stored[name].mistakes.keys()
        results = [(exercise.right, stored[name].right)]
        results += [(exercise.mistakes[s], stored[name].mistakes[s]) for s in exercise.mistakes]
        for ours, theirs in results:
            assert all(checks.agree(a, b, exercise.tolerance) for a, b in zip(ours, theirs, strict=True)), name


# --- grading ------------------------------------------------------------------------------------------

LAB = "03_from_autoencoder_to_vae"


def solve(copy, source=None):
    """The student's copy with the answers of the source in it."""
    answers = {labs.grade_id(cell): cell.source for cell in (source or SOURCES[LAB]).cells if is_solution(cell)}
    for cell in copy.cells:
        cell.source = answers.get(labs.grade_id(cell), cell.source)
    return copy


def find(notebook, name):
    return next(cell for cell in notebook.cells if labs.grade_id(cell) == name)


@pytest.fixture(scope="module")
def graded_class(tmp_path_factory):
    """A small class, good and broken, and its lines in marks.csv by student."""
    folder = tmp_path_factory.mktemp("class") / "monday"
    folder.mkdir()

    def hand_in(name, change, lab=LAB):
        notebook = solve(labs.make_student_copy(SOURCES[lab]), SOURCES[lab])
        change(notebook)
        nbformat.write(notebook, folder / name)

    def put(notebook, source):
        find(notebook, "gaussian_kl").source = source

    def disorder(notebook):
        """All right, in reverse order, with warnings, a try that needs a given cell, and one that prints megabytes."""
        find(notebook, "gaussian_kl").source += "\n    import warnings\n    warnings.warn('late')"
        find(notebook, "gaussian_kl").source = find(notebook, "gaussian_kl").source.replace("return ", "result = ")
        find(notebook, "gaussian_kl").source += "\n    return result"
        notebook.cells.reverse()
        notebook.cells.append(nbformat.v4.new_code_cell("print(log_w.mean())"))
        notebook.cells.append(nbformat.v4.new_code_cell("print('x' * 5_000_000)"))

    def copy_cell(notebook):
        """The answer in a new cell at the end, the stub left as it was."""
        answer = find(notebook, "gaussian_kl").source
        put(notebook, find(labs.make_student_copy(SOURCES[LAB]), "gaussian_kl").source)
        notebook.cells.append(nbformat.v4.new_code_cell(answer))

    def edit_test(notebook):
        """One exercise deleted, another wrong with its test changed, a third as it was handed out."""
        notebook.cells.remove(find(notebook, "draw_z"))
        find(notebook, "test_gaussian_kl").source = "assert True"
        put(notebook, "def gaussian_kl(z_mean, z_log_var):\n    return 0 * z_mean[:, 0]")
        stub = find(labs.make_student_copy(SOURCES[LAB]), "reconstruction_term").source
        find(notebook, "reconstruction_term").source = stub

    hand_in("Ada right.ipynb", disorder)
    hand_in("copied.ipynb", copy_cell)
    hand_in("loop.ipynb", lambda notebook: put(notebook, "def gaussian_kl(z_mean, z_log_var):\n    while True: pass"))
    hand_in("crash.ipynb", lambda notebook: put(notebook, "import os\nos._exit(1)"))
    hand_in("tests off.ipynb", lambda notebook: put(notebook, "import numpy as np\nnp.allclose = lambda *a, **k: True"))
    hand_in("own test.ipynb", edit_test)
    hand_in("other lab.ipynb", lambda notebook: None, next(name for name in SOURCES if name != LAB))
    (folder / "notes.pdf").write_bytes(b"%PDF")
    (folder / "torn.ipynb").write_text('{"cells": [')
    started = time.perf_counter()
    marks = labs.grade_folder(folder, "03")
    print(f"{len(marks)} files in {time.perf_counter() - started:.0f} s")
    result = folder.with_name("monday-graded")
    with (result / "marks.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}, result


@pytest.mark.slow
def test_a_folder_of_submissions_is_graded(graded_class, monkeypatch):
    rows, result = graded_class
    total = sum(cell.metadata.nbgrader.points for cell in graded(SOURCES[LAB]).values())
    assert len(rows) == 9 == len(list((result / "feedback").glob("*.html")))
    for name in ("Ada right", "copied"):
        assert float(rows[name]["points"]) == total == float(rows[name]["of"]), name
        assert rows[name]["remarks"] == "", name
    for name, reason in {
        "loop": "",
        "own test": "changed cells that were given",
    }.items():
        assert 0 < float(rows[name]["points"]) < total and rows[name]["gaussian_kl"] == "0", name
        assert reason in rows[name]["remarks"]
    assert "draw_z is not in the notebook" in rows["own test"]["remarks"]
    for name, reason in {
        "crash": "ended Python",
        "tests off": "changes what the tests rely on",
        "other lab": "was set",
        "notes": "is no notebook",
        "torn": "is no notebook",
    }.items():
        assert rows[name]["points"] == "" and f"not graded: {reason}"[:12] in rows[name]["remarks"], name
        assert reason in rows[name]["remarks"]


@pytest.mark.slow
def test_the_feedback_says_why_and_shows_no_hidden_test(graded_class):
    _, result = graded_class
    pages = {
        path.stem.partition("_")[2]: path.read_text(encoding="utf-8") for path in (result / "feedback").glob("*.html")
    }
    assert "takes too long" in pages["loop"] and "not written" in pages["own_test"]
    hidden = re.search(r"### BEGIN HIDDEN TESTS\n(.*?)### END", graded(SOURCES[LAB])["gaussian_kl"].source, re.DOTALL)
    for page in pages.values():
        assert "HIDDEN" not in page and hidden.group(1).splitlines()[0].strip() not in page
        assert len(page) < 300_000


def test_pages_show_what_markdown_makes_and_run_no_script():
    hint = "<details><summary>Hint</summary></details>"
    text = f"## Title\n\nText <script>alert(1)</script><img src=x onerror=alert(1)>\n\n{hint}"
    page = labs.to_html(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]))
    assert "<h2>Title</h2>" in page and "<p>Text" in page and hint in page
    assert "<script" not in page and "<img" not in page


def test_a_submission_sees_neither_the_network_nor_other_files(tmp_path):
    sandbox = labs.find_sandbox()
    if not sandbox:
        pytest.skip("bubblewrap does not work here")
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "other.ipynb").write_text("another student's")
    code = f"""
        import socket, pathlib
        def reached(action):
            try:
                action()
                return "reached"
            except OSError:
                return "refused"
        print("network", [name for _, name in socket.if_nameindex()])
        print("other", reached(lambda: pathlib.Path({str(tmp_path / "class" / "other.ipynb")!r}).read_text()))
        print("sources", sorted(pathlib.Path({str(labs.SOURCES)!r}).iterdir()))
        print("course", reached(lambda: pathlib.Path({str(labs.ROOT / "touched")!r}).write_text("")))
        """
    code = "\n".join(line[8:] for line in code.splitlines())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    (tmp_path / "work").mkdir()
    executed = labs.run_apart(notebook, sandbox, tmp_path / "work", [tmp_path / "class", *labs.WITH_ANSWERS], 60)
    text = executed.cells[0].outputs[0].text.splitlines()
    assert text == ["network ['lo']", "other refused", "sources []", "course refused"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--grade", "nowhere"], "is no folder"),
        (["--grade", "{empty}"], "holds no files"),
        (["--grade", "{full}", "--lab", "77"], "names no lab"),
        (["--grade", "{full}"], "No file in the folder"),
        (["--grade", "{graded}"], "holds the marks of an earlier run"),
    ],
)
def test_a_wrong_command_gets_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("full", "graded", "graded-graded"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "notes.txt").write_text("no notebook")
    places = {name: str(tmp_path / name) for name in ("empty", "full", "graded")}
    monkeypatch.setattr(sys, "argv", ["labs", *(argument.format(**places) for argument in arguments)])
    with pytest.raises(SystemExit):
        labs.main()
    assert sentence in capsys.readouterr().err
