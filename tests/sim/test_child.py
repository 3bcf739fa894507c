"""The exchange as a process: it starts, plays, and ends with its parent."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from research import sim
from research.errors import UserError


def gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


async def test_a_child_plays_and_stops(bars, tmp_path, session_at):
    log = tmp_path / "sent.jsonl"
    faults = [sim.faults.Fault("status", at=-1, target="*/ping", args={"status": 503})]
    with sim.start(bars, speed=600, faults=faults, log=log) as venue:
        async with session_at(venue.port, venue.ca) as session:
            ws = await session.ws_connect("wss://clock.sim/clock")
            assert (await ws.receive_json(timeout=5))["speed"] == 600
            async with session.get("https://fapi.binance.com/fapi/v1/time") as answer:
                assert answer.status == 200
        assert venue.process.poll() is None
    assert venue.process.poll() is not None
    venue.stop()
    assert not venue.ca.exists()
    sent = [json.loads(line) for line in log.read_text().splitlines()]
    assert [e["path"] for e in sent] == ["/fapi/v1/time"]


def test_a_child_dies_with_its_parent(bars, tmp_path):
    path = tmp_path / "bars.parquet"
    bars.write_parquet(path)
    code = (
        "import sys, pathlib\nfrom research import sim\n"
        "venue = sim.start(pathlib.Path(sys.argv[1]))\n"
        "sys.stdout.write(f'{venue.process.pid}\\n'); sys.stdout.flush()\n"
        "import time; time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert not gone(pid, 0.2)
        parent.kill()
        assert gone(pid)


def test_a_child_says_why_it_does_not_start(bars, tmp_path):
    with pytest.raises(UserError, match="nothing to play"):
        sim.start(bars, start=1 << 60)
    with pytest.raises(UserError, match="did not start"):
        sim.start(tmp_path / "absent.parquet")


def test_from_a_shell(bars, tmp_path):
    path = tmp_path / "bars.parquet"
    bars.write_parquet(path)
    command = [sys.executable, "-m", "research.sim", "--bars", str(path), "--speed", "inf"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        said = json.loads(process.stdout.readline())
        assert set(said) == {"port", "ca", "pid"} and said["pid"] == process.pid
        process.terminate()
        assert process.wait(10) == 0
