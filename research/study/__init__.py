"""The typed study: every setting of one experiment, read from TOML, YAML or JSON.

A study file says only what differs from the defaults below. Unknown keys are refused with the
nearest known name, and a number with a unit is written with it (``"8 bps"``, ``"15 min"``).
Only the roof and notebooks read a study; a room is handed the numbers it needs.

>>> study = read("demo", {"costs.fee": "2 bps"})
>>> study.costs.fee, study.labels.horizon
(0.0002, datetime.timedelta(seconds=600))
"""

from __future__ import annotations

import html
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from research.errors import UserError, nearest
from research.study import fees
from research.study.kinds import Count, Section
from research.study.operating import Jobs
from research.study.running import Live, Retrain, Risk
from research.study.sections import (
    LEARNERS,
    Backtest,
    Costs,
    Data,
    Evaluation,
    Features,
    Labels,
    Model,
    Simulated,
    SimulatedFlow,
    Sizing,
    Validation,
)

__all__ = ["LEARNERS", "ROOT", "Section", "Study", "find", "literal", "names", "read"]

ROOT = Path(__file__).resolve().parent.parent.parent


class Study(Section):
    """One experiment, whole."""

    name: str = "study"
    question: str = ""
    twin: str | None = None
    """The same idea with other settings: a report puts the newest runs of both side by side."""
    seed: int = 42
    threads: Count = 1
    workers: Count = 1
    """Processes that train folds side by side; the models are the same, byte for byte."""
    data: Data = Data()
    simulated: Simulated = Simulated()
    simulated_flow: SimulatedFlow = SimulatedFlow()
    features: Features = Features()
    labels: Labels = Labels()
    validation: Validation = Validation()
    model: Model = Model()
    evaluation: Evaluation = Evaluation()
    backtest: Backtest = Backtest()
    sizing: Sizing = Sizing()
    costs: Costs = Costs()
    risk: Risk = Risk()
    retrain: Retrain = Retrain()
    live: Live = Live()
    jobs: Jobs = Jobs()

    @property
    def spot(self) -> bool:
        """Whether the market can only be held long: nothing is borrowed to be sold."""
        return self.data.market == "spot" or self.data.source in ("kraken", "polygon")

    @property
    def feed(self) -> str:
        """Where bars come from in paper trading."""
        if self.live.feed != "auto":
            return self.live.feed
        return self.data.source if self.data.source in ("simulated", "kraken") else "binance"

    @property
    def venue(self) -> str:
        """Which venue is traded: ``binance``, ``bybit`` or ``kraken``; a simulated one is like it.

        >>> Study().venue, read("trend_kraken").venue
        ('binance', 'kraken')
        """
        said = (self.live.venue, self.live.feed, self.data.source, self.data.venue)
        return next((place for place in said if place in fees.VENUES), "binance")

    @property
    def schedule(self) -> str:
        """By which of `fees.SCHEDULES` fills are charged."""
        return self.costs.venue or fees.schedule(self.venue, spot=self.spot)

    @property
    def fee(self) -> float:
        """What each fill is charged, as a fraction of its notional."""
        return self.costs.charged(self.schedule)

    def settings(self) -> dict[str, Any]:
        """Every setting by its dotted name, in the form a study file writes it."""
        plain = self.model_dump(mode="json")
        flat = {k: v for k, v in plain.items() if not isinstance(v, dict)}
        for section in (k for k, v in plain.items() if isinstance(v, dict)):
            flat |= {f"{section}.{key}": value for key, value in plain[section].items()}
        return flat

    def tried(self) -> dict[str, Any]:
        """Every setting, and whose fees are charged where that follows from how the study runs."""
        charged = self.costs.fee is None and self.venue != "binance"
        return self.settings() | ({"costs.venue": self.schedule} if charged else {})

    def changed(self) -> dict[str, Any]:
        """Only the settings that differ from the defaults."""
        usual = Study().settings()
        return {key: value for key, value in self.settings().items() if usual[key] != value}

    def with_options(self, options: dict[str, Any]) -> Study:
        """Return the study with dotted `options` set, as ``-o section.key=value`` does."""
        return _build(self.model_dump(mode="json"), options, self.name)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'><code>{key}</code></td>"
            f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
            for key, value in self.changed().items()
            if key not in ("name", "question")
        )
        return (
            f"<b>study {html.escape(self.name)}</b>: {html.escape(self.question)}"
            f"<table>{rows}</table><small>all else as by default: "
            "<code>study.settings()</code></small>"
        )


def read(name: str | Path, options: dict[str, Any] | None = None) -> Study:
    """Read the study called `name` and set `options` in it.

    Parameters
    ----------
    name : str or Path
        A file in ``studies/`` without its ending, or a path to a TOML, YAML or JSON file.
    options : dict of str to value, optional
        Dotted settings that win over the file, such as ``{"validation.train": "14 d"}``.

    Returns
    -------
    Study
        Frozen.

    Raises
    ------
    UserError
        If there is no such study, a key is unknown, or a value is not of its kind.
    """
    if not isinstance(name, (str, Path)):
        raise UserError(f"study: expected a name or a path, found {name!r}.")
    if not isinstance(options or {}, dict):
        raise UserError(f"options: expected a dict such as {{'seed': 1}}, found {options!r}.")
    path = find(name)
    return _build(_parse(path), options or {}, path.stem)


def literal(text: str) -> Any:
    """Read a value given as text: JSON where it is JSON, else the text itself.

    >>> literal("5"), literal("5 min"), literal('["A", "B"]')
    (5, '5 min', ['A', 'B'])
    """
    try:
        return json.loads(text)
    except ValueError:
        return text


def find(name: str | Path) -> Path:
    """Return the file of the study called `name`."""
    for path in (Path(name), *(ROOT / "studies" / f"{name}{end}" for end in _PARSERS)):
        if path.suffix in _PARSERS and path.is_file():
            return path
    known = names()
    raise UserError(
        f"study {str(name)!r}: no such study.{nearest(str(name), known)} "
        f"Here: {', '.join(known)}; or give the path of a .toml, .yaml or .json file."
    )


def names() -> list[str]:
    """List the studies in ``studies/``."""
    return sorted(p.stem for p in (ROOT / "studies").glob("*") if p.suffix in _PARSERS)


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = _PARSERS[path.suffix](path.read_text(encoding="utf8"))
    except ValueError as error:
        raise UserError(
            f"study {path.name}: cannot be read as {path.suffix[1:]}: {error}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"study {path.name}: expected tables of settings, found {type(content).__name__}."
        )
    return content


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".toml": tomllib.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": json.loads,
}


def _build(settings: dict[str, Any], options: dict[str, Any], name: str) -> Study:
    merged = {
        "name": name,
        **{k: dict(v) if isinstance(v, dict) else v for k, v in settings.items()},
    }
    for key, value in options.items():
        section, _, leaf = key.partition(".")
        if leaf:
            group = merged.setdefault(section, {})
            known = Study.model_fields.get(section)
            if not isinstance(group, dict) or (known and not isinstance(known.default, Section)):
                raise UserError(
                    f"study {name}: {section!r} is a setting, not a section of settings."
                )
            _set(group, leaf, value)
        else:
            merged[section] = value
    try:
        return Study.model_validate(merged)
    except ValidationError as error:
        raise UserError("\n".join(_explain(e, name) for e in error.errors()[:3])) from None


def _set(group: dict[str, Any], leaf: str, value: Any) -> None:
    head, _, rest = leaf.partition(".")  # features.groups.rsi is one level deeper
    if rest:
        _set(group.setdefault(head, {}), rest, value)
    else:
        group[head] = value


def _explain(error: Any, name: str) -> str:
    path = [str(part) for part in error["loc"] if not str(part).startswith("function-")]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        hint = nearest(key, list(Study().settings())) or nearest(key, list(Study.model_fields))
        return f"study {name}: unknown key {key!r}.{hint}"
    cause = error.get("ctx", {}).get("error")
    message = str(cause) if isinstance(cause, UserError) else error["msg"]
    found = "" if isinstance(error["input"], (dict, Section)) else f", found {error['input']!r}"
    return f"study {name}: {key}: {message}" + ("" if isinstance(cause, UserError) else found)
