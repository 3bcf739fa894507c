"""What runs the project unattended: units that systemd reads, a container file, their commands."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "tools" / "deploy"
HOME = "/srv/alphabook"
UNITS = sorted(DEPLOY.glob("*.service"))


def settings(unit):
    """Return what a unit sets: by key its values."""
    lines = (line for line in unit.read_text().splitlines() if "=" in line and line[0] != "#")
    found = {}
    for line in lines:
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_reads_the_units(unit, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    here = tmp_path / unit.name.replace("@.", "@demo.")
    text = unit.read_text().replace(f"{HOME}/.venv/bin/python", str(Path(sys.executable)))
    here.write_text(text.replace(HOME, str(ROOT)))
    done = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if here.name in line]
    assert done.returncode == 0 and not said, done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_writes_where_it_may_and_does_not_repeat_a_mistake(unit):
    found = settings(unit)
    (writable,) = found["ReadWritePaths"]
    assert writable.split() == [f"{HOME}/data", f"{HOME}/reports"]
    for place in found["Environment"]:
        assert place.partition("=")[2].startswith(f"{HOME}/data/")
    assert found["RestartPreventExitStatus"] == ["2 75"] and found["User"] == ["alphabook"]
    assert found["ProtectSystem"] == ["strict"] and found["NoNewPrivileges"] == ["true"]


# -- the container file ------------------------------------------------------------------------


def instructions(path):
    """Return the instructions of a container file as (word, rest), continued lines joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", path.read_text()))
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def container_faults(path, root):
    """Return what a linter would say, and what only this project knows."""
    found, faults = instructions(path), []
    words = [word for word, _ in found]
    rest = dict(found)  # the last of each
    if words[0] != "FROM" or not re.search(r":[\w.-]*\d", found[0][1]) or ":latest" in found[0][1]:
        faults.append("the base image has no version")
    if rest.get("USER", "root") in ("root", "0") or "USER" not in words:
        faults.append("it runs as root")
    for word in ("ENTRYPOINT", "CMD"):
        if not isinstance(json.loads(rest.get(word, "null")), list):
            faults.append(f"{word} is not a list: signals would reach a shell")
    for word, text in found:
        if word == "ADD":
            faults.append("ADD")
        if word == "COPY":
            faults += [f"no {name}" for name in text.split()[:-1] if not (root / name).exists()]
        if word == "WORKDIR" and not text.startswith("/"):
            faults.append("WORKDIR is relative")
        if "apt-get install" in text and not {"--no-install-recommends", "-y"} <= set(text.split()):
            faults.append("apt-get asks, or brings more than is asked for")
        if "apt-get update" in text and "rm -rf /var/lib/apt/lists" not in text:
            faults.append("apt's lists stay in the image")
        if "pip install" in text and not {"--require-hashes", "--no-cache-dir"} <= set(
            text.split()
        ):
            faults.append("pip does not check hashes, or keeps its cache")
        if re.search(r"(?i)(KEY|SECRET|TOKEN|PASSWORD)\w*=", text):
            faults.append("a secret")
    return faults


def test_the_container_file_is_sound():
    assert container_faults(DEPLOY / "Containerfile", ROOT) == []


@pytest.mark.parametrize(
    ("was", "becomes", "fault"),
    [
        ("python:3.11-slim-bookworm", "python", "the base image has no version"),
        ("USER 10001\n", "", "it runs as root"),
        ('ENTRYPOINT ["/srv', 'ADD x /\nENTRYPOINT ["/srv', "ADD"),
        ("COPY studies", "COPY study", "no study"),
        (" --no-install-recommends", "", "apt-get asks, or brings more than is asked for"),
        (" --require-hashes", "", "pip does not check hashes, or keeps its cache"),
        ("ENV PYTHONUNBUFFERED=1", "ENV MY_TOKEN=abc", "a secret"),
    ],
)
def test_the_linter_finds(tmp_path, was, becomes, fault):
    text = (DEPLOY / "Containerfile").read_text()
    assert was in text
    (tmp_path / "Containerfile").write_text(text.replace(was, becomes))
    assert container_faults(tmp_path / "Containerfile", ROOT) == [fault]


def test_the_container_and_the_unit_run_the_same_command():
    entry = json.loads(dict(instructions(DEPLOY / "Containerfile"))["ENTRYPOINT"])
    (unit,) = settings(DEPLOY / "alphabook-live@.service")["ExecStart"]
    assert [*entry, "%i"] == unit.split()


# -- what they start ---------------------------------------------------------------------------

SMALL = {
    "simulated.days": 10,
    "simulated.symbols": 1,
    "live.days": 1,
    "validation.train": "7 d",
    "validation.test": "2 d",
    "model.name": "ridge",
}


def started(words, place):
    env = {**os.environ, "ALPHABOOK_DATA": str(place / "data"), "MPLBACKEND": "agg"}
    env["ALPHABOOK_REPORTS"] = str(place / "reports")
    said = (place / "said.log").open("ab")
    return subprocess.Popen(words, env=env, stdout=said, stderr=said, stdin=subprocess.DEVNULL)


def ended(process, when, place):
    """Wait until `when` holds, end the process as systemd does, and return its exit code."""
    until = time.monotonic() + 120
    while not when() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    assert process.poll() is None, (place / "said.log").read_text()
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=60)


@pytest.mark.long
@pytest.mark.slow
def test_the_command_of_unit_and_container_trades_and_goes_on_after_a_restart(tmp_path):
    options = [word for key, value in SMALL.items() for word in ("-o", f"{key}={value}")]
    command = [str(DEPLOY / "start.sh"), "demo", *options]

    def beaten(since):
        beats = list((tmp_path / "data" / "live").glob("*/heartbeat.json"))
        return beats and beats[0].stat().st_mtime > since

    for _ in range(2):
        beats = partial(beaten, time.time())  # an old heartbeat is none
        assert ended(started(command, tmp_path), beats, tmp_path) == 0
    runs = [place for place in (tmp_path / "data" / "live").iterdir() if place.is_dir()]
    assert len(runs) == 1


@pytest.mark.slow
def test_the_jobs_of_a_unit_begin_and_end_when_told_to(tmp_path):
    (words,) = settings(DEPLOY / "alphabook-jobs@.service")["ExecStart"]
    command = [sys.executable, *words.replace("%i", "demo").split()[1:]]
    state = tmp_path / "data" / "operations" / "demo" / "jobs.json"
    assert ended(started(command, tmp_path), state.exists, tmp_path) == 0
    names = {job["name"] for job in json.loads(state.read_text())["jobs"]}
    assert names == {"download", "retrain", "report", "maintenance", "health"}
