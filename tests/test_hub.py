"""The class server: accounts, folders, and a real hub in which three students train at once and a fourth is refused."""

import importlib.util
import json
import os
import re
import stat
import sys
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
import requests

from tools import hub

ROOT = hub.ROOT
NOTEBOOK = "04_convolutional_vae.ipynb"


# --- accounts and folders ----------------------------------------------------------------------------


def test_only_the_right_password_is_right(tmp_path):
    password = hub.add_account(tmp_path, "anna")
    other = hub.add_account(tmp_path, "ben")
    assert re.fullmatch(r"(\w{4}-){2}\w{4}", password) and password != other
    assert hub.is_right(tmp_path, "anna", password)
    for name, wrong in (("anna", other), ("anna", ""), ("anna", password.upper()), ("cem", password), ("", "")):
        assert not hub.is_right(tmp_path, name, wrong)


def test_a_new_password_replaces_the_old_one(tmp_path):
    old, new = hub.add_account(tmp_path, "anna"), hub.add_account(tmp_path, "anna")
    assert hub.is_right(tmp_path, "anna", new) and not hub.is_right(tmp_path, "anna", old)


def test_the_file_holds_salted_hashes_and_only_its_owner_reads_it(tmp_path):
    folder = tmp_path / "class"
    password = hub.add_account(folder, "anna")
    path = folder / "accounts.json"
    text = path.read_text()
    assert password not in text and password.replace("-", "") not in text
    salt, digest = json.loads(text)["anna"]
    assert len(salt) == 32 and len(digest) == 128
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../ben", "Anna", "a b", "", "a" * 33, "-r", "jürgen"])
def test_a_name_that_is_no_folder_is_refused(name, tmp_path, capsys):
    assert hub.main([f"--folder={tmp_path}", "--add", "anna", name] if name != "-r" else ["--add=-r"]) == 1
    assert "cannot be a name" in capsys.readouterr().err


def test_passwords_are_printed_by_name(tmp_path, capsys):
    assert hub.main(["--folder", str(tmp_path), "--add", "anna", "ben"]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert list(printed) == ["anna", "ben"] and hub.is_right(tmp_path, "ben", printed["ben"])


def test_a_student_keeps_what_was_changed(tmp_path):
    for start in range(2):  # of the hub, and of the student's server
        hub.lay_out_course(tmp_path)
        hub.lay_out_home(tmp_path / "students" / "anna")
        home = tmp_path / "students" / "anna"
        own, given = home / "notebooks" / NOTEBOOK, home / "course" / "notebooks" / NOTEBOOK
        assert given.read_bytes() == (ROOT / "notebooks" / NOTEBOOK).read_bytes()
        assert own.read_bytes() == (b"changed" if start else given.read_bytes())
        own.write_bytes(b"changed")
        assert (own.parent / "../Images/L2_E30").exists()  # the notebook shows a picture in it
        assert not stat.S_IMODE(given.stat().st_mode) & 0o222 and not stat.S_IMODE(given.parent.stat().st_mode) & 0o222


# --- what it refuses ---------------------------------------------------------------------------------


@pytest.fixture
def ready(monkeypatch):
    """A machine that has all that the hub needs."""
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(hub.shutil, "which", lambda name: str(name))
    monkeypatch.setattr(hub.os, "execve", lambda *arguments: pytest.fail("started"))


@pytest.mark.skipif(os.name == "nt", reason="JupyterHub does not run on Windows")
@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("accounts", "There are no accounts: make some with `python3 run.py hub --add"),
        ("proxy", "install Node.js, then run `npm install --prefix build/proxy configurable-http-proxy`"),
        ("jupyterhub", "JupyterHub is missing"),
        ("port", "is taken by another program"),
    ],
)
def test_what_is_missing_gets_one_sentence(missing, sentence, ready, monkeypatch, tmp_path, capsys):
    if missing == "proxy":
        monkeypatch.setattr(hub.shutil, "which", lambda name: None)
    if missing == "jupyterhub":
        monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    if missing == "port":
        monkeypatch.setattr(hub.run, "port_is_free", lambda port: False)
    if missing != "accounts":
        hub.add_account(tmp_path, "anna")
    assert hub.main([f"--folder={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="JupyterHub does not run on Windows")
@pytest.mark.parametrize(("options", "address"), [([], "127.0.0.1"), (["--public"], "0.0.0.0")])
def test_the_network_gets_in_only_on_request(options, address, ready, monkeypatch, tmp_path, capsys):
    started = []
    monkeypatch.setattr(hub.os, "execve", lambda program, arguments, environment: started.extend(arguments))
    monkeypatch.setattr(hub.os, "chdir", lambda folder: None)
    hub.add_account(tmp_path, "anna")
    assert hub.main([f"--folder={tmp_path}", "--port=8123", *options, "--Spawner.mem_limit=2G"]) == 0
    assert f"--JupyterHub.bind_url=http://{address}:8123" in started and "--Spawner.mem_limit=2G" in started
    assert ("passwords cross it" in capsys.readouterr().out) == (options == ["--public"])


# --- a real hub --------------------------------------------------------------------------------------

STUDENTS = ("anna", "ben", "cem")
IS_REFUSED = """\
from pathlib import Path
for path in (Path("../course/notebooks/{notebook}"), Path("../course/own.txt")):
    try:
        path.write_text("mine")
        print("written")
    except PermissionError:
        print("refused")"""
TAKE_TOO_MUCH = """\
try:
    bytearray(8 * 2**30)
    print("got it")
except MemoryError:
    print("refused")"""


@pytest.fixture(scope="module")
def needed():
    """Skips where JupyterHub or its proxy is missing; .ci/run installs both and says that they are needed."""
    missing = "" if importlib.util.find_spec("jupyterhub") else "JupyterHub is not installed (extra `hub`)"
    try:
        hub.find_proxy()
    except hub.HubError as error:
        missing = missing or str(error)
    assert not (missing and os.environ.get("REQUIRE_HUB")), missing
    if missing:
        pytest.skip(missing)


def open_and_train(student, password):
    """Log in, open notebook 04 and run it, without figures, up to the training: one epoch on some of the digits."""
    student.log_in(password)
    student.start_server()
    notebook = nbformat.from_dict(student.call("GET", f"contents/notebooks/{NOTEBOOK}").json()["content"])
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    training = next(index for index, cell in enumerate(cells) if "log = train(" in cell)
    for cell in cells[:training]:
        if "plots." not in cell:
            student.run(cell)
    student.run("EPOCHS, x_train, x_validation = 1, x_train[:5_120], x_validation[:1_000]")
    return student.run(cells[training])


@pytest.mark.slow
def test_three_students_train_at_once_and_a_fourth_is_refused(needed):
    with hub.serve_class(*STUDENTS, "dora") as (process, address, passwords):
        check_class(process, address, passwords)


def check_class(process, address, passwords):
    students = [hub.Student(address, name) for name in STUDENTS]
    with ThreadPoolExecutor(len(students)) as threads:
        printed = list(threads.map(lambda student: open_and_train(student, passwords[student.name]), students))
    assert all(re.search(r"after 1 epochs +\d+ = \d+ reconstruction", text) for text in printed)
    check_separation(students, address, passwords)
    check_limits(students[0])
    check_that_nothing_listens_beyond_this_machine(process)
    memory = hub.measure_memory(process)
    assert set(memory) == {"", *STUDENTS}  # dora has started nothing
    assert all(300 < memory[name] < 4000 for name in STUDENTS)


def check_separation(students, address, passwords):
    """Nobody without a password, and no student with the address of another's folder, sees anything in it."""
    anna = students[0]
    assert len({student.run("import os; print(os.path.realpath('..'))") for student in students}) == len(students)
    anna.run("open('secret.txt', 'w').write('only for me')")
    files = ("lab", "api/contents/notebooks/secret.txt", "files/notebooks/secret.txt")
    paths = [f"/user/anna/{path}" for path in files]
    assert "only for me" in anna.session.get(address + paths[1]).text  # so that the others' refusal tells something
    stranger, wrong, dora = requests.Session(), hub.Student(address, "anna"), hub.Student(address, "dora")
    assert wrong.log_in(passwords["dora"]).status_code == 403
    assert dora.log_in(passwords["dora"]).url.endswith("/hub/home")
    form = {"username": "anna", "password": passwords["anna"]}
    assert stranger.post(f"{address}/hub/login", data=form).status_code == 403  # no XSRF token
    for session in (stranger, wrong.session, dora.session):
        for path in paths:
            reply = session.get(address + path)
            assert reply.status_code in (403, 404) or reply.url.startswith(f"{address}/hub/login")
            assert "only for me" not in reply.text
    for path in (*paths, "/hub/spawn/anna", "/hub/api/users/anna"):
        assert dora.session.get(address + path).status_code in (403, 404)
    assert anna.session.post(f"{anna.server}/api/kernels", json={}).status_code == 403  # no XSRF token


def check_limits(student):
    """The course is read-only for pages and kernels; a kernel gets no more memory than its limit."""
    path = f"contents/course/notebooks/{NOTEBOOK}"
    assert student.call("GET", path).json()["writable"] is False
    assert student.call("PUT", path, {"type": "file", "format": "text", "content": "mine"}).status_code == 403
    assert student.run(IS_REFUSED.format(notebook=NOTEBOOK)).split() == ["refused", "refused"]
    assert student.call("PUT", "contents/notebooks/own.txt", {"type": "file", "format": "text", "content": "mine"}).ok
    if sys.platform == "linux":
        assert student.run(TAKE_TOO_MUCH) == "refused\n"


def check_that_nothing_listens_beyond_this_machine(process):
    processes = [process, *process.children(recursive=True)]
    sockets = [socket for one in processes for socket in one.net_connections() if socket.status == "LISTEN"]
    assert len(sockets) > 6  # the hub, its proxy, the students' servers and kernels
    assert {socket.laddr.ip for socket in sockets} <= {"127.0.0.1", "::1"}


@pytest.mark.slow
def test_an_idle_kernel_ends_though_its_page_is_open(needed):
    with hub.serve_class("anna", options=("--StudentSpawner.idle_seconds=3",)) as (_, address, passwords):
        anna = hub.Student(address, "anna")
        anna.log_in(passwords["anna"])
        anna.start_server()
        anna.run("import time; time.sleep(6)")  # a kernel that computes is not idle
        assert len(anna.call("GET", "kernels").json()) == 1
        hub.wait_until(lambda: not anna.call("GET", "kernels").json(), 60)


@pytest.mark.ledger
def test_the_record_fits_its_own_sum():
    record = json.loads(hub.RECORD_PATH.read_text(encoding="utf-8"))
    for name in ("exploring", "training"):
        total = (record["hub_megabytes"] + hub.CLASS_SIZE * record[f"{name}_megabytes"]) / 1000
        assert record[f"class_of_{hub.CLASS_SIZE}_{name}_gigabytes"] == pytest.approx(total, abs=0.1)
    page = (ROOT / "labs" / "hub.md").read_text(encoding="utf-8")
    assert all(str(value) in page for value in record.values()), "the guide is stale: labs/hub.md"
    assert record["students"] >= 3 and 300 < record["exploring_megabytes"] < record["training_megabytes"]
