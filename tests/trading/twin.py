"""The desk once more, slowly and independently: dicts, one event after the other, no numba.

Written from the rules as they are told in the docstrings, not from the code.
"""

import math

EPS = 1e-6
KINDS = ("threshold", "quantile", "probability", "follow")
SIZES = ("equal", "fraction", "volatility", "kelly")
DAY = 86_400_000_000


class Twin:
    def __init__(self, n, rules, venue, capital):
        self.n, self.rules, self.venue, self.cash = n, rules, venue, capital
        self.kind, self.sizing = KINDS[rules.kind], SIZES[rules.sizing]
        # a place is (symbol, lane)
        self.places = [(i, lane) for i in range(n) for lane in range(rules.overlap)]
        self.held, self.orders, self.rest, self.mark = {}, {}, {}, {}
        self.funded = dict.fromkeys(self.places, -1)
        self.ruined, self.trades = False, []
        self.limited = self.asked = 0
        self.worth = self.peak = self.began = capital
        self.day = None
        self.due = [
            list(zip(venue.moment[a:b].tolist(), venue.rate[a:b].tolist()))
            for a, b in zip(venue.first[:-1], venue.first[1:])
        ]

    @property
    def state(self):
        return max(self.limited, self.asked)

    def equity(self):
        return self.cash + sum(p["q"] * self.mark[place] for place, p in self.held.items())

    def used(self):
        return sum(abs(p["q"]) * self.mark[place] for place, p in self.held.items())

    def position(self, i):
        return sum(p["q"] for place, p in self.held.items() if place[0] == i)

    def mute(self, time):
        return bool(self.rules.every) and time % self.rules.every != 0

    def overdue(self, place, e, time):
        """Why what a rule would hold is left: the account's halt, then limits of its own."""
        r, p = self.rules, self.held[place]
        p["blind"] = 0 if self.known(e) else p["blind"] + 1
        if self.state == 2:
            return "risk_halt"
        if r.timeout and time - p["entry_time"] >= r.timeout:
            return "timeout"
        return "errors" if r.errors and p["blind"] >= r.errors else None

    # -- what is wished and how much of it ----------------------------------------------------

    def wish(self, e):
        r, f = self.rules, e["forecast"]
        if self.kind == "quantile":
            b = e["bin"]
            up = b and (b == r.q_long or (b > r.q_long and not r.exact))
            down = b and (b == r.q_short or (b < r.q_short and not r.exact))
            side = 1 if up else -1 if down else 0
        elif self.kind == "probability":
            side = 1 if f >= r.enter else -1 if f <= -r.enter else 0
        else:
            limit = r.enter if self.kind == "threshold" else 0
            side = 1 if f > limit else -1 if f < -limit else 0
        return side if (side > 0 and r.long) or (side < 0 and r.short) else 0

    def known(self, e):
        return e["bin"] > 0 if self.kind == "quantile" else not math.isnan(e["forecast"])

    def ask(self, place, side, e, worth):
        """Notional, or a word that refuses it."""
        r = self.rules
        if self.sizing in ("volatility", "kelly") and not e["sigma"] > 0:
            return "stale_data"
        if self.sizing == "equal":
            share = 1 / len(self.places)
        elif self.sizing == "fraction":
            share = r.size
        else:
            risk = e["sigma"] * r.root
            toward = side * e["forecast"]
            if self.sizing == "volatility":
                share = r.size / risk
            elif self.kind == "probability":
                share = r.size * (toward - (1 - toward)) / risk
            else:
                share = r.size * toward / risk**2
        if not share > 0:
            return "no_edge"
        notional = worth * min(share, r.max_position, r.leverage)
        others = [p for p in self.places if p != place]
        open_ = [p for p in others if p in self.held or self.orders.get(p, {}).get("side")]
        stays = sum(
            abs(self.held[p]["q"]) * self.mark[p]
            for p in others
            if p in self.held and p not in self.orders
        )
        least = max(r.min_notional, 1e-9 * worth)
        if r.max_positions and len(open_) >= r.max_positions:
            return "full"
        if r.leverage * worth - stays < least:
            return "full"
        step = self.venue.lot[place[0]]
        q = notional / e["close"]
        if step:
            q = math.floor(q / step + EPS) * step
        return "too_small" if q * e["close"] < least else notional

    # -- money --------------------------------------------------------------------------------

    def fund(self, place, until):
        for moment, rate in self.due[place[0]]:
            if self.funded[place] < moment <= until and place in self.held:
                paid = rate * self.held[place]["q"] * self.mark[place]
                self.cash -= paid
                self.held[place]["funding"] += paid
                self.flow["funding"] += paid
        self.funded[place] = max(until, self.funded[place])

    def price(self, i, side, reference, notional, e, q):
        if e["book"] is not None and all(e["book"]):
            return max(self.walk(side, q, e) * reference / self.mid(e), 0.0)
        cost = e["half_spread"] + self.rules.slippage + e["impact"] * math.sqrt(notional)
        price, tick = reference * (1 + side * cost), self.venue.tick[i]
        if tick:
            ticks = price / tick
            price = (math.ceil(ticks - EPS) if side > 0 else math.floor(ticks + EPS)) * tick
        return max(price, 0.0)

    @staticmethod
    def mid(e):
        bids, asks = e["book"]
        return (bids[0][0] + asks[0][0]) / 2

    @staticmethod
    def walk(side, q, e):
        """What q comes to per unit, piece by piece, behind what others took; asks for a buy."""
        pieces, skip, wanted = [], e["gone"][side], q
        for price, there in e["book"][side > 0]:
            skipped = min(skip, there)
            piece = min(there - skipped, wanted)
            skip, wanted = skip - skipped, wanted - piece
            pieces.append((piece, price))
        if wanted:
            pieces.append((wanted, price + side * price * e["impact"] * math.sqrt(wanted * price)))
        return sum(piece * price for piece, price in pieces) / q

    def deal(self, q, reference, price):
        """Cash for a market order of q; returns fee and cost of price."""
        fee = self.rules.fee * abs(q) * price
        self.cash -= q * price + fee
        cost = q * (price - reference)
        for name, value in (("fees", fee), ("slippage", cost), ("traded", abs(q) * price)):
            self.flow[name] += value
        return fee, cost

    def leave(self, place, reference, when, why, e):
        p = self.held.pop(place)
        side = 1 if p["q"] > 0 else -1
        price = self.price(place[0], -side, reference, abs(p["q"]) * reference, e, abs(p["q"]))
        e["gone"][-side] += abs(p["q"])
        fee, cost = self.deal(-p["q"], reference, price)
        gross = p["q"] * (reference - p["reference"])
        fees, costs = fee + p["fee"], cost + p["cost"]
        self.trades.append(
            {
                "symbol": place[0],
                "side": side,
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
        self.rest[place] = when + self.rules.cooldown

    def enter(self, place, side, notional, reference, when, why, e, said):
        r, i = self.rules, place[0]
        price = self.price(i, side, reference, notional, e, notional / reference)
        if price <= 0:
            return
        worth = self.equity()
        room = max(r.leverage * worth - self.used(), 0)
        most = room / (reference + r.leverage * (abs(price - reference) + r.fee * price))
        least = max(r.min_notional, 1e-9 * worth)
        q = self.whole(i, min(notional / price, most))
        if q <= 0 or q * reference < least:
            return
        if e["book"] is not None:
            there = max(sum(size for _, size in e["book"][side > 0]) - e["gone"][side], 0.0)
            if q > there:
                q = self.whole(i, there)
                if q * reference < least:
                    said[place] = "too_thin"
                    return
        price = self.price(i, side, reference, min(q * reference, notional), e, q)
        e["gone"][side] += q
        fee, cost = self.deal(side * q, reference, price)
        self.held[place] = {
            "q": side * q,
            "price": price,
            "reference": reference,
            "fee": fee,
            "cost": cost,
            "funding": 0.0,
            "entry_time": when,
            "clock": when,
            "blind": 0,
            "why": why,
        }
        self.mark[place] = reference

    def whole(self, i, q):
        step = self.venue.lot[i]
        return math.floor(q / step + EPS) * step if step else q

    # -- one moment ---------------------------------------------------------------------------

    @staticmethod
    def dead(e):
        return not e["volume"] or (e["book"] is not None and not all(e["book"]))

    def arrive(self, place, e, said):
        """Fill the order of a place, if it has arrived."""
        opened, time = e["opened"], e["time"]
        self.fund(place, opened)
        if place not in self.orders:
            return
        arrival = self.orders[place]["arrival"]
        if self.dead(e) or arrival >= time:
            said[place] = "waiting"
            return
        o, when, reference = self.orders.pop(place), opened, e["open"]
        if arrival > opened:
            when = arrival
            reference += (e["close"] - e["open"]) * (arrival - opened) / (time - opened)
        reference = reference if e["book"] is None else self.mid(e)
        self.fund(place, when)
        if place in self.held:
            self.leave(place, reference, when, o["why"], e)
        elif self.state and not self.ruined:
            said[place] = "risk_halt"
        if o["side"] and not self.ruined and not self.state:
            why = "entry" if o["why"] == "horizon" else o["why"]
            self.enter(place, o["side"], o["notional"], reference, when, why, e, said)

    def inside(self, place, e):
        r, p = self.rules, self.held[place]
        side, late = (1 if p["q"] > 0 else -1), p["entry_time"] > e["opened"]
        begin = p["reference"] if late else e["open"]
        worst, best = (e["low"], e["high"]) if side > 0 else (e["high"], e["low"])
        best = e["close"] if late else best
        broke = p["price"] * (r.liquid_long if side > 0 else r.liquid_short)
        for word, level in (("liquidation", broke), ("stop", p["price"] * (1 - side * r.stop))):
            if side * (worst - level) <= 0:
                return word, begin if side * (begin - level) < 0 else level
        take = p["price"] * (1 + side * r.take)
        return ("take", take) if side * (best - take) >= 0 else (None, None)

    def limits(self, opened, worth):
        """Whether a limit is met at this close, and what follows for orders on their way."""
        r, day = self.rules, opened // DAY
        if not math.isinf(min(r.daily_loss, r.drawdown)):
            if self.day is None or day > self.day:
                self.day, self.began = day, self.worth
                if self.limited and r.resume:
                    self.limited, self.peak = 0, self.worth
            self.peak = max(self.peak, worth)
            floors = [0.0]
            floors += [] if math.isinf(r.daily_loss) else [self.began * (1 - r.daily_loss)]
            floors += [] if math.isinf(r.drawdown) else [self.peak * (1 - r.drawdown)]
            if worth <= max(floors):
                self.limited = r.on_limit
        self.worth = worth

    def withdraw(self, said):
        for place, o in list(self.orders.items()):
            if o["side"] and place in self.held:
                o["side"] = 0
            elif o["side"]:
                del self.orders[place]
                if said.get(place) == "waiting":
                    said[place] = "risk_halt"

    def moment(self, time, events):
        """Events of one time, in symbol order; returns their reasons."""
        self.flow = {"fees": 0.0, "slippage": 0.0, "funding": 0.0, "traded": 0.0}
        said = {}
        now = [(i, lane) for lane in range(self.rules.overlap) for i in events]
        for place in now:
            self.arrive(place, events[place[0]], said)
        for place in now:
            e = events[place[0]]
            if place in self.held:
                self.mark[place] = e["open"]
                self.fund(place, time - 1)
                reason, price = self.inside(place, e)
                if reason and not self.dead(e):
                    said[place] = reason
                    self.leave(place, price, time, reason, e)
                    if not self.orders.get(place, {"side": 1})["side"]:
                        del self.orders[place]
            self.mark[place] = e["close"]
            self.fund(place, time)
        worth = self.equity()
        self.limits(next(iter(events.values()))["opened"], worth)
        self.ruined = self.ruined or worth <= 0
        if self.state:
            self.withdraw(said)
        return {i: self.close(i, e, time, worth, said) for i, e in events.items()}

    def close(self, i, e, time, worth, said):
        places = [place for place in self.places if place[0] == i]
        if len(places) == 1:
            return self.alone(places[0], e, time, worth, said)
        return self.together(places, e, time, worth, said)

    def send(self, place, why, side, notional, time):
        arrival = time + self.rules.latency
        self.orders[place] = {"why": why, "side": side, "notional": notional, "arrival": arrival}
        return why

    def empty(self, rest, e):
        """Why there is no entry, or which side it takes."""
        if self.ruined:
            return "risk_halt"
        if rest or self.mute(e["time"]):
            return "resting"
        if not self.known(e):
            return "stale_data"
        return ("risk_halt" if self.state else self.wish(e)) if self.wish(e) else "no_edge"

    def alone(self, place, e, time, worth, said):
        r, p = self.rules, self.held.get(place)
        if place in said:
            return said[place]
        if p is None:
            side = self.empty(self.rest.get(place, time) > time, e)
            asked = self.ask(place, side, e, worth) if isinstance(side, int) else side
            return asked if isinstance(asked, str) else self.send(place, "entry", side, asked, time)
        if self.ruined:
            return self.send(place, "risk_halt", 0, 0, time)
        side, wish, known = (1 if p["q"] > 0 else -1), self.wish(e), self.known(e)
        if self.mute(time):
            why = self.overdue(place, e, time)
            return self.send(place, why, 0, 0, time) if why else "hold" if known else "stale_data"
        over = bool(r.hold) and time - p["clock"] >= r.hold
        against = {
            "threshold": side * e["forecast"] < -r.leave,
            "quantile": wish == -side,
            "probability": over and wish == -side,
            "follow": side * e["forecast"] < 0,
        }[self.kind]
        if against:
            asked = "no"
            if wish == -side and not r.cooldown and not self.state:
                asked = self.ask(place, wish, e, worth)
            if isinstance(asked, str):
                return self.send(place, "reversal", 0, 0, time)
            return self.send(place, "reversal", wish, asked, time)
        if over and wish != side:
            return self.send(place, "horizon", 0, 0, time)
        if self.kind == "quantile" and not r.hold and not wish:
            return self.send(place, "no_edge" if known else "stale_data", 0, 0, time)
        if self.kind == "follow" and known and not wish:
            return self.send(place, "no_edge", 0, 0, time)
        why = self.overdue(place, e, time)
        if why:
            return self.send(place, why, 0, 0, time)
        if over and known:
            p["clock"] = time
        return "hold" if known else "stale_data"

    def together(self, places, e, time, worth, said):
        """Several places of one symbol: exits first, then one entry; the first reason told."""
        r, gone, seats, leaves = self.rules, [], [], False
        told = [said[p] for p in places if p in said and said[p] != "waiting"]
        exits, held = [], False
        for place in places:
            p = self.held.get(place)
            why = None
            if place in said:
                exits += [said[place]] if said[place] != "waiting" else []
            elif p is None:
                seats.append(place)
            elif self.ruined:
                why = "risk_halt"
            elif time - p["clock"] >= r.hold and not self.mute(time):
                why = "horizon"
                gone.append(place)
            else:
                why = self.overdue(place, e, time)
                held = held or not why
            if why:
                exits.append(self.send(place, why, 0, 0, time))
                leaves = True
        assert set(told) <= set(exits)
        rest = any(self.rest.get(place, time) > time for place in places)
        side, seat = self.empty(rest, e), next(iter(gone + seats), None)
        refusal, free = side, seat is not None and not (leaves and r.cooldown)
        if isinstance(side, int):
            refusal = None
            if free:
                asked = self.ask(seat, side, e, worth)
                if not isinstance(asked, str):
                    self.send(seat, "horizon" if seat in gone else "entry", side, asked, time)
                    return "entry"
                refusal = asked
        if exits:
            return exits[0]
        if "waiting" in [said.get(p) for p in places]:
            return "waiting"
        if refusal in ("full", "too_small") or (refusal == "risk_halt" and free):
            return refusal
        if held:
            return "hold" if self.known(e) else "stale_data"
        return refusal


def sides(levels):
    return [(price, size) for price, size in levels.tolist() if size > 0]


def play(arrays, n, rules, venue, capital, extra=None, asked=None):
    """Run the twin; returns reasons, positions, a table per time, trades.

    `asked` are states that someone asks for, by the time of the first moment that knows of it.
    """
    names = ("time", "symbol", "open", "high", "low", "close", "volume", "forecast", "bin")
    events = [dict(zip(names, (x.item() for x in row))) for row in zip(*arrays)]
    for k, e in enumerate(events):
        e["opened"] = e["time"] - rules.interval
        for name in ("sigma", "half_spread", "impact"):
            e[name] = float(extra[name][k]) if extra else 0.0
        books = (extra or {}).get("levels")
        e["book"] = None if books is None else [sides(side) for side in books[k]]
        e["gone"] = {1: 0.0, -1: 0.0}
    twin = Twin(n, rules, venue, capital)
    reasons, positions, curve = [], [], []
    for time in sorted({e["time"] for e in events}):
        now = {e["symbol"]: e for e in events if e["time"] == time}
        twin.asked = (asked or {}).get(time, twin.asked)
        why = twin.moment(time, now)
        reasons += [why[i] for i in now]
        positions += [twin.position(i) for i in now]
        marked = twin.cash + sum(p["q"] * twin.mark[place] for place, p in twin.held.items())
        curve.append({"time": time, "equity": marked, "state": twin.state, **twin.flow})
    last = {e["symbol"]: k for k, e in enumerate(events)}
    for place in sorted(twin.held, key=lambda p: (-last[p[0]], p[1])):
        k = last[place[0]]
        events[k]["gone"] = events[k].pop("end", {1: 0.0, -1: 0.0})
        twin.leave(place, twin.mark[place], events[k]["time"], "end", events[k])
        events[k]["end"] = events[k]["gone"]
        reasons[k], positions[k] = "end", 0.0
    if curve:
        curve[-1] |= {"equity": twin.equity(), **twin.flow}
    return reasons, positions, curve, twin.trades
