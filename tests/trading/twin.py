"""The desk once more, slowly and independently: dicts, one event after the other, no numba.

Written from the rules as they are told in the docstrings, not from the code.
"""

import math

EIGHT_HOURS = 8 * 3600 * 1_000_000


class Twin:
    def __init__(self, n, rules, capital):
        self.n, self.rules, self.cash = n, rules, capital
        self.held, self.mark, self.orders, self.rest, self.seen = {}, {}, {}, {}, {}
        self.trades = []

    def equity(self):
        return self.cash + sum(p["q"] * self.mark[i] for i, p in self.held.items())

    def wish(self, e):
        r = self.rules
        if r.kind == 0:
            if e["forecast"] > r.enter and r.long:
                return 1
            return -1 if e["forecast"] < -r.enter and r.short else 0
        if not e["bin"]:
            return 0
        if e["bin"] == r.q_long or (not r.exact and e["bin"] > r.q_long):
            return 1
        return -1 if e["bin"] == r.q_short or (not r.exact and e["bin"] < r.q_short) else 0

    def pay_funding(self, i, a, b):
        if i in self.held and self.rules.funding:
            times = sum(
                1 for k in range(a // EIGHT_HOURS, b // EIGHT_HOURS + 1) if a < k * EIGHT_HOURS <= b
            )
            paid = times * self.rules.funding * self.held[i]["q"] * self.mark[i]
            self.cash -= paid
            self.held[i]["funding"] += paid
            self.flow["funding"] += paid

    def deal(self, q, reference):
        """Cash for a market order of q; returns price, fee and cost of spread."""
        r = self.rules
        price = reference * (1 + math.copysign(1, q) * (r.half_spread + r.slippage))
        fee = r.fee * abs(q) * price
        self.cash -= q * price + fee
        cost = abs(q * (price - reference))
        for name, value in (("fees", fee), ("slippage", cost), ("traded", abs(q) * price)):
            self.flow[name] += value
        return price, fee, cost

    def leave(self, i, reference, when, why):
        p = self.held.pop(i)
        price, fee, cost = self.deal(-p["q"], reference)
        gross = p["q"] * (reference - p["reference"])
        fees, costs = fee + p["fee"], cost + p["cost"]
        self.trades.append(
            {
                "symbol": i,
                "side": 1 if p["q"] > 0 else -1,
                "entry_time": p["entry_time"],
                "exit_time": when,
                "entry_price": p["price"],
                "exit_price": price,
                "quantity": abs(p["q"]),
                "gross": gross,
                "fees": fees,
                "slippage": costs,
                "funding": p["funding"],
                "net": gross - fees - costs - p["funding"],
                "entry_reason": p["why"],
                "exit_reason": why,
            }
        )
        self.rest[i] = when + self.rules.cooldown

    def enter(self, i, side, notional, reference, when, why):
        r = self.rules
        price = reference * (1 + side * (r.half_spread + r.slippage))
        worth = self.equity()
        used = sum(abs(p["q"]) * self.mark[j] for j, p in self.held.items())
        most = max(worth - used, 0) / (reference + abs(price - reference) + r.fee * price)
        q = side * min(notional / price, most)
        if q:
            price, fee, cost = self.deal(q, reference)
            self.held[i] = {
                "q": q,
                "price": price,
                "reference": reference,
                "fee": fee,
                "cost": cost,
                "funding": 0.0,
                "entry_time": when,
                "clock": when,
                "why": why,
            }
            self.mark[i] = reference

    def inside(self, i, e):
        r, p = self.rules, self.held[i]
        side = 1 if p["q"] > 0 else -1
        stop, take = p["price"] * (1 - side * r.stop), p["price"] * (1 + side * r.take)
        worst, best = (e["low"], e["high"]) if side > 0 else (e["high"], e["low"])
        if side * (worst - stop) <= 0:
            gap = side * (e["open"] - stop) < 0
            return "stop", e["open"] if gap else stop
        return ("take", take) if side * (best - take) >= 0 else (None, None)

    def moment(self, time, events):
        """Events of one time, in symbol order; returns their reasons and positions."""
        r = self.rules
        self.flow = {"fees": 0.0, "slippage": 0.0, "funding": 0.0, "traded": 0.0}
        why = {}
        began = time - r.interval
        for i, e in events.items():
            if i in self.seen and self.seen[i] < began:
                self.pay_funding(i, self.seen[i], began)
            if i in self.orders:
                if not e["volume"]:
                    why[i] = "waiting"
                    continue
                side, notional, reason = self.orders.pop(i)
                if i in self.held:
                    self.leave(i, e["open"], began, reason)
                if side:
                    self.enter(i, side, notional, e["open"], began, reason)
        for i, e in events.items():
            if i in self.held:
                self.mark[i] = e["open"]
                self.pay_funding(i, began, time - 1)
                reason, price = self.inside(i, e)
                if reason and e["volume"]:
                    why[i] = reason
                    self.leave(i, price, time, reason)
        for i, e in events.items():
            self.mark[i], self.seen[i] = e["close"], time
            self.pay_funding(i, time - 1, time)
        worth = self.equity()
        for i, e in events.items():
            if i not in why:
                why[i] = self.decide(i, e, time, worth)
        return why

    def decide(self, i, e, time, worth):
        r, wish = self.rules, self.wish(e)
        known = e["bin"] > 0 if r.kind else not math.isnan(e["forecast"])
        p = self.held.get(i)
        share = max(worth, 0) / self.n

        def send(side, reason):
            self.orders[i] = (side, share, reason)
            return reason

        if worth <= 0:
            return send(0, "risk_halt") if p else "risk_halt"
        if p is None:
            if self.rest.get(i, time) > time:
                return "resting"
            if not known:
                return "stale_data"
            return send(wish, "entry") if wish else "no_edge"
        side = 1 if p["q"] > 0 else -1
        opposite = side * e["forecast"] < -r.leave if r.kind == 0 else wish == -side
        if opposite:
            return send(wish if wish == -side and not r.cooldown else 0, "reversal")
        if r.hold and time - p["clock"] >= r.hold:
            if wish != side:
                return send(0, "horizon")
            p["clock"] = time
        if r.kind and not r.hold and not wish:
            return send(0, "no_edge" if known else "stale_data")
        return "hold" if known else "stale_data"


def play(arrays, n, rules, capital):
    """Run the twin; returns reasons, positions, a table per time, trades."""
    names = ("time", "symbol", "open", "high", "low", "close", "volume", "forecast", "bin")
    events = [dict(zip(names, (x.item() for x in row))) for row in zip(*arrays)]
    twin = Twin(n, rules, capital)
    reasons, positions, curve = [], [], []
    for time in sorted({e["time"] for e in events}):
        now = {e["symbol"]: e for e in events if e["time"] == time}
        why = twin.moment(time, now)
        reasons += [why[i] for i in now]
        positions += [twin.held[i]["q"] if i in twin.held else 0.0 for i in now]
        curve.append({"time": time, "equity": twin.equity(), **twin.flow})
    last = {e["symbol"]: k for k, e in enumerate(events)}
    for i in sorted(twin.held, key=lambda j: -last[j]):
        twin.leave(i, twin.mark[i], events[last[i]]["time"], "end")
        reasons[last[i]], positions[last[i]] = "end", 0.0
    if curve:
        curve[-1] = {"time": events[-1]["time"], "equity": twin.equity(), **twin.flow}
    return reasons, positions, curve, twin.trades
