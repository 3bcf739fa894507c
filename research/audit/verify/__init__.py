"""Is a stored run what it says, and does it come out again? ``./run verify RUN``.

First every file of the run, and every stored file it was made of, is held against the hashes that
the run was sealed with: a byte that was changed anywhere is named. Then the run is made anew from
raw bars in an empty store, and what comes out is compared stage by stage, so that the first stage
that differs is the cause of all the others. What is compared how stands in `artefacts`.
"""

from __future__ import annotations

import platform
from typing import Any

from research import stored_runs
from research.audit.verify.artefacts import CLASSES, Artefact
from research.audit.verify.manifest import MANIFEST, check, read, seal
from research.batch import Progress
from research.errors import UserError
from research.store import cards

__all__ = ["check", "read", "run", "seal", "text"]

DECISIONS = ("reasons.parquet", "trades.parquet")


def run(run_id: str = "latest", *, progress: Progress | None = None) -> dict[str, Any]:
    """Verify one stored run.

    Parameters
    ----------
    run_id : str
        As `stored_runs.run` takes it: an id, a part of one, or ``latest``.
    progress : callable, optional
        Takes (done, total, label).

    Returns
    -------
    dict
        ``verdict``: ``identical``; ``decision-identical``, where trades, reasons and positions are
        the same and other values or files are not; ``different``. ``first_difference``: the
        artefact and how it differs, None where none does. ``artefacts``: each with ``kind``,
        ``compared`` (see ``classes``), ``result`` and ``how``. ``rebuilt``: whether it was made
        anew, which a damaged file forbids. ``code``: what of the code and its libraries is not
        what the run was made with.

    Raises
    ------
    UserError
        If there is no such run.
    """
    from research.audit.verify.rebuild import rebuild  # which loads all that a report draws with

    chosen = stored_runs.run(run_id)
    try:
        sealed = read(chosen.folder)
    except UserError as error:
        how = str(error).partition(": ")[2]
        return _said(chosen.id, [Artefact(MANIFEST, "other", "bytes", "differs", how)], {})
    found = check(chosen.folder, sealed)
    if not any(artefact.result == "differs" for artefact in found):
        found += rebuild(chosen, sealed, progress or _unseen)
    return _said(chosen.id, found, sealed)


def _unseen(done: int, total: int, label: str) -> None:
    """Show nothing."""


def _said(run_id: str, found: list[Artefact], sealed: dict[str, Any]) -> dict[str, Any]:
    unlike = [artefact for artefact in found if artefact.result in ("floats", "differs")]
    return {
        "run": run_id,
        "verdict": _verdict(found),
        "first_difference": unlike[0].text() if unlike else None,
        "differences": [artefact.name for artefact in unlike],
        "rebuilt": any(artefact.compared == "values" for artefact in found),
        "code": _changed(sealed.get("code")),
        "classes": CLASSES,
        "artefacts": [artefact._asdict() for artefact in found],
    }


def _verdict(found: list[Artefact]) -> str:
    results = {artefact.result for artefact in found}
    if not results & {"floats", "differs"}:
        return "identical"
    made = {a.name: a.result for a in found if a.compared == "values"}
    unharmed = all(a.result != "differs" for a in found if a.compared == "bytes")
    decided = all(made.get(name) in ("same", "floats") for name in DECISIONS)
    return "decision-identical" if unharmed and decided else "different"


def _changed(was: dict[str, str] | None) -> dict[str, str]:
    """Say which parts of the code and its libraries are no longer those of the run."""
    if was is None:
        return {}
    now = {**cards.whole_package(), "python": platform.python_version()}
    names = [name for name in sorted({*was, *now}) if was.get(name) != now.get(name)]
    return {name: f"{was.get(name, 'none')} -> {now.get(name, 'none')}" for name in names}


def text(found: dict[str, Any]) -> str:
    """Say what was found, for a terminal."""
    rows = found["artefacts"]
    files = [row for row in rows if row["compared"] == "bytes"]
    made = [row for row in rows if row["compared"] == "values"]
    lines = [f"run      {found['run']}", f"verdict  {found['verdict']}"]
    if found["first_difference"]:
        lines.append(f"first    {found['first_difference']}")
        lines += [f"also     {name}" for name in found["differences"][1:6]]
    same = sum(row["result"] == "same" for row in files)
    lines.append(f"files    {same:,} of {len(files):,} byte for byte as they were sealed")
    for result in ("gone", "grown", "renewed", "added"):
        if names := [row["name"] for row in files if row["result"] == result]:
            lines.append(f"{result:8} {len(names)}: {', '.join(names[:3])}")
    kept = [row["name"] for row in made if row["result"] == "same"]
    lines.append(
        f"anew     {', '.join(kept) or 'nothing the same'}" if made else "anew     not tried"
    )
    lines += [f"changed  {name} {how}" for name, how in found["code"].items()]
    return "\n".join(lines)
