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
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from research import units
from research.errors import UserError, nearest

ROOT = Path(__file__).resolve().parent.parent

Fraction = Annotated[float, BeforeValidator(units.fraction)]
Duration = Annotated[timedelta, BeforeValidator(units.duration), PlainSerializer(units.show)]
Pause = Annotated[timedelta, BeforeValidator(units.pause), PlainSerializer(units.show)]
Count = Annotated[int, Field(ge=1)]


def _moment(value: Any) -> datetime:
    """Read a day or a moment as UTC; ``2025-05-01`` is its first instant."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UserError(f"{value!r}: expected a day or a moment, as in 2025-05-01.") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


Moment = Annotated[datetime, BeforeValidator(_moment)]


class Section(BaseModel):
    """One table of a study file: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Data(Section):
    """Where bars come from and which of them are used."""

    source: Literal["simulated", "files", "binance"] = "simulated"
    path: str | None = None
    """For `files`: a file, a folder or a glob; relative to where the command is given."""
    venue: str = "binance"
    market: Literal["um", "cm", "spot"] = "um"
    symbols: list[str] | None = None
    """Absent: every symbol that the source holds."""
    start: Moment | None = None
    end: Moment | None = None
    interval: Duration = timedelta(minutes=1)
    archive: str = "https://data.binance.vision"
    """For `binance`: where daily and monthly zips are served; a mirror may be named."""
    rest: str | None = None
    """For `binance`: the REST interface. Absent: the market's own."""

    @model_validator(mode="after")
    def _agree(self) -> Data:
        if self.start and self.end and self.end <= self.start:
            raise UserError(f"end {self.end:%Y-%m-%d} must lie after start {self.start:%Y-%m-%d}.")
        if self.source == "files" and not self.path:
            raise UserError("source 'files' needs data.path: a file, a folder or a glob.")
        return self


class Simulated(Section):
    """The simulated market: how much of it, and the edge planted in it."""

    symbols: Count = 5
    days: Count = 84
    ic: Annotated[float, Field(ge=0, le=0.3)] = 0.07
    """Information coefficient that a perfect forecast has; 0 is a market without any edge."""
    horizon: Duration = timedelta(minutes=10)
    half_life: Duration = timedelta(minutes=10)
    seed: int = 1


class Features(Section):
    """The feature set, its groups switched on or off, and the user's own columns."""

    set: str = "S2"
    groups: dict[str, bool] = {}
    extra: list[str] = []
    """A user's own features, ``"my_features:mine"`` for `mine` in ``studies/my_features.py``."""


class Labels(Section):
    """What is forecast: the return over `horizon`, from the close or from the next open."""

    horizon: Duration = timedelta(minutes=10)
    entry: Literal["next_open", "close"] = "next_open"


class Validation(Section):
    """Walk-forward by time, shared by all symbols, purged by label interval plus embargo."""

    scheme: Literal["rolling", "expanding"] = "rolling"
    train: Duration = timedelta(days=30)
    test: Duration = timedelta(days=7)
    step: Duration | None = None
    """Absent: the length of `test`."""
    embargo: Pause = timedelta(0)
    inner: Annotated[float, Field(gt=0, lt=0.9)] = 0.2
    """Newest share of a training window that stops boosting early; never the test window."""


class Model(Section):
    """The learner whose forecasts are traded, and those it is compared with."""

    name: Literal["ridge", "lightgbm"] = "ridge"
    league: list[Literal["ridge", "lightgbm"]] = ["ridge", "lightgbm"]
    single: bool = False
    """Train one model per symbol instead of one for all."""
    target: Literal["scaled", "raw"] = "scaled"
    """`scaled` divides the return by its volatility, known at the forecast."""
    rounds: Count = 200
    early_stopping: Count = 30
    continue_rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds added to each stored fold model instead of training it anew; 0 trains anew."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    num_leaves: Annotated[int, Field(ge=2)] = 15
    min_data_in_leaf: Count = 500
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    alpha: Annotated[float, Field(ge=0)] = 1.0
    """Ridge penalty, in units of the number of training rows times 1e-3."""


class Evaluation(Section):
    """How forecasts are scored: quantile bins, where cut-points come from, the interval."""

    bins: Annotated[int, Field(ge=2)] = 10
    scope: Literal["trailing", "fold", "timestamp", "date", "global"] = "trailing"
    """`trailing` and `fold` are known in time; the others look back from the end (diagnostic)."""
    window: Duration = timedelta(days=3)
    horizons: list[Duration] = [timedelta(minutes=m) for m in (1, 5, 10, 30, 60)]
    draws: Annotated[int, Field(ge=100)] = 1000


class Backtest(Section):
    """The trading rule and its exits; rates are fractions of price."""

    rule: Literal["threshold", "quantile"] = "threshold"
    enter: Fraction | None = None
    """`threshold`: expected return that opens a position. Absent: the round-trip cost."""
    leave: Fraction = 0.0
    """`threshold`: opposite expected return that closes one (reversal)."""
    quantile: Count | None = None
    """`quantile`: the bin to trade. Absent: long the top bin, short the bottom one."""
    form: Literal["threshold", "exact"] = "threshold"
    """`quantile`: this bin and beyond, or this bin alone."""
    side: Literal["auto", "long", "short", "longshort"] = "auto"
    hold: Duration | None = None
    """Longest time in a position. Absent: no limit for `threshold`, the horizon for `quantile`."""
    stop: Fraction | None = None
    take: Fraction | None = None
    cooldown: Pause = timedelta(0)
    capital: Annotated[float, Field(gt=0)] = 10_000.0


class Costs(Section):
    """What trading costs, per side, as fractions of price."""

    fee: Annotated[Fraction, Field(ge=0, lt=0.1)] = 0.0005
    half_spread: Annotated[Fraction, Field(ge=0, lt=0.1)] = 0.0
    slippage: Annotated[Fraction, Field(ge=0, lt=0.1)] = 0.0001
    funding: Fraction = 0.0
    """Paid by longs every eight hours at 00, 08 and 16 UTC; negative: received."""


class Study(Section):
    """One experiment, whole."""

    name: str = "study"
    question: str = ""
    seed: int = 42
    threads: Count = 1
    data: Data = Data()
    simulated: Simulated = Simulated()
    features: Features = Features()
    labels: Labels = Labels()
    validation: Validation = Validation()
    model: Model = Model()
    evaluation: Evaluation = Evaluation()
    backtest: Backtest = Backtest()
    costs: Costs = Costs()

    def settings(self) -> dict[str, Any]:
        """Every setting by its dotted name, in the form a study file writes it."""
        plain = self.model_dump(mode="json")
        flat = {k: v for k, v in plain.items() if not isinstance(v, dict)}
        for section in (k for k, v in plain.items() if isinstance(v, dict)):
            flat |= {f"{section}.{key}": value for key, value in plain[section].items()}
        return flat

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
