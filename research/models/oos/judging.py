"""The model in force, fold by fold: the candidate, or the one that a gate did not let go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from research.models import contract, gates
from research.models.oos.rows import Cut, Fold, Rows


@dataclass(slots=True)
class Judge:
    """A gate at work: which model each symbol's forecasts come from, and why."""

    gate: gates.Name
    rows: Rows
    horizon: int
    in_force: dict[str | None, contract.Model] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)

    def decide(
        self, fold: Fold, symbol: str | None, cut: Cut, candidate: contract.Model
    ) -> contract.Model:
        """Return the model that forecasts the fold's test; write down what decided it."""
        held = self.in_force.get(symbol)
        if self.gate == "none":
            return candidate
        shown, before, chance = self._evidence(cut, candidate, held)
        adopted = held is None
        if shown is not None and before is not None:
            adopted = bool(gates.passes(self.gate, shown, before))
        chosen = candidate if adopted or held is None else held
        self.in_force[symbol] = chosen
        self.log.append(
            {
                "fold": fold.name,
                "symbol": symbol,
                "time": fold.test_start,
                "slice_start": cut.slice_start,
                "candidate": candidate.id,
                "in_force": chosen.id,
                "adopted": adopted,
                "rows": len(cut.judged),
                **(shown._asdict() if shown else {}),
                **({f"{k}_in_force": v for k, v in before._asdict().items()} if before else {}),
                "null_sd": chance.sd,
                "null_pass": chance.passed,
                "stopped": self.gate == "s1" and len(cut.early) > 0,
            }
        )
        return chosen

    def table(self) -> pl.DataFrame:
        """Return the decisions so far, as `gates.GATES`."""
        return pl.DataFrame(self.log, schema=gates.GATES, orient="row")

    def _evidence(
        self, cut: Cut, candidate: contract.Model, held: contract.Model | None
    ) -> tuple[gates.Evidence | None, gates.Evidence | None, gates.Null]:
        if len(cut.judged) < 2:
            return None, None, gates.Null(None, None)
        judged = self.rows.judged(cut.judged)
        forecast = self._forecast(candidate, cut.judged)
        before = None
        if held is not None:
            before = gates.evidence(self._forecast(held, cut.judged), judged.y)
        chance = gates.null(self.gate, forecast, judged, before, horizon=self.horizon)
        return gates.evidence(forecast, judged.y), before, chance

    def _forecast(self, model: contract.Model, rows: np.ndarray) -> np.ndarray:
        return model.predict(self.rows.inputs(rows)) * self.rows.scale[rows]
