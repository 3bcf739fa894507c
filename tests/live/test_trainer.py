"""Training beside the trading: never two, never waited for; whatever happens is one line."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from research import models, pipeline
from research.live import rows, trainer, triggers
from research.live.trainer import Job, Trainer

LONG = timedelta(minutes=5)


def waited(made, seconds=60.0, look=lambda: None):
    """Poll until the outcome is there; how long the slowest poll took comes with it."""
    end, slowest = time.monotonic() + seconds, 0.0
    while time.monotonic() < end:
        look()
        begun = time.perf_counter()
        outcome = made.poll()
        slowest = max(slowest, time.perf_counter() - begun)
        if outcome is not None:
            return outcome, slowest
        time.sleep(0.01)
    raise AssertionError("no outcome")


@pytest.fixture(scope="module")
def job(small, tmp_path_factory):
    place = tmp_path_factory.mktemp("job")
    bars = pipeline.bars(small)
    bars.write_parquet(place / "bars.parquet")
    at = rows.micros(pipeline.folds(small, bars)[-1].test_start)
    study = small.with_options({"threads": 2, "retrain.drift": "psi"}).model_dump(mode="json")
    return Job(study, str(place / "bars.parquet"), at, str(place / "models"), {"trigger": "test"})


@pytest.fixture
def made(tmp_path):
    found = Trainer(tmp_path, LONG)
    yield found
    found.stop()


def changed(job, **options):
    study = json.loads(json.dumps(job.study))
    for key, value in options.items():
        section, _, leaf = key.partition("__")
        study[section][leaf] = value
    return job._replace(study=study)


def test_a_training_is_the_fold_s_model(small, job, made):
    begun = time.perf_counter()
    assert made.start(job)
    assert time.perf_counter() - begun < 1  # and then it trains for longer
    pid, ranks = made._process.pid, set()
    assert os.getpgid(pid) == pid
    outcome, slowest = waited(made, look=lambda: ranks.add(os.getpriority(os.PRIO_PROCESS, pid)))
    assert outcome.why is None
    assert max(ranks) == 10 + os.getpriority(os.PRIO_PROCESS, 0)
    assert slowest < 0.05
    assert not made.busy
    assert made.poll() is None
    kept = models.Registry(Path(job.registry))
    found = kept.read(outcome.version)
    want = pipeline.fresh_models(small, pipeline.bars(small), at=rows.at(job.at))
    assert {k: (m.card, m.core.text) for k, m in found.items()} == {
        k: (m.card, m.core.text) for k, m in want.items()
    }
    facts = kept.card(outcome.version)["facts"]
    assert (facts["trigger"], facts["at"]) == ("test", job.at)
    assert triggers.watch(facts).psi() is None


def test_what_cannot_be_trained_is_one_line(job, tmp_path):
    broken = tmp_path / "broken.parquet"
    broken.write_text("no table")
    flat = tmp_path / "flat.parquet"
    same = [pl.lit(100.0).alias(name) for name in ("open", "high", "low", "close")]
    pl.read_parquet(job.bars).with_columns(same).write_parquet(flat)
    one_class = changed(
        job, labels__kind="direction", labels__threshold=0.9, model__name="logistic"
    )
    for wrong, word in (
        (job._replace(at=job.at - 40 * 86_400_000_000), "Bring older bars"),
        (job._replace(bars=str(tmp_path / "none.parquet")), "none.parquet"),
        (job._replace(bars=str(broken)), "parquet"),
        (job._replace(bars=str(flat)), "."),
        (one_class, "class"),
        (changed(job, model__name="nobody"), "nobody"),
    ):
        trainer.atomic.write_json(tmp_path / trainer.JOB, wrong._asdict())
        assert not trainer.work(tmp_path / trainer.JOB)
        result = json.loads((tmp_path / trainer.RESULT).read_text())
        assert result["version"] is None
        assert word in result["why"]
        assert "\n" not in result["why"]
        assert "Traceback" not in result["why"]
    assert not list(Path(job.registry).glob(".part-*"))


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """Let another program be what is started; it may do what training does not dare."""

    def use(source):
        script = tmp_path / "stand_in.py"
        script.write_text(source)
        begin = subprocess.Popen

        def popen(command, **more):
            return begin([sys.executable, str(script), *command[3:]], **more)

        monkeypatch.setattr(trainer.subprocess, "Popen", popen)

    return use


SLEEPS = "import time\ntime.sleep(600)\n"
FAMILY = """
import subprocess, sys, pathlib
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).with_name("child").write_text(str(child.pid))
child.wait()
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("end", ["timeout", "stop"])
def test_the_whole_group_is_killed(stand_in, tmp_path, job, end):
    stand_in(FAMILY)
    made = Trainer(tmp_path, timedelta(seconds=1.0) if end == "timeout" else LONG)
    made.start(job)
    child = tmp_path / "child"
    while not (child.exists() and child.read_text()):
        time.sleep(0.01)
    pid = int(child.read_text())
    assert alive(pid)
    if end == "stop":
        made.stop()
        assert made.poll() is None
    else:
        outcome, _ = waited(made)
        assert "took longer than 0:00:01" in outcome.why
    for _ in range(200):
        if not alive(pid):
            break
        time.sleep(0.01)
    assert not alive(pid)
    assert not made.busy


def test_there_are_never_two(stand_in, made, job):
    stand_in(SLEEPS)
    assert made.start(job)
    first = made._process.pid
    assert not any(made.start(job) for _ in range(20))
    assert made._process.pid == first
    made.stop()
    assert made.start(job)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "SIGSEGV"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "memory"),
        ("import os\nos.abort()\n", "SIGABRT"),
        ("import os\nos._exit(7)\n", "code 7"),
        ("print('fine')\n", "code 0 and no result: fine"),
        ("raise RuntimeError('one\\ntwo')\n", "two"),
    ],
)
def test_whatever_happens_is_one_line(stand_in, made, job, source, word):
    stand_in(source)
    made.start(job)
    outcome, _ = waited(made)
    assert outcome.version is None
    assert word in outcome.why
    assert "\n" not in outcome.why


def test_no_memory_is_one_line(job, tmp_path):
    """A limit on the address space, as a container has one."""
    limited = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))\n"
        "from pathlib import Path\n"
        "from research.live import trainer\n"
        "sys.exit(trainer.main(Path(sys.argv[1]), int(sys.argv[2])))\n"
    )
    script = tmp_path / "limited.py"
    script.write_text(limited)
    made = Trainer(tmp_path, LONG)
    begin = subprocess.Popen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            trainer.subprocess,
            "Popen",
            lambda command, **more: begin([sys.executable, str(script), *command[3:]], **more),
        )
        made.start(job)
    outcome, _ = waited(made)
    assert outcome.version is None
    assert outcome.why
    assert "\n" not in outcome.why


PARENT = """
import sys
from datetime import timedelta
from pathlib import Path
import json, time
from research.live.trainer import Job, Trainer
made = Trainer(Path(sys.argv[1]), timedelta(minutes=5))
made.start(Job(**json.loads(Path(sys.argv[2]).read_text())))
print(made._process.pid, flush=True)
time.sleep(600)
"""


def test_it_does_not_outlive_the_runner(job, tmp_path):
    """A runner that was killed starts anew, and its next training must be alone."""
    slow = changed(job, model__name="lightgbm", model__rounds=100_000, model__early_stopping=0)
    (tmp_path / "asked.json").write_text(json.dumps(slow._asdict()))
    command = [sys.executable, "-c", PARENT, str(tmp_path), str(tmp_path / "asked.json")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    time.sleep(4)
    assert alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(500):
        if not alive(pid):
            break
        time.sleep(0.01)
    assert not alive(pid)
