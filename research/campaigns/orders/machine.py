"""A stateful test of the order engine: any steps, in any order, and the laws hold after each.

The steps are orders, cancellations, protections, fills, foreign trades, silence, lost and late
requests, kills at each write and each request, and restarts. `hypothesis` chooses them and makes
what breaks a law as short as it can.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from research.campaigns.orders.laws import broken
from research.campaigns.orders.memory import SYMBOL, Killed, MemoryGateway, MemoryVenue
from research.orders import (
    Account,
    Intent,
    Owner,
    Patience,
    Protector,
    Report,
    Sender,
    accept,
    cid,
    fold,
    reconcile,
)
from research.orders.book import Book
from research.venues.words import Income, Order, Refused, Unreachable

OWNER = Owner("machine", "binance:main", "2026-11-20_0000_machine_0000")
PATIENCE = Patience(pauses=(0.0,), least=12.0, settle=5.0)
_STEPS_EACH = 50
_SIDES = st.sampled_from(["buy", "sell"])
_SIZES = st.integers(1, 5000).map(lambda thousandths: Decimal(thousandths) / 1000)
_SENDS = st.sampled_from(
    ["", "", "plain_ack", "accepted_unknown", "lost", "late", "refused", "changed"]
)
_CANCELS = st.sampled_from(["", "race", "lost", "done_unknown"])
_KINDS = ("intent", "send", "ack", "unknown", "refused", "absent", "fill", "cancel", "done")


class Row(NamedTuple):
    """An event of the journal in memory."""

    kind: str
    body: dict[str, Any]


class Process:
    """One life of the run: all that a kill takes away."""

    def __init__(self, venue: MemoryVenue, rows: list[Row]) -> None:
        self.rows, self.alive = rows, True
        self.kill_at: tuple[str, bool] | None = None
        self.account = Account(
            *(MemoryGateway(venue), self.write, fold(rows), OWNER),
            now=lambda: venue.time,
            since=1_700_000_000_000_000,
            patience=PATIENCE,
            seconds=lambda: venue.time / 1e6,
        )
        self.sender = Sender(self.account)
        self.protector = Protector(self.sender)

    def write(self, *events: tuple[str, dict[str, Any]]) -> None:
        """Write, unless the process ends before; it may end right after."""
        doomed, after = self.kill_at or ("", False)
        hit = any(kind == doomed for kind, _ in events)
        if not self.alive or (hit and not after):
            self.alive = False
            raise Killed
        self.rows += [Row(kind, json.loads(json.dumps(body))) for kind, body in events]
        if hit:
            self.alive = False
            raise Killed


class OrderMachine(RuleBasedStateMachine):
    """See the module."""

    steps = 0

    @initialize(
        tells=st.booleans(), lag=st.integers(0, 2), share=st.sampled_from(["1", "0.4", "0"])
    )
    def begin(self, tells: bool, lag: int, share: str) -> None:
        """Open the venue and the first run."""
        self.loop = asyncio.new_event_loop()
        self.venue = MemoryVenue(tells_cids=tells, lag=lag, share=Decimal(share))
        self.rows: list[Row] = []
        self.moment = 0
        self.process = Process(self.venue, self.rows)
        self.report: Report | None = None
        self.interfered = False

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run to the end, or until the process is killed; then another takes its place."""
        type(self).steps += 1
        try:
            return self.loop.run_until_complete(work)
        except (Refused, Unreachable):
            return None
        except Killed:
            self.start()
            return None

    def start(self) -> None:
        """Start again from the journal: nothing else is left."""
        self.process.alive = False
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.venue.during = None
        self.venue.sends.clear()
        self.venue.cancels.clear()
        self.process = Process(self.venue, self.rows)
        self.venue.deaf = 0
        self.report = self.loop.run_until_complete(self.reconciled())

    async def reconciled(self) -> Report:
        """Reconcile twice: the second writes nothing."""
        report = await reconcile(self.process.account, [SYMBOL])
        written = len(self.rows)
        again = await reconcile(self.process.account, [SYMBOL])
        assert len(self.rows) == written, self.rows[written:]
        assert again.halted == report.halted
        assert not report.halted or self.interfered, report
        assert report.halted or self.book.held(SYMBOL) == self.venue.position
        return again

    @property
    def book(self) -> Book:
        """The book of the process that lives."""
        return self.process.account.book

    # -- steps ----------------------------------------------------------------------------------

    @rule(
        side=_SIDES,
        size=_SIZES,
        kind=st.sampled_from(["ioc", "ioc", "market", "limit"]),
        met=_SENDS,
        reduce=st.booleans(),
    )
    def order(self, side: Any, size: Decimal, kind: Any, met: str, reduce: bool) -> None:
        """Send an order."""
        self.venue.sends.append(met)
        self.do(self.process.sender.send(self.meant(side, size, kind, reduce=reduce)))
        self.venue.sends.clear()

    def meant(self, side: Any, size: Decimal, kind: Any, *, reduce: bool) -> Intent:
        """Return a new decision."""
        self.moment += 60_000_000
        name = cid(OWNER, SYMBOL, self.moment, "exit" if reduce else "entry")
        price = None if kind == "market" else Decimal(100)
        order = Order(name, SYMBOL, side, kind, size, price, None, reduce)
        return Intent(order, "exit" if reduce else "entry", self.moment, Decimal(100))

    @rule(side=_SIDES, size=_SIZES, kind=st.sampled_from(["ioc", "limit"]))
    def filled_before_the_ack(self, side: Any, size: Decimal, kind: Any) -> None:
        """An order of which the fills are asked for, and told, before it is acknowledged."""
        account, venue = self.process.account, self.venue

        async def meanwhile() -> None:
            for placed in venue.open[-1:]:
                venue.fill(placed, placed.quantity)
            await account.refresh(SYMBOL)

        venue.during = meanwhile
        self.do(self.process.sender.send(self.meant(side, size, kind, reduce=False)))
        venue.during = None

    @rule(side=_SIDES, size=_SIZES, where=st.sampled_from(["killed_before", "killed_after"]))
    def killed_while_sending(self, side: Any, size: Decimal, where: str) -> None:
        """The process ends while the request is on its way."""
        self.venue.sends.append(where)
        self.do(self.process.sender.send(self.meant(side, size, "ioc", reduce=False)))
        self.venue.sends.clear()

    @rule(
        size=_SIZES,
        met=_SENDS,
        kind=st.sampled_from(_KINDS),
        after=st.booleans(),
        resting=st.booleans(),
    )
    def killed_while_writing(
        self, size: Decimal, met: str, kind: str, after: bool, resting: bool
    ) -> None:
        """The process ends before or after it has written an event."""
        process = self.process
        process.kill_at = (kind, after)
        self.venue.sends.append(met)
        wanted = "limit" if resting else "ioc"
        self.do(process.sender.send(self.meant("buy", size, wanted, reduce=False)))
        self.venue.sends.clear()
        if process.alive and self.book.unsettled():
            self.do(process.sender.cancel_all())
        process.kill_at = None

    @rule(again=st.data())
    def the_same_again(self, again: st.DataObject) -> None:
        """A decision that was made is made again: nothing is sent."""
        if self.book.orders:
            known = again.draw(st.sampled_from(list(self.book.orders.values())))
            before = len(self.venue.orders), len(self.rows)
            self.do(self.process.sender.send(Intent(known.order, known.leg, 0, Decimal(100))))
            assert (len(self.venue.orders), len(self.rows)) == before

    @rule(met=_CANCELS, which=st.data())
    def cancel(self, met: str, which: st.DataObject) -> None:
        """End a resting order; its venue may have filled it meanwhile."""
        live = [known for known in self.book.unsettled() if known.live]
        if live:
            known = which.draw(st.sampled_from(live))
            self.venue.cancels.append(met)
            self.do(self.process.sender.cancel(known.order.cid))
            self.venue.cancels.clear()
            if met != "lost" and self.process.account.mode != "stopped":
                assert not self.book.orders[known.order.cid].live

    @rule(share=st.sampled_from(["0.3", "1"]), which=st.data())
    def traded(self, share: str, which: st.DataObject) -> None:
        """A resting order is filled, in part or whole."""
        if self.venue.open:
            placed = which.draw(st.sampled_from(self.venue.open))
            wanted = (placed.quantity * Decimal(share)).quantize(Decimal("0.001"))
            self.venue.fill(placed, wanted)

    @rule(price=st.integers(80, 120))
    def moved(self, price: int) -> None:
        """The market moves."""
        self.venue.price = Decimal(price)

    @rule(stop=st.integers(70, 95), take=st.integers(105, 130), met=_CANCELS, sent=_SENDS)
    def protected(self, stop: int, take: int, met: str, sent: str) -> None:
        """Stops and takes are laid, moved or taken away."""
        self.moment += 60_000_000
        self.venue.cancels.append(met)
        self.venue.sends.append(sent)
        self.do(
            self.process.protector.protect(
                SYMBOL,
                stop=Decimal(stop),
                take=Decimal(take),
                moment=self.moment,
                price=Decimal(100),
            )
        )
        self.venue.cancels.clear()
        self.venue.sends.clear()

    @rule(deaf=st.integers(0, 3))
    def watched(self, deaf: int) -> None:
        """Everything that rests is asked for; the venue may not answer."""
        self.venue.deaf = deaf
        self.do(self.process.account.watch())
        self.venue.deaf = 0

    @rule(amount=st.integers(-500, 500))
    def funded(self, amount: int) -> None:
        """Funding is paid."""
        name = f"i{len(self.venue.paid)}"
        paid = Decimal(amount) / 100
        self.venue.paid.append(Income(name, "funding", SYMBOL, paid, "USDT", self.venue.time))
        self.do(self.process.account.incomes())

    @rule(seconds=st.integers(1, 20))
    def waited(self, seconds: int) -> None:
        """Time passes; what was late arrives."""
        self.venue.forward(seconds * 1_000_000)

    @rule()
    def restarted(self) -> None:
        """The process is killed between two steps."""
        type(self).steps += 1
        self.start()

    @rule()
    def ended_in_order(self) -> None:
        """SIGTERM, and a new start."""
        self.do(self.process.sender.settle())
        self.start()

    @rule(size=st.integers(-20, 20).filter(bool))
    def others_traded(self, size: int) -> None:
        """Somebody else trades: the run stops and adds nothing; then a person says go on."""
        self.venue.lag = 0
        self.venue.foreign(Decimal(size) / 10)
        self.interfered = True
        self.start()
        assert self.report is not None
        if self.process.account.mode == "stopped":
            self.agreed()

    @precondition(lambda self: self.process.account.mode != "active")
    @rule()
    def agreed(self) -> None:
        """A person takes the venue's word."""
        report = self.loop.run_until_complete(reconcile(self.process.account, [SYMBOL]))
        accept(self.process.account, report)
        written = len(self.rows)
        assert accept(self.process.account, report) == 0
        assert len(self.rows) == written
        again = self.loop.run_until_complete(reconcile(self.process.account, [SYMBOL]))
        assert not again.halted, again
        self.process.account.mode = "active"
        self.interfered = False

    # -- laws -----------------------------------------------------------------------------------

    @invariant()
    def laws_hold(self) -> None:
        """Nothing is doubled, lost or invented."""
        if not hasattr(self, "process"):
            return
        assert not broken(self.book, self.venue, OWNER), broken(self.book, self.venue, OWNER)
        assert fold(self.rows) == self.book

    def teardown(self) -> None:
        """Everything that is still on its way is found out, and all agrees."""
        if not hasattr(self, "process"):
            return
        self.venue.forward(60_000_000)
        self.start()
        if self.report is not None and not self.report.halted:
            assert self.book.held(SYMBOL) == self.venue.position
        self.laws_hold()
        self.loop.close()


def run(steps: int, progress: Callable[[int, int, str], None] | None = None) -> int:
    """Take at least so many steps and return how many were taken.

    Raises
    ------
    AssertionError
        If a law is broken; the shortest way to it is printed.
    """
    OrderMachine.steps = 0
    taken = 0
    while OrderMachine.steps < steps:
        chosen = settings(
            max_examples=max(min((steps - OrderMachine.steps) // _STEPS_EACH, 200), 1),
            stateful_step_count=_STEPS_EACH,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(OrderMachine, settings=chosen)
        taken = OrderMachine.steps
        if progress is not None:
            progress(min(taken, steps), steps, "")
    return taken
