"""The score: every leak through the pipeline once, every guard's answer, and clean runs beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any, NamedTuple

import polars as pl

from research import scores
from research.audit.guards import GUARDS, Alarm, Seen, alarms, law, look
from research.audit.mutations.small import VARIANTS, market, own_store
from research.audit.mutations.switch import MUTATIONS, Mutation, inject, named
from research.store import cards
from research.study import Study, read

Progress = Callable[[int, int, str], None]
SEED = 7
"""Of the market that leaks are tried on: without them ridge scores an IC of -0.000 in it."""


class Result(NamedTuple):
    """What a run claims and leaves."""

    ic: float | None
    net: float | None
    print: str
    """Fingerprint of all its tables."""
    alarms: list[Alarm]


def run(
    study: Study | str | None = None,
    *,
    only: Sequence[str] | None = None,
    clean: int = 20,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Let every leak into the pipeline once and see which guard raises an alarm.

    Parameters
    ----------
    study : Study or str, optional
        A study, or the name of one, on bars of a clock; its bars are brought into a store of its
        own for each leak. Absent: the small market of `market`, without an edge.
    only : sequence of str, optional
        Names of `MUTATIONS`; all when absent.
    clean : int
        Runs without a leak, in which any alarm is false: small markets of as many seeds, that
        differ in learner, labels, folds and rule too (`VARIANTS`).
    progress : callable, optional
        Takes (done, total, label) after each run.

    Returns
    -------
    dict
        JSON values. ``caught, missed, false_alarms``: lists of names (a false alarm is named
        ``clean-7: guard``). ``without_effect``: leaks that changed nothing in this study, and so
        are neither. ``mutations``: a row for each, with what it does, the guards that caught it,
        the first one's evidence, and IC and net return without and with it. ``guards``: of each,
        what it holds true, how many it caught, and those that it alone caught: without it they
        pass. ``clean``: how many clean runs there were.

    Raises
    ------
    UserError
        If there is no such study or mutation.

    Notes
    -----
    The IC is the mean daily rank IC of `scores.ic`, as a report claims it.
    """
    chosen = [named(name) for name in (only if only is not None else MUTATIONS)]
    total, done = len(chosen) + clean, 0
    honest: dict[str, Result] = {}
    rows, false = [], []
    for each in chosen:
        key = cards.digest(each.needs)
        if key not in honest:
            honest[key] = _result(study, SEED, each.needs)
        rows.append(_row(each, honest[key], _result(study, SEED, each.needs, each.name)))
        done = _tell(progress, done, total, each.name)
    for k in range(clean):
        found = _result(None, 1 + k, VARIANTS[k % len(VARIANTS)])
        false += [f"clean-{k + 1}: {a.guard}: {a.evidence}" for a in found.alarms]
        done = _tell(progress, done, total, f"clean {k + 1}")
    false += [
        f"honest: {a.guard}: {a.evidence}" for a in chain(*(h.alarms for h in honest.values()))
    ]
    return _summed(rows, false, clean)


def _tell(progress: Progress | None, done: int, total: int, label: str) -> int:
    if progress is not None:
        progress(done + 1, total, label)
    return done + 1


def _result(
    study: Study | str | None, seed: int, options: dict[str, Any], leak: str | None = None
) -> Result:
    """Take one study through the pipeline in a store of its own, and ask the guards about it."""
    leaking = inject(leak) if leak else nullcontext()
    with _study(study, seed, options) as (chosen, minutes), leaking:
        seen = look(chosen, minutes)
        found = alarms(seen)
    return Result(_ic(seen), _net(seen), _fingerprint(seen), found)


@contextmanager
def _study(
    study: Study | str | None, seed: int, options: dict[str, Any]
) -> Iterator[tuple[Study, pl.DataFrame | None]]:
    if study is None:
        with market(seed, **options) as made:
            yield made
        return
    asked = read(study) if isinstance(study, str) else study
    with own_store(keep_bars=asked.data.source in ("binance", "polygon")):
        yield asked.with_options(options), None


def _ic(seen: Seen) -> float | None:
    if seen.forecasts.is_empty():
        return None
    return scores.ic(seen.forecasts, horizon=seen.study.labels.horizon, draws=100).ic


def _net(seen: Seen) -> float | None:
    return None if seen.backtest is None else float(seen.backtest.summary["net_return"])


def _fingerprint(seen: Seen) -> str:
    tables = [
        seen.bars,
        seen.features,
        seen.labels,
        seen.folds.table(),
        seen.forecasts,
        seen.binned,
    ]
    if seen.backtest is not None:
        tables += [seen.backtest.trades, seen.backtest.equity]
    return cards.digest([cards.fingerprint(table) for table in tables if table.width])


def _row(each: Mutation, honest: Result, leaking: Result) -> dict[str, Any]:
    same = honest.print == leaking.print
    before = {a.guard for a in honest.alarms}  # what rang without the leak did not catch it
    caught = [a for a in leaking.alarms if a.guard not in before]
    return {
        "mutation": each.name,
        "does": each.does,
        "place": each.place,
        "effect": not same,
        "guards": [a.guard for a in caught],
        "evidence": caught[0].evidence if caught else None,
        "ic_before": honest.ic,
        "ic_after": leaking.ic,
        "net_before": honest.net,
        "net_after": leaking.net,
    }


def _summed(rows: list[dict[str, Any]], false: list[str], clean: int) -> dict[str, Any]:
    caught = [row["mutation"] for row in rows if row["guards"]]
    idle = [row["mutation"] for row in rows if not row["guards"] and not row["effect"]]
    alone = {name: _alone(rows, name) for name in GUARDS}
    return {
        "caught": caught,
        "missed": [r["mutation"] for r in rows if r["mutation"] not in (*caught, *idle)],
        "false_alarms": false,
        "without_effect": idle,
        "clean": clean,
        "mutations": rows,
        "guards": [
            {
                "guard": name,
                "law": law(name),
                "caught": sum(name in row["guards"] for row in rows),
                "alone": alone[name],
            }
            for name in GUARDS
        ],
    }


def _alone(rows: list[dict[str, Any]], name: str) -> list[str]:
    """Return the leaks that pass when one guard is removed."""
    return [row["mutation"] for row in rows if row["guards"] == [name]]


def text(found: dict[str, Any]) -> str:
    """Return what a terminal shows of `run`'s result."""
    lines = [f"{'leak':24} {'IC':>15} {'net %':>15}  caught by"]
    for row in found["mutations"]:
        ic = _pair(row["ic_before"], row["ic_after"], "{:.3f}", 1)
        net = _pair(row["net_before"], row["net_after"], "{:.1f}", 100)
        lines.append(f"{row['mutation']:24} {ic:>15} {net:>15}  {', '.join(row['guards']) or '-'}")
        lines.append(f"    {row['does']}")
        if row["evidence"]:
            lines.append(f"    {row['evidence']}")
    lines += ["", *_guard_lines(found), "", _verdict(found)]
    return "\n".join([*lines, *(f"false alarm: {line}" for line in found["false_alarms"])])


def _pair(before: float | None, after: float | None, form: str, unit: int) -> str:
    said = ("-" if value is None else form.format(unit * value) for value in (before, after))
    return " > ".join(said)


def _guard_lines(found: dict[str, Any]) -> list[str]:
    lines = ["Without this guard alone, these leaks pass:"]
    for row in found["guards"]:
        lines.append(f"{row['guard']:14} {', '.join(row['alone']) or '- (others see it too)'}")
    return lines


def _verdict(found: dict[str, Any]) -> str:
    total = len(found["mutations"])
    missed = f"; missed: {', '.join(found['missed'])}" if found["missed"] else ""
    idle = found["without_effect"]
    quiet = f"; without effect here: {', '.join(idle)}" if idle else ""
    return (
        f"{len(found['caught'])} of {total} leaks caught{missed}{quiet}; "
        f"{len(found['false_alarms'])} false alarms in {found['clean']} clean runs"
    )
