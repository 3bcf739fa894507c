"""A user's own features: a polars expression or a pandas function, from a file or a cell."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from research import schema
from research.errors import UserError, nearest
from research.features import cross, source
from research.features.kernels import evaluated
from research.features.sets import Feature, FeatureSet

if TYPE_CHECKING:
    import pandas as pd

STUDIES = Path(__file__).resolve().parents[2] / "studies"
_TRIAL_ROWS = (3_000, 40_000)  # the longer one for features that begin late


def load(word: str, *, folder: Path | None = None) -> tuple[str, Feature]:
    """Load the feature that a study calls ``"module:name"``.

    Parameters
    ----------
    word : str
        File (without ``.py``) and the name in it: a `pl.Expr`, a function without required
        arguments that returns one, or a pandas function ``f(bars) -> Series``.
    folder : Path, optional
        Where the file lies; absent: ``studies/`` of the project.

    Returns
    -------
    tuple of str and Feature
        Column name and feature, in group ``"extra"``.

    Raises
    ------
    UserError
        If there is no such file or name, the file does not run, or the name is something else.
    """
    module_name, colon, name = word.partition(":")
    if not (colon and module_name.isidentifier() and name.isidentifier()):
        raise UserError(f"feature {word!r}: expected 'module:name', as in 'my_features:mine'.")
    path = (folder or STUDIES) / f"{module_name}.py"
    names, text = _run(word, path)
    if name not in names:
        known = [n for n, value in names.items() if callable(value) or isinstance(value, pl.Expr)]
        raise UserError(
            f"feature {word!r}: {path.name} has no {name!r}.{nearest(name, known)} "
            f"Features there: {', '.join(known) or 'none'}."
        )
    return name, feature(name, names[name], code=f"{name} {source.plain(text)}")


def feature(name: str, thing: Any, *, code: str | None = None) -> Feature:
    """Make a `Feature` of what a user wrote.

    Parameters
    ----------
    name : str
        How errors call it.
    thing : pl.Expr or callable
        As in `load`.
    code : str, optional
        What its values depend on where the expression alone does not say it.

    Returns
    -------
    Feature
        Float64; NaN and infinity (a division by zero) become null, true and false 1 and 0.

    Raises
    ------
    UserError
        If `thing` is neither.

    Examples
    --------
    >>> bars = pl.DataFrame({"open": [1.0, 2.0], "close": [1.5, 2.0]})
    >>> body = feature("body", pl.col("close") - pl.col("open"))
    >>> bars.select(body.expr.alias("body"))["body"].to_list()
    [0.5, 0.0]
    """
    made = thing
    if callable(thing) and _required_arguments(name, thing) == 0:
        made = _called(name, thing)
    if isinstance(made, pl.Expr):
        text = source.of_expr(made) or code or source.of_function(thing)
        expr = made.cast(pl.Float64).map_batches(_finite, return_dtype=pl.Float64)
        return Feature(expr, "extra", text)
    if callable(made) and _required_arguments(name, made) == 1:
        expr = pl.map_batches(
            [pl.col(c) for c in schema.BARS], partial(_pandas, name, made), return_dtype=pl.Float64
        )
        return Feature(expr, "extra", code or source.of_function(made))
    raise UserError(
        f"feature {name!r}: expected a polars expression, a function that returns one, or a pandas "
        f"function f(bars) -> Series; found {_kind(made)}."
    )


def _finite(column: pl.Series) -> pl.Series:
    known = column.is_finite().fill_null(True)
    return column if known.all() else column.set(~known, None)


def try_out(name: str, candidate: Feature) -> None:
    """Evaluate a user's feature on a canonical series and refuse it if it cannot be used.

    Raises
    ------
    UserError
        If it needs a column that bars do not have, raises, returns another length or type, or
        looks ahead.
    """
    from research.features.causality import causality
    from research.features.warmup import canonical

    minute = timedelta(minutes=1)
    check_usable(name, candidate)
    alone = FeatureSet(name, "0", {name: candidate})
    for rows in _TRIAL_ROWS:
        bars = canonical(rows, interval=minute, symbols=3 if alone.cross else 1)
        verdict = causality(bars, alone, interval=minute, cuts=4, rows=rows)
        if verdict["causal"][0] is False:
            raise UserError(
                f"feature {name!r} looks ahead: its value changed at {verdict['first'][0]}. "
                "Use only this bar and earlier ones (shift(1), rolling), never shift(-1) or a "
                "mean over everything."
            )
        if verdict["causal"][0]:
            return
    raise UserError(f"feature {name!r}: gives no value in {_TRIAL_ROWS[-1]:,} bars.")


def check_usable(name: str, candidate: Feature) -> None:
    """Evaluate a user's feature on a canonical series; raise `UserError` if that fails."""
    from research.features.warmup import canonical

    asked = cross.named_in(candidate.expr.meta.root_names())
    bars = canonical(_TRIAL_ROWS[0], interval=timedelta(minutes=1), symbols=3 if asked else 1)
    bars = cross.columns(bars, asked)
    try:
        table = evaluated(bars, [pl.col("time"), candidate.expr.alias(name)])
    except UserError:
        raise
    except pl.exceptions.ColumnNotFoundError:
        wanted = [c for c in candidate.expr.meta.root_names() if c not in schema.BARS]
        raise UserError(
            f"feature {name!r}: bars have no column {', '.join(map(repr, wanted))}."
            f"{nearest(wanted[0], list(schema.BARS)) if wanted else ''} "
            f"Columns: {', '.join(schema.BARS)}."
        ) from None
    except pl.exceptions.ShapeError:
        raise UserError(f"feature {name!r}: must give one value per bar.") from None
    except pl.exceptions.PolarsError as error:
        message = str(error).partition("\n")[0]
        raise UserError(f"feature {name!r}: cannot be evaluated to numbers: {message}") from error
    if table.height != bars.height:
        raise UserError(
            f"feature {name!r}: must give one value per bar, "
            f"gave {table.height} values for {bars.height} bars."
        )


def _run(word: str, path: Path) -> tuple[dict[str, Any], str]:
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.py"))
        raise UserError(
            f"feature {word!r}: no file {path.name} in {path.parent.name}/."
            f"{nearest(path.stem, known)} Files there: {', '.join(known) or 'none'}."
        )
    spec = spec_from_file_location(f"studies.{path.stem}", path)
    assert spec is not None and spec.loader is not None  # a .py file always has both
    module = module_from_spec(spec)
    # run anew each time, from the text on disk: a user edits the file beside an open notebook
    text = path.read_text(encoding="utf8")
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    except Exception as error:
        line = getattr(error, "lineno", None) or _line(error, path)
        where = f", line {line}" if line else ""
        raise UserError(
            f"feature {word!r}: {path.name}{where} does not run: {type(error).__name__}: {error}"
        ) from error
    return {n: v for n, v in vars(module).items() if not n.startswith("_")}, text


def _line(error: BaseException, path: Path | None = None) -> int | None:
    """Return the line of the innermost frame (in `path`, if given) that raised."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if path is None or trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _required_arguments(name: str, thing: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError) as error:
        raise UserError(f"feature {name!r}: {_kind(thing)} cannot be used as a feature.") from error
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)


def _called(name: str, factory: Callable[[], Any]) -> Any:
    try:
        made = factory()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"feature {name!r}: raised {type(error).__name__}: {error}") from error
    if not isinstance(made, pl.Expr):
        raise UserError(
            f"feature {name!r}: a function without arguments must return a polars expression, "
            f"returned {_kind(made)}. A pandas function takes one argument, the bars."
        )
    return made


def _pandas(name: str, function: Callable[..., Any], columns: Sequence[pl.Series]) -> pl.Series:
    """Call a pandas function on one symbol's window and check what comes back."""
    bars = schema.to_pandas(pl.DataFrame(columns))
    index = bars.index
    try:
        result = function(bars)
    except UserError:
        raise
    except Exception as error:
        line = (
            _line(error, Path(function.__code__.co_filename)) if inspect.isfunction(function) else 0
        )
        raise UserError(
            f"feature {name!r}: raised {type(error).__name__}: {error}"
            + (f" (line {line} of its source)." if line else ".")
        ) from error
    return _numbers(name, result, index)


def _numbers(name: str, result: Any, index: pd.Index) -> pl.Series:
    import numpy as np
    import pandas as pd

    if not isinstance(result, pd.Series):
        raise UserError(f"feature {name!r}: must return a pandas Series, returned {_kind(result)}.")
    if len(result) != len(index):
        raise UserError(
            f"feature {name!r}: must give one value per bar, "
            f"gave {len(result)} values for {len(index)} bars. Do not drop rows; leave NaN."
        )
    if not result.index.equals(index):
        raise UserError(
            f"feature {name!r}: must keep the index of the bars it was given, in order."
        )
    if not (
        pd.api.types.is_numeric_dtype(result.dtype) or pd.api.types.is_bool_dtype(result.dtype)
    ):
        raise UserError(f"feature {name!r}: must give numbers, gave {result.dtype}.")
    values = result.to_numpy(dtype=np.float64, na_value=np.nan)
    return _finite(pl.Series(values))


def _kind(thing: Any) -> str:
    return f"a {type(thing).__name__}" if not inspect.isfunction(thing) else f"{thing.__name__}()"
