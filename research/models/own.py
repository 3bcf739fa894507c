"""A user's own model or rule, named ``module:name``, from a file beside the studies.

A model is a class, or a function without arguments, that gives an object with ``fit(X, y)`` and
``predict(X)`` as scikit-learn's have; arrays go in, in the order of the study's columns. With
``predict_proba`` it is a model of classes. With ``to_text()`` and ``from_text(text)`` its fold
models are stored; without, they are trained anew in each run. A rule is a polars expression or a
pandas function of bars: the feature room evaluates it.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from research.errors import UserError, nearest
from research.models import bagging, contract, probabilities, rule

STUDIES = Path(__file__).resolve().parents[2] / "studies"
FILE = "model.txt"


def find(word: str, *, folder: Path | None = None) -> Own | rule.Rule:
    """Return what a study calls ``"module:name"`` as a learner.

    Parameters
    ----------
    word : str
        File (without ``.py``) and the name in it.
    folder : Path, optional
        Where the file lies; absent: ``studies/`` of the project.

    Returns
    -------
    Own or Rule
        A model of the user's, or a rule, whose one column is called like the name.

    Raises
    ------
    UserError
        If there is no such file or name, the file does not run, or the name is something else.
    """
    path, name = _place(word, folder)
    names = _run(word, path)
    if name not in names:
        known = [n for n, value in names.items() if callable(value) or isinstance(value, pl.Expr)]
        raise UserError(
            f"learner {word!r}: {path.name} has no {name!r}.{nearest(name, known)} "
            f"There: {', '.join(known) or 'none'}."
        )
    thing = names[name]
    if isinstance(thing, pl.Expr) or (inspect.isfunction(thing) and _required(thing) == 1):
        return rule.Rule(word, source(word, folder=folder))
    if not callable(thing) or _required(thing):
        raise UserError(
            f"learner {word!r}: expected a class or a function without arguments that gives a "
            f"model with fit and predict, or a rule; found a {type(thing).__name__}."
        )
    made = _call(word, thing)
    if isinstance(made, pl.Expr):
        return rule.Rule(word, source(word, folder=folder))
    lacking = [part for part in ("fit", "predict") if not callable(getattr(made, part, None))]
    if lacking:
        raise UserError(
            f"learner {word!r}: a model must have fit(X, y) and predict(X), "
            f"{type(made).__name__} has no {' and no '.join(lacking)}."
        )
    return Own(word, thing, source(word, folder=folder), made)


def source(word: str, *, folder: Path | None = None) -> str:
    """Return the fingerprint of the file that `word` stands in; comments do not count.

    Of a model in bags (``bagged_`` before its name) it is that of the model's file.

    Raises
    ------
    UserError
        If there is no such file, or it is not Python.
    """
    path, _ = _place(word.removeprefix(bagging.PREFIX), folder)
    try:
        tree = ast.parse(path.read_text(encoding="utf8"))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"learner {word!r}: {path.name} does not run: {error}") from error
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@dataclass(frozen=True)
class Fitted:
    """A user's fitted model."""

    name: str
    thing: Any
    text: str
    file: str | None
    outputs: tuple[str, ...]
    columns: int

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Ask the user's model; what comes back must be one known number per row and output."""
        shape = (len(values), *((len(self.outputs),) if self.outputs else ()))
        if not len(values):
            return np.empty(shape)
        ask = self._probabilities if self.outputs else self.thing.predict
        found = np.asarray(_call(self.name, ask, values), dtype=np.float64)
        if found.shape != shape or not np.isfinite(found).all():
            raise UserError(
                f"learner {self.name!r}: predict must give known numbers of shape {shape}, "
                f"gave shape {found.shape}, {np.isfinite(found).mean():.0%} of them known."
            )
        return found

    def _probabilities(self, values: np.ndarray) -> np.ndarray:
        """Put the user's columns where their classes belong; a class it never met gets 0."""
        said = np.asarray(self.thing.predict_proba(values))
        found = np.zeros((len(values), 3))
        for column, value in zip(said.T, getattr(self.thing, "classes_", (-1, 0, 1))):
            found[:, int(value) + 1] = column
        return found

    def importance(self) -> np.ndarray:
        """Return its ``feature_importances_``, or nothing where it does not say."""
        known = getattr(self.thing, "feature_importances_", np.zeros(self.columns))
        return np.asarray(known, dtype=np.float64)

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """Refuse: only the model's maker could say."""
        raise UserError(
            f"learner {self.name!r}: SHAP values are known for trees, linear models and rules. "
            "Ask permutation_importance."
        )


@dataclass(frozen=True)
class Own:
    """A user's model in the shape of a learner."""

    name: str
    make: Callable[[], Any]
    source: str
    example: Any
    """One that was never fitted: what it can do is asked of it."""
    PARAMS: ClassVar[dict[str, Any]] = {}
    CONTINUES: ClassVar[bool] = False

    @property
    def CLASSES(self) -> bool:
        """Whether it gives probabilities of classes."""
        return hasattr(self.example, "predict_proba")

    @property
    def FILE(self) -> str | None:
        """Where its text is stored, if it has one."""
        both = hasattr(self.example, "to_text") and hasattr(self.example, "from_text")
        return FILE if both else None

    def fit(
        self,
        X: Any,
        y: np.ndarray,
        *,
        weight: np.ndarray | None = None,
        early: tuple[Any, np.ndarray] | None = None,
        seed: int,
        params: dict[str, Any],
        start_from: contract.Model | None = None,
    ) -> contract.Model:
        """Fit a new object of the user's to arrays of `X` and `y`; early rows are not used.

        Raises
        ------
        UserError
            If a value is not known, `y` does not vary, weights are given to a model whose ``fit``
            has no ``sample_weight``, rounds are to be added, or the user's code raises.
        """
        contract.settings(params, {}, self.name)
        if start_from is not None:
            raise UserError(f"learner {self.name!r}: has no rounds to add. Train it anew.")
        values, y = contract.training(X, y, weight, self.name)
        y = probabilities.classes(y, self.name) - 1 if self.CLASSES else y
        contract.varied(y, self.name)
        thing = _call(self.name, self.make)
        if weight is not None and "sample_weight" not in inspect.signature(thing.fit).parameters:
            raise UserError(
                f"learner {self.name!r}: rows are weighed, but its fit has no sample_weight. "
                "Add one, or set model.weight = 'none' and no model.decay."
            )
        more = {} if weight is None else {"sample_weight": weight}
        _call(self.name, thing.fit, values, y, **more)
        made_of = f"{self.source} {contract.fingerprint(values, y, weight)}\n"
        text = _call(self.name, thing.to_text) if self.FILE else made_of
        card = contract.card(self.name, list(X.columns), {}, seed, len(y), None, self.versions())
        return contract.Model(card, self._core(thing, text, values.shape[1]))

    def versions(self) -> dict[str, str]:
        """Return the fingerprint of the user's file."""
        return {"source": self.source}

    def read(self, text: str) -> Fitted:
        """Give back the fitted model that has this text."""
        return self._core(_call(self.name, self.make().from_text, text), text, 0)

    def _core(self, thing: Any, text: str, columns: int) -> Fitted:
        outputs = contract.CLASSES if self.CLASSES else ()
        return Fitted(self.name, thing, text, self.FILE, outputs, columns)


def _place(word: str, folder: Path | None) -> tuple[Path, str]:
    module, colon, name = word.partition(":")
    if not (colon and module.isidentifier() and name.isidentifier()):
        raise UserError(f"learner {word!r}: expected 'module:name', as in 'my_models:mine'.")
    path = (folder or STUDIES) / f"{module}.py"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.py"))
        raise UserError(
            f"learner {word!r}: no file {path.name} in {path.parent.name}/."
            f"{nearest(path.stem, known)} Files there: {', '.join(known) or 'none'}."
        )
    return path, name


def _run(word: str, path: Path) -> dict[str, Any]:
    spec = spec_from_file_location(f"studies.{path.stem}", path)
    assert spec is not None  # a .py file always has one
    module = module_from_spec(spec)
    # run anew each time, from the text on disk: a user edits the file beside an open notebook
    text = path.read_text(encoding="utf8")
    _call(word, lambda: exec(compile(text, str(path), "exec"), module.__dict__))
    return {n: v for n, v in vars(module).items() if not n.startswith("_")}


def _call(word: str, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
    """Run the user's code; what it raises becomes one line that names where."""
    try:
        return function(*args, **more)
    except UserError:
        raise
    except Exception as error:
        trace, line = error.__traceback__, getattr(error, "lineno", None)
        while trace is not None:
            if Path(trace.tb_frame.f_code.co_filename).stem == word.partition(":")[0]:
                line = trace.tb_lineno
            trace = trace.tb_next
        where = f" (line {line} of its file)" if line else ""
        raise UserError(f"learner {word!r}: raised {type(error).__name__}: {error}{where}") from (
            error
        )


def _required(thing: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return 0
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)
