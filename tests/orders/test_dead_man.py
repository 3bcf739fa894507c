"""The dead man's switch: renewed while all is well, run out when not, turned off in order."""

import asyncio

from research.orders import DeadMan
from research.venues.words import Unreachable


class Timer:
    """A venue's timer, in real time."""

    def __init__(self, name="kraken"):
        self.name, self.said, self.answers = name, [], True

    async def dead_man(self, seconds):
        if not self.answers:
            raise Unreachable("no answer")
        self.said.append((asyncio.get_running_loop().time(), seconds))


async def kept(timer, healthy, seconds, **options):
    keeper = DeadMan(timer, healthy, **options)
    task = asyncio.create_task(keeper.run())
    await asyncio.sleep(seconds)
    task.cancel()
    return keeper


async def test_it_is_renewed_well_before_it_runs_out():
    timer = Timer()
    keeper = await kept(timer, lambda: True, 0.3, pace=600.0)
    times = [at for at, _ in timer.said]
    assert {said for _, said in timer.said} == {60.0} and len(times) >= 4
    assert await keeper.end() and timer.said[-1][1] == 0


async def test_who_is_not_well_is_not_renewed():
    timer, well = Timer("binance"), True
    keeper = DeadMan(timer, lambda: well, pace=3000.0)
    task = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.05)
    well = False
    await asyncio.sleep(0.02)
    before = len(timer.said)
    await asyncio.sleep(0.1)
    task.cancel()
    assert before >= 1 and len(timer.said) == before


async def test_a_venue_that_does_not_answer_is_asked_again():
    timer = Timer()
    timer.answers = False
    keeper = await kept(timer, lambda: True, 0.1, pace=600.0)
    assert keeper.failed >= 2 and not await keeper.end()
    timer.answers = True
    assert await keeper.end() and keeper.failed == 0


async def test_a_venue_without_such_a_timer_is_left_alone():
    timer = Timer("bybit")
    keeper = await kept(timer, lambda: True, 0.02)
    assert await keeper.end() and not timer.said
