"""Each misconfiguration is one line that says what to do; nothing is ever sent or set."""

import json
import re
from decimal import Decimal
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from research.cli import venues as command
from research.errors import UserError
from research.sim.orders.words import usual_key
from research.venues import doctor
from research.venues.doctor import Wanted, checks, examine, visit
from research.venues.keys import Keys
from research.venues.words import Balance

VENUES = ["binance", "bybit", "kraken"]
D = Decimal


def wanted(at, tmp_path, **more):
    async def bar():
        return "a bar"

    facts = {
        "symbols": [at.symbol],
        "now": at.exchange.clock.now,
        "skew": 1.0,
        "margin": "isolated",
        "bar": bar,
        "folder": tmp_path,
        "disk": 0.0,
    }
    return Wanted(**facts | more)


async def found(at, tmp_path, **more):
    """Examine; return names and words of what is bad. Nothing was sent or set by it."""
    told = [check async for check in examine(at.gateway, wanted(at, tmp_path, **more))]
    assert not at.signed
    assert all("\n" not in check.line() and len(check.words) < 500 for check in told)
    return [(c.name, c.words) for c in told if c.state == "bad"], told


@pytest.mark.parametrize("venue", VENUES)
async def test_all_is_well(world, tmp_path, venue):
    async with world(venue, opened=False) as at:
        bad, told = await found(at, tmp_path)
        assert not bad
        names = ["clock", "symbols", "keys", "permissions", "mode", "funds", "feed", "disk"]
        assert [c.name for c in told] == [n for n in names if n != "mode" or venue != "kraken"]


@pytest.mark.parametrize("venue", VENUES)
async def test_clock_off(world, tmp_path, venue):
    """Of that alone: requests are signed by the venue's time as we have measured it."""
    for off, says in ((-3_600_000_000, "behind"), (3_600_000_000, "ahead of")):
        async with world(venue, opened=False, off=off, speed=1.0) as at:
            at.exchange.clock.join("a client")
            bad, _ = await found(at, tmp_path, now=at.gateway._wire.now)
            ((name, words),) = bad
            assert name == "clock" and says in words
            told = float(re.search(r"is ([\d.]+) s", words)[1])
            assert told == pytest.approx(3600, abs=60)  # the question may be long on its way
            assert "timedatectl set-ntp true" in words


@pytest.mark.parametrize(("off", "state"), [(1_500_000, "ok"), (1_500_001, "bad")])
async def test_half_of_the_way_is_forgiven_a_clock_and_no_more(off, state):
    """The answer took a second, so that half a second is forgiven beside the one allowed."""
    moments = iter((off, off + 1_000_000))

    async def clock():
        return 500_000

    gateway = SimpleNamespace(name="binance", clock=clock)
    wish = SimpleNamespace(now=lambda: next(moments), skew=1.0)
    assert (await checks._clock(gateway, wish)).state == state


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(
    ("right", "says"),
    [({"withdraw": True}, "may withdraw money. Take that right"), ({"trade": False}, "Give it '")],
)
async def test_rights(world, tmp_path, venue, right, says):
    key = usual_key(venue)._replace(**right)
    async with world(venue, opened=False, exchange_keys=(key,)) as at:
        bad, _ = await found(at, tmp_path)
        ((name, words),) = bad
        assert name == "permissions" and says in words


@pytest.mark.parametrize("venue", VENUES)
async def test_a_key_for_any_address_is_a_warning(world, tmp_path, venue):
    key = usual_key(venue)._replace(addresses=False)
    async with world(venue, opened=False, exchange_keys=(key,)) as at:
        bad, told = await found(at, tmp_path)
        assert not bad
        assert [c.name for c in told if c.state == "warn"] == ["permissions"]


@pytest.mark.parametrize("venue", VENUES)
async def test_wrong_secret_and_wrong_key(world, tmp_path, venue):
    right = usual_key(venue)
    for keys in (Keys(right.id, "d3Jvbmctc2VjcmV0"), Keys("wrong-key", right.secret)):
        async with world(venue, opened=False, keys=keys) as at:
            bad, told = await found(at, tmp_path)
            ((name, words),) = bad
            assert name == "keys" and "Copy key and secret anew" in words
            assert [c.name for c in told if c.state == "ok"] == ["clock", "symbols", "feed", "disk"]


async def test_a_secret_of_another_kind(world, tmp_path):
    """Kraken's are in base64: one that is not cannot even sign."""
    async with world("kraken", opened=False, keys=Keys("a-key", "not base64 !")) as at:
        bad, _ = await found(at, tmp_path)
        ((name, words),) = bad
        assert name == "keys" and "not in base64" in words and "Copy key and secret anew" in words


NOS = [
    ("binance", "/fapi/v3/account", 400, {"code": -1021, "msg": "recvWindow"}, "set-ntp true"),
    ("bybit", "/v5/account/wallet-balance", 200, {"retCode": 10002, "retMsg": "n"}, "set-ntp true"),
    ("kraken", "/0/private/BalanceEx", 200, {"error": ["EAPI:Invalid nonce"]}, "Give this one its"),
    ("bybit", "/v5/account/wallet-balance", 200, {"retCode": 10005, "retMsg": "n"}, "Give it 'R"),
    (
        "kraken",
        "/0/private/BalanceEx",
        200,
        {"error": ["EGeneral:Permission denied"]},
        "Give it 'Q",
    ),
    ("binance", "/fapi/v3/account", 503, {"code": -1008, "msg": "Busy."}, "Wait some minutes"),
    ("binance", "/fapi/v3/account", 400, {"code": -4999, "msg": "Odd."}, "Wait some minutes"),
]


@pytest.mark.parametrize(("venue", "path", "status", "body", "says"), NOS)
async def test_each_no_has_its_remedy(world, tmp_path, venue, path, status, body, says):
    async with world(venue, opened=False) as at:
        at.exchange.strike("status", target=path, times=100, status=status, body=body)
        bad, _ = await found(at, tmp_path)
        ((name, words),) = bad
        assert name == ("venue" if "Wait" in says else "keys") and says in words


@pytest.mark.parametrize("venue", ["binance", "bybit"])
async def test_hedge_mode(world, tmp_path, venue):
    async with world(venue, opened=False) as at:
        at.account.hedged = True
        bad, _ = await found(at, tmp_path)
        ((name, words),) = bad
        assert name == "mode" and "hedge mode" in words and "take one-way mode" in words


@pytest.mark.parametrize("venue", VENUES)
async def test_no_funds(world, tmp_path, venue):
    key = usual_key(venue)._replace(funds={})
    async with world(venue, opened=False, exchange_keys=(key,)) as at:
        bad, _ = await found(at, tmp_path)
        ((name, words),) = bad
        assert name == "funds" and words.startswith("0.00 USDT free") and "Deposit" in words


@pytest.mark.parametrize("venue", VENUES)
async def test_wrong_symbol(world, tmp_path, venue):
    async with world(venue, opened=False) as at:
        typo = at.symbol.replace("AAA", "AAB")
        bad, _ = await found(at, tmp_path, symbols=[typo])
        ((name, words),) = bad
        assert name == "symbols" and f"Did you mean '{at.symbol}'" in words
        assert "live.symbols" in words


async def test_no_disk(world, tmp_path):
    async with world("binance", opened=False) as at:
        bad, _ = await found(at, tmp_path, disk=1e6)
        ((name, words),) = bad
        assert name == "disk" and "Make room" in words


async def test_no_bar(world, tmp_path):
    async def none():
        raise UserError("AAAUSDT: nothing was traded.")

    async with world("binance", opened=False) as at:
        bad, _ = await found(at, tmp_path, bar=none)
        assert bad == [("feed", "AAAUSDT: nothing was traded.")]


@pytest.mark.parametrize("venue", VENUES)
async def test_nobody_answers(world, tmp_path, venue):
    async with world(venue, opened=False) as at:
        page = "<html>\n<h1>502 Bad\n Gateway</h1></html>"
        at.exchange.strike("status", times=100, status=502, body=page)
        bad, told = await found(at, tmp_path)
        ((name, words),) = bad
        assert name == "venue" and "status page" in words
        assert "502 Bad Gateway" in words and "<" not in words and "\n" not in words
        assert [c.name for c in told] == ["venue", "disk"]


# -- the command ---------------------------------------------------------------------------------


def run(*words):
    app = typer.Typer()
    app.command()(command.doctor)
    return CliRunner().invoke(app, words)


def test_the_command_offline(store):
    told = run("--venue", "kraken", "--simulated", "--json", "-o", "live.disk=0")
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert said["well"] and said["account"] == "kraken"
    assert {c["state"] for c in said["checks"]} == {"ok"}
    short = run("--venue", "kraken", "--simulated", "-o", "live.disk=1000000000")
    assert short.exit_code == 1 and short.stdout.count("BAD") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a study"),
        (("--venue", "krakken"), "Did you mean 'kraken'"),
        (("--venue", "kraken"), "ALPHABOOK_KRAKEN_KEY and ALPHABOOK_KRAKEN_SECRET are not set"),
        (("nothing-of-that-name",), "nothing-of-that-name"),
    ],
)
def test_mistakes(monkeypatch, tmp_path, words, says):
    for name in ("KEY", "SECRET"):
        monkeypatch.delenv(f"ALPHABOOK_KRAKEN_{name}", raising=False)
    monkeypatch.setattr(visit.keyring, "ROOT", tmp_path)
    told = run(*words)
    assert isinstance(told.exception, UserError) and says in str(told.exception)


def test_a_studys_symbols_are_asked_by_the_venues_name():
    options = {"live.venue": "kraken", "live.symbols": {"BTCUSDT": "BTC/USD"}}
    options |= {"data.symbols": ["BTCUSDT"]}
    patient = visit._patient("trend", options, None, False)
    assert (patient.venue, patient.symbols) == ("kraken", {"BTCUSDT": "BTC/USD"})
    with pytest.raises(UserError, match=r"live\.symbols"):
        visit._patient("trend", {**options, "live.symbols": {}}, None, False)


def test_reports_are_plain():
    report = doctor.Report(
        "kraken", "kraken:main", [doctor.Check("disk", "bad", "full. Make room.")]
    )
    assert not report.well and report.text().endswith("kraken:main: 1 to mend")


@pytest.mark.parametrize(("least", "notional"), [("1", "5"), ("0.001", "100")])
async def test_the_smallest_order_is_the_larger_of_what_two_rules_ask(least, notional):
    """Of a market at 50 that asks for a least quantity, and for a least worth."""
    market = SimpleNamespace(quote="USD", least=D(least), least_notional=D(notional))

    async def ticker(name):
        return SimpleNamespace(ask=D(50))

    gateway = SimpleNamespace(name="kraken", market=lambda name: market, ticker=ticker)
    found = await checks._funds(gateway, ["A"], {"USD": Balance(D(40), D(40))})
    smallest = max(D(least) * 50, D(notional))
    assert found.state == "bad" and f"is worth {smallest:.2f}" in found.words
    for total, free, state in ((100, smallest, "ok"), (100, smallest - D("0.01"), "bad")):
        told = await checks._funds(gateway, ["A"], {"USD": Balance(D(total), D(free))})
        assert told.state == state  # what an order binds is in the total, and buys nothing


def test_as_much_disk_as_is_needed_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 10**9))
    for needed, state in ((2.0, "ok"), (2.1, "bad")):
        wish = SimpleNamespace(folder=tmp_path, disk=needed)
        assert checks._disk(wish).state == state
