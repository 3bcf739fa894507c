"""An unmodified ccxt connects: its session alone is told where the hosts are."""

import asyncio

import pytest

ccxt = pytest.importorskip("ccxt.pro")
SYMBOL = "AAA/USDT:USDT"


async def drive(client):
    """Acknowledge at a pace that lets ccxt keep up."""
    clock = await client.clock()
    while True:
        await asyncio.sleep(0.02)
        now = client.exchange.clock.now()
        await clock.send_json({"ack": now - now % client.exchange.market.interval})


@pytest.mark.parametrize("venue", ["binanceusdm", "bybit"])
async def test_ccxt_reads_the_market(playing, make_market, venue):
    bars = make_market(bars=400)
    async with playing(bars) as client:
        options = {"session": client.session, "options": {"watchTrades": {"name": "aggTrade"}}}
        exchange = getattr(ccxt, venue)(options)
        try:
            markets = await exchange.load_markets()
            assert set(markets) == {SYMBOL, "BBB/USDT:USDT"}
            assert markets[SYMBOL]["swap"] and markets[SYMBOL]["linear"]
            driving = asyncio.create_task(drive(client))
            rows = await exchange.fetch_ohlcv(SYMBOL, "1m", limit=10)
            played = {int(b["open_time"].timestamp() * 1000): b for b in bars.to_dicts()[:400]}
            for stamp, *numbers in rows[:-1]:
                bar = played[stamp]
                assert numbers == [bar[n] for n in ("open", "high", "low", "close", "volume")]
            trades = await exchange.fetch_trades(SYMBOL, limit=20)
            assert len(trades) == 20 and {t["side"] for t in trades} == {"buy", "sell"}
            seen = await asyncio.wait_for(exchange.watch_ohlcv(SYMBOL, "1m"), 5)
            assert seen[-1][0] in played
            watched = await asyncio.wait_for(exchange.watch_trades(SYMBOL), 5)
            assert watched[-1]["price"] > 0
            assert not driving.done()
            driving.cancel()
        finally:
            await exchange.close()
