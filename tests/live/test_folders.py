"""Run folders: names, the newest run, who runs it, commands, the file KILL, the heartbeat."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from research.errors import UserError
from research.live import folders, journal, session

ROOT = Path(__file__).resolve().parent.parent.parent
NOW = 1_795_212_900_000_000


@pytest.fixture(autouse=True)
def _data(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))


@pytest.fixture
def run():
    return folders.create("demo", NOW, {"mode": "paper"})


# -- names --------------------------------------------------------------------------------------


def test_a_run_is_named_by_time_study_and_chance(run):
    stem, _, digits = run.name.rpartition("_")
    assert stem == "2026-11-20_2215_demo" and len(digits) == 4 and int(digits, 16) >= 0
    assert folders.facts(run) == {"run": run.name, "created": NOW, "mode": "paper"}
    assert (run / "commands").is_dir()


def test_the_same_draw_is_drawn_again(monkeypatch, run):
    draws = iter([run.name[-4:], "beef"])
    monkeypatch.setattr(folders.secrets, "token_hex", lambda _: next(draws))
    assert folders.create("demo", NOW, {}).name.endswith("_beef")


def test_the_newest_run_is_found(run):
    assert folders.find() == folders.find("latest") == folders.find(run.name) == run
    later = folders.create("demo", NOW + 60_000_000, {})
    same_minute = folders.create("alpha", NOW + 61_000_000, {})
    os.utime(later / "run.json", ns=(1, 1))
    assert folders.runs() == [run.name, later.name, same_minute.name]
    assert folders.find() == same_minute
    (folders.root() / "zzz_not_a_run").mkdir()
    assert folders.find() == same_minute


@pytest.mark.parametrize("typed", [lambda name: name[:-1] + "x", lambda name: name[-4:-1] + "x"])
def test_a_run_that_is_not_there_names_the_nearest(run, typed):
    with pytest.raises(UserError, match=f"Did you mean '{run.name}'") as caught:
        folders.find(typed(run.name))
    assert "\n" not in str(caught.value)


def test_a_part_that_fits_one_run_alone_names_it(run):
    later = folders.create("alpha", NOW + 60_000_000, {})
    assert folders.find("demo") == folders.find(run.name[-4:]) == run
    assert folders.find("_2216_") == later
    with pytest.raises(UserError, match=f"Choose one of: {later.name}, {run.name}[.]") as caught:
        folders.find("2026-11-20")
    assert "\n" not in str(caught.value)


def killed_in_preparation(study, *, journal=False):
    """Make the folder that a process leaves which ends before the run's first event."""
    code = "import sys; from research.live import folders, journal\n"
    code += f"made = folders.create({study!r}, {NOW}, {{}})\n"
    code += "journal.Journal.open(made) if sys.argv[1:] else None\n"
    code += "print(made, flush=True); import os; os._exit(1)"
    words = [sys.executable, "-c", code, *(["journal"] if journal else [])]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return Path(said.stdout.strip())


@pytest.mark.parametrize("journal", [False, True], ids=["no journal", "empty journal"])
def test_a_run_that_was_killed_before_it_began_is_none(run, journal):
    left = killed_in_preparation("later", journal=journal)
    assert (left / "run.json").exists() and (left / "journal.sqlite").exists() == journal
    assert folders.runs() == [run.name] and folders.find() == run
    with pytest.raises(UserError, match="was stopped before it began"):
        folders.find(left.name)
    new = folders.create("demo", NOW, {})
    assert not left.exists() and folders.runs() == [run.name, new.name]


def test_a_run_that_another_process_prepares_is_a_run_and_its_own(run):
    """It is there for who asks how it is or kills it; it cannot be gone on with beside it."""
    code = "import sys, time; from research.live import folders\n"
    code += f"print(folders.create('later', {NOW + 60_000_000}, {{}}), flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    made = Path(child.stdout.readline().decode().strip())
    assert folders.find() == made and folders.runner(made) == child.pid
    with pytest.raises(BlockingIOError, match=rf"already running \(process {child.pid}\)"):
        session.run("", {}, resume=made.name)
    child.kill()
    child.communicate()
    assert folders.find() == run


def test_who_looks_while_a_process_is_named_finds_it(run):
    done = threading.Event()

    def names():
        while not done.is_set():
            folders.runs_it(run, os.getpid())
            folders.hold(run).close()

    naming = threading.Thread(target=names)
    naming.start()
    try:
        assert all(folders.runner(run) == os.getpid() for _ in range(3000))
    finally:
        done.set()
        naming.join()


def test_a_run_that_has_begun_stays_whatever_became_of_its_journal(run):
    with journal.Journal.open(run) as written:
        written.append(("start", {"time": NOW}))
    (run / "journal.lock").unlink()
    assert folders.runs() == [run.name]
    (run / "journal.sqlite").write_bytes(b"torn")
    folders.create("demo", NOW, {})
    assert run.name in folders.runs()
    head = (run / "journal.head").read_bytes()
    (run / "journal.head").unlink()
    assert run.name in folders.runs()
    (run / "journal.sqlite").unlink()
    (run / "journal.head").write_bytes(head)  # its database is lost, and it had begun
    assert run.name in folders.runs()


def test_without_a_run_the_message_says_how_to_start_one():
    with pytest.raises(UserError, match=r"\./run live"):
        folders.find()


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_facts_that_cannot_be_read_are_a_mistake(run, content):
    (run / "run.json").unlink() if content is None else (run / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=r"run\.json cannot be read"):
        folders.facts(run)


def test_a_time_that_was_asked_for_is_remembered(run):
    assert folders.remaining(run, 1_000, None) is None
    assert folders.remaining(run, 1_000, 500) == 500
    assert folders.remaining(run, 1_200, None) == 300
    assert folders.remaining(run, 1_500, None) is None  # traded: what comes now has no bound
    assert folders.remaining(run, 1_500, 100) == 100
    assert folders.facts(run) == {"run": run.name, "created": NOW, "mode": "paper", "until": 1_600}


# -- who runs it --------------------------------------------------------------------------------


def test_a_run_has_a_runner_for_as_long_as_it_lives(run):
    assert folders.runner(run) == os.getpid()  # who makes a folder is about to run it
    code = "import sys, time; from pathlib import Path; from research.live import folders\n"
    code += "held = folders.hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(run)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"held\n"
    assert folders.runner(run) == child.pid
    child.kill()
    child.communicate()
    assert folders.runner(run) is None
    folders.hold(run).close()


def test_a_number_used_again_is_not_the_runner(run):
    folders.hold(run).close()
    path = run / "journal.lock"
    owner = json.loads(path.read_text())
    assert folders.runner(run) == os.getpid()
    for change in ({"born": "1"}, {"boot": "another"}, {"pid": 2**22 + 1}):
        path.write_text(json.dumps({**owner, **change}))
        assert folders.runner(run) is None
    path.write_text("rubbish")
    assert folders.runner(run) is None


# -- commands -----------------------------------------------------------------------------------


def test_commands_come_in_order_and_stay_until_they_are_done(run):
    ids = [
        folders.send(run, "kill", why="test"),
        folders.send(run, "resume"),
        folders.send(run, "stop"),
    ]
    found = folders.commands(run)
    assert [command.id for command in found] == ids
    assert [command.name for command in found] == ["kill", "resume", "stop"]
    assert found[0].body == {"why": "test"}
    assert folders.commands(run) == found
    folders.finish(found[0])
    folders.finish(found[0])
    assert folders.commands(run) == found[1:]


def test_an_unknown_command_is_refused_where_it_is_given(run):
    with pytest.raises(UserError, match="Did you mean 'resume'"):
        folders.send(run, "resumee")
    assert folders.commands(run) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"7", b'{"name": "fly"}', b'{"body": {}}', b"null",
                b'{"name": "stop", "body": 5}', b'{"name": ["stop"]}']
)  # fmt: skip
def test_what_cannot_be_read_halts(run, content):
    (run / "commands" / "0.json").write_bytes(content)
    (command,) = folders.commands(run)
    assert command.name == "kill" and command.body["why"]
    folders.finish(command)
    assert folders.commands(run) == []


def test_a_run_without_its_folder_of_commands_has_none(tmp_path):
    assert folders.commands(tmp_path) == []


def test_a_reader_never_meets_half_a_command(run):
    """While one thread sends, another takes: each command once, whole."""
    taken, stop = [], threading.Event()

    def take():
        while not stop.is_set() or folders.commands(run):
            for command in folders.commands(run):
                taken.append((command.name, command.body.get("n")))
                folders.finish(command)

    thread = threading.Thread(target=take)
    thread.start()
    for n in range(40):
        folders.send(run, "resume", n=n, filler="x" * 5000)
    stop.set()
    thread.join()
    assert taken == [("resume", n) for n in range(40)]


def test_the_file_kill_halts_and_so_does_not_being_able_to_look(run, monkeypatch):
    assert not folders.killed(run)
    folders.kill(run)
    assert folders.killed(run)
    (run / "KILL").unlink()
    assert not folders.killed(run)
    (run / "KILL").symlink_to("nowhere")
    assert folders.killed(run)

    def refuse(self):
        raise PermissionError(13, "permission denied")

    monkeypatch.setattr(Path, "lstat", refuse)
    assert folders.killed(run)


def test_a_folder_that_is_gone_has_no_kill_file(run):
    assert not folders.killed(run / "nowhere")


# -- heartbeat ----------------------------------------------------------------------------------


def test_a_heartbeat_is_whole_and_has_an_age(run):
    assert folders.heartbeat(run) is None
    folders.beat(run, {"time": 5, "equity": 1.5})
    found = folders.heartbeat(run)
    assert found.pop("age") < 5 and found == {"time": 5, "equity": 1.5}
    old = time.time() - 100
    os.utime(run / "heartbeat.json", (old, old))
    assert 99 < folders.heartbeat(run)["age"] < 110
    (run / "heartbeat.json").write_text("{")
    assert folders.heartbeat(run) is None
    assert [p.name for p in run.glob(".heartbeat*")] == []
