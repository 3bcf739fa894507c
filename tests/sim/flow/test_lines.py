"""A connection that sends in pieces keeps the order in which it was given things."""

import asyncio
from types import SimpleNamespace

import pytest

from research.sim.flow import lines
from research.sim.flow.lines import FlowLine


class Transport:
    """Takes everything, or as much as fits."""

    def __init__(self):
        self.written, self.cut = b"", False

    def write(self, data):
        self.written += data

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.cut

    def abort(self):
        self.cut = True


@pytest.fixture
def line():
    told, transport = [], Transport()
    request = SimpleNamespace(host="h", path="/", transport=transport)
    made = FlowLine("1", request, 0, lambda kind, **what: told.append(what.get("text", kind)))
    made.told, made.transport = told, transport

    async def write(text):
        transport.write(lines.frame_of(text.encode()))

    made._write = write
    return made


async def sent(line):
    sending = asyncio.create_task(line._send())
    await asyncio.sleep(0.01)
    sending.cancel()
    return line.told


async def test_what_was_given_first_leaves_first(line):
    line.send("one", "s")
    line.send("two", "s")
    line.say({"ok": 1})
    line.send("three", "s")
    assert line.behind == 3 + 3  # three frames, and three things to do
    assert await sent(line) == ["one", "two", '{"ok":1}', "three"]
    assert line.transport.written == b"".join(
        lines.frame_of(text.encode()) for text in ("one", "two", '{"ok":1}', "three")
    )
    assert (line.behind, line.count) == (0, 3)


async def test_what_leaves_later_waits_for_its_own_turn(line):
    line.send("one", "s")
    assert await sent(line) == ["one"]
    line.send("two", "s")
    assert await sent(line) == ["one", "two"]


async def test_a_client_too_far_behind_is_cut_off(line, monkeypatch):
    monkeypatch.setattr(lines, "QUEUE", 3)
    for text in "abcd":
        line.send(text, "s")
    assert line.transport.cut
    assert await sent(line) == ["a", "b", "c"]
