"""The order-book side as a process of its own, from code and from a shell."""

import json

import pytest

from research.errors import UserError
from research.sim.flow import start


async def test_a_child_plays_a_made_market_now_and_ends(made, session_at, tmp_path):
    made()  # compiles what the child would
    with start(minutes=1, symbols=1, speed=20, live=True, log=tmp_path / "log") as venue:
        async with session_at(venue.port, venue.ca) as session:
            url = "wss://fstream.binance.com/public/stream?streams=sim01usdt@bookTicker"
            ws = await session.ws_connect(url)
            first = (await ws.receive_json(timeout=10))["data"]
            assert first["s"] == "SIM01USDT"
            assert first["E"] > 1.7e12
    assert venue.process.returncode is not None
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "log").read_text().splitlines()]
    assert kinds[0] == "open"
    assert "frame" in kinds


def test_a_mistake_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match="did not start"):
        start(tmp_path / "nothing.gz")
