"""What the command line does: run a stage's notebook, run the chain and report, copy a notebook."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from research import charges, datasets, league, notebooks, pipeline, report, scores, tape
from research.errors import UserError
from research.order_flow import short, studied
from research.report.numbers import clean
from research.store import atomic, tables
from research.stored_runs import Run, reports_root
from research.study import Study, find

log = logging.getLogger(__name__)


def run_stage(
    stage: str, chosen: str, options: dict[str, Any], *, fresh: set[str]
) -> dict[str, Any]:
    """Execute one stage's notebook for a study.

    Parameters
    ----------
    stage : str
        A key of `notebooks.STAGES`.
    chosen : str
        A study's name, or the path of its file.
    options : dict of str to value
        Dotted settings that win over the file.
    fresh : set of str
        ``recompute`` or ``retrain`` forget what the stage stored before.

    Returns
    -------
    dict
        Study, executed notebook and the folder of the tables that the stage left.
    """
    study = pipeline.read(chosen, options)
    with atomic.only_one(study.name):
        if fresh:
            _forget(study, stage)
        out = reports_root() / study.name / "stages" / f"{notebooks.STAGES[stage]}.ipynb"
        notebooks.execute(stage, _parameters(chosen, options), out)
        stored = {name: str(path) for name, path in places(study, stage).items()}
        found = headline(study, stage)
    return {"command": stage, "study": study.name, **found, "notebook": str(out), **stored}


def headline(study: Study, stage: str) -> dict[str, Any]:
    """Return the few numbers a stage is run for, with their intervals."""
    if stage in ("train", "evaluate"):
        made, cost = pipeline.forecasts(study), charges.round_trip(study)
        how: dict[str, Any] = {"draws": study.evaluation.draws, "seed": study.seed}
        score = scores.ic(made, horizon=study.labels.horizon, **how)
        least = scores.break_even_ic(made, cost=cost)
        return clean({**league.named("ic", score), "ic_break_even": least})
    if stage == "backtest":
        tested = pipeline.backtest(study).summary
        return clean({key: tested[key] for key in HEADLINE})
    return {}


HEADLINE = ("net_return", "net_low", "net_high", "gross_return", "trades", "break_even_fee")


def run_report(chosen: str, options: dict[str, Any], *, fresh: set[str]) -> Run:
    """Execute the chain of notebooks for a study and write the run's report.

    The run appears under ``reports/<study>/`` only when it is whole; what an interrupted one left
    is cleared by the next.
    """
    study = pipeline.read(chosen, options)
    with atomic.only_one(study.name), report.new_run(study) as part:
        for stage in _anew(fresh):
            _forget(study, stage)
        for notebook in chain(study):
            log.info("%s: %s", study.name, notebook)
            out = part.folder / "notebooks" / f"{notebook}.ipynb"
            notebooks.execute(notebook, _parameters(chosen, options), out)
        log.info("%s: report", study.name)
    return part.run


def chain(study: Study) -> list[str]:
    """Return the notebooks of a study's report, in their order.

    A study of order flow has one more. A recording that is too short to be trained on has no
    features to judge, no forecasts and nothing to trade: of it those two remain that only look.

    Examples
    --------
    >>> chain(pipeline.read("demo"))[0], len(chain(pipeline.read("demo")))
    ('01_download', 5)
    """
    every = list(notebooks.STAGES.values())
    if not studied.asked(study):
        return every
    why = short.untrained(study)
    if why is None:
        return [*every, studied.NOTEBOOK]
    log.info("%s: not trained: %s", study.name, why)
    has_bars = studied.kept(study)["bars"].height > 0
    return [*([notebooks.STAGES["download"]] if has_bars else []), studied.NOTEBOOK]


def _anew(fresh: set[str]) -> list[str]:
    """Name the stages to forget, the last first: a later key needs the earlier tables."""
    stages = {"recompute": ["backtest", "train", "features"], "retrain": ["train"]}
    return sorted(
        {stage for word in fresh for stage in stages[word]}, key=list(notebooks.STAGES).index
    )[::-1]


def places(study: Study, stage: str) -> dict[str, Path]:
    """Return the folder of the table that a stage leaves in the store, by its name."""
    data = datasets.dataset(study)
    if stage == "download":
        return {"bars": atomic.data_root() / "bars" / data.venue / data.market}
    bars = pipeline.bars(study)
    if stage == "features":
        return {"features": tables.folder("features", pipeline.feature_parts(study, bars))}
    if stage == "train":
        made = pipeline.features(study, bars)
        parts = pipeline.forecast_parts(study, bars, made)
        return {"forecasts": tables.folder("forecasts", parts)}
    if stage == "backtest":
        traded = pipeline.binned(study, pipeline.forecasts(study))
        laid = tape.lay(study, bars, traded)
        parts = tape.parts(laid, tape.rules(study), study.backtest.capital)
        return {"backtest": tables.folder("backtest", parts)}
    return {}  # scores are made anew each time


def _forget(study: Study, stage: str) -> None:
    """Delete what a stage stored for this study, so that it is built anew."""
    if stage == "download" and study.data.source == "binance":
        return  # closed bars do not change; what was fetched once is not fetched again
    learners = study.model.league if stage == "train" else [study.model.name]
    for learner in {*learners, study.model.name}:
        rounds = {0, study.model.continue_rounds}
        for n in rounds:
            chosen = study.with_options({"model.name": learner, "model.continue_rounds": n})
            for place in places(chosen, stage).values():
                shutil.rmtree(place, ignore_errors=True)


def _parameters(chosen: str, options: dict[str, Any]) -> dict[str, Any]:
    path = find(chosen)
    own = path.suffix == ".toml" and path.parent.name == "studies" and path.stem == chosen
    return {"study": chosen if own else str(path.resolve()), "options": options}


def new_notebook(name: str, stage: str) -> dict[str, Any]:
    """Copy a stage's notebook to ``notebooks/my/NAME.ipynb``, without its outputs.

    Raises
    ------
    UserError
        If the name is not a plain one, or is taken.
    """
    if not name.replace("_", "").replace("-", "").isalnum():
        raise UserError(f"new {name!r}: expected a name of letters, digits, - and _.")
    target = notebooks.FOLDER / "my" / f"{name}.ipynb"
    if target.exists():
        raise UserError(f"new {name!r}: {target} exists; choose another name or delete it.")
    content = json.loads(notebooks.path(stage).read_text(encoding="utf8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    atomic.write_json(target, content)
    return {"notebook": str(target), "open": "./run lab"}
