"""Numbers in prose, bound to what they were measured by: READMEs and the text of notebooks.

``benchmarks/results.json`` holds what commands gave, with the command (`measure` puts it there).
``benchmarks/prose.toml`` repeats, for each file, the sentences that state a result, with a field in
the place of each number, and lists what is no result::

    ["README.md"]
    says = ["the pipeline finds {truth.ratio:.2f} of what the oracle finds"]
    free = ["95 % interval", "Python 3.11 to 3.13"]

The prose itself stays as it is. A field is a dotted key of the results with a format of Python's;
``{x:.1f %}`` and ``{x:.1f bps}`` show a fraction so, ``{x:.1f pct}`` without the sign. In a
notebook ``{out[7]:.2f}`` is a number that cell [7] printed. `check` refuses a number that is not
what its source says, a sentence that is no longer there, and any number that is neither bound nor
free. No results, anywhere, are numbers in code, dates, spans of minutes, hours and days, and
digits that belong to a name.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

from research.errors import UserError
from research.store import atomic, cards
from research.study import ROOT

READMES = ("README.md", "benchmarks/README.md", "studies/README.md")
RESULTS, BOUND = "benchmarks/results.json", "benchmarks/prose.toml"
_NUMBER = r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?"
_ANY = re.compile(
    rf"(?<![\w.,/:-])(?:{_NUMBER})(?![\w]|[-.:/]\w)|(?<![\w.,/:-])(?:{_NUMBER})(?=x\b|m?s\b)"
)
_CODE = re.compile(r"^```\w+\n.*?^```|`[^`\n]*`|<!--.*?-->|\]\([^)]*\)|https?://\S+", re.S | re.M)
_NO_RESULT = re.compile(
    r"\d{4}-\d\d(?:-\d\d)?(?: to (?:\d{4}-)?\d\d-\d\d)?"  # dates
    r"|\b0\d\b"  # numbers of notebooks
    r"|^\s*\d+\. "  # of a list
    r"|\b\d+(?:[.,]\d+)?(?: to \d+)? ?(?:min|minutes?|h|hours?|d|days?|weeks?)\b",
    re.M,
)
_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z`*\[])|\n\s*\n|\n(?=[|#-])")
_SHARE = {" %": (100.0, " %"), "%": (100.0, "%"), " bps": (1e4, " bps"), " pct": (100.0, "")}
_MANY = 20


class Page(NamedTuple):
    """One text, and what its code cells printed.

    Attributes
    ----------
    name : str
        Its file, from the project's root.
    text : str
        As it stands.
    bare : str
        The same with blanks in the place of code, comments and addresses.
    printed : dict of int to str
        By execution count; empty but for notebooks.
    """

    name: str
    text: str
    bare: str
    printed: dict[int, str]


def run(root: Path = ROOT) -> dict[str, Any]:
    """Hold every number in READMEs and notebooks against its source.

    Parameters
    ----------
    root : Path
        The project's.

    Returns
    -------
    dict
        ``bound``, how many numbers have a source; ``parted`` and ``unbound``, the faults, one line
        each that names the sentence; ``faults``, how many.
    """
    path = root / RESULTS
    results = json.loads(path.read_text(encoding="utf8")) if path.exists() else {}
    bound, parted, unbound = 0, list[str](), list[str]()
    told = _bindings(root)
    for page in pages(root):
        count, off, loose = check(page, told.pop(page.name, {}), results)
        bound, parted, unbound = bound + count, parted + off, unbound + loose
    parted += [f"{name}: is bound in {BOUND}, but there is no such page" for name in told]
    faults = len(parted) + len(unbound)
    return {"bound": bound, "parted": parted, "unbound": unbound, "faults": faults}


def text(found: dict[str, Any]) -> str:
    """Say what was found, for a terminal."""
    lines = [f"{found['bound']} numbers in prose are what they were measured to be"]
    return "\n".join([*lines, *found["parted"], *found["unbound"]])


def _bindings(root: Path) -> dict[str, Any]:
    path = root / BOUND
    try:
        return tomllib.loads(path.read_text(encoding="utf8")) if path.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{BOUND}: cannot be read: {error}.") from error


# -- pages ----------------------------------------------------------------------------------------


def pages(root: Path) -> Iterator[Page]:
    """Yield READMEs, then the shipped notebooks in their order."""
    for name in READMES:
        if (root / name).exists():
            yield _page(name, (root / name).read_text(encoding="utf8"), {})
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf8"))["cells"]
        said = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        ran = [c for c in cells if c["cell_type"] == "code" and c.get("execution_count")]
        printed = {c["execution_count"]: _printed(c) for c in ran}
        yield _page(f"notebooks/{path.name}", "\n\n".join(said), printed)


def _printed(cell: dict[str, Any]) -> str:
    parts = []
    for output in cell["outputs"]:
        shown = output.get("data", {})
        texts = (output.get("text", ""), shown.get("text/plain", ""), shown.get("text/html", ""))
        parts += [re.sub(r"<[^>]*>", " ", "".join(part)) for part in texts]
    return "\n".join(parts)


def _page(name: str, said: str, printed: dict[int, str]) -> Page:
    bare = _CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), said)
    return Page(name, said, bare, printed)


# -- one page -------------------------------------------------------------------------------------


def check(
    page: Page, told: dict[str, Any], results: dict[str, Any]
) -> tuple[int, list[str], list[str]]:
    """Check one page against its bindings.

    Parameters
    ----------
    page : Page
        From `pages`.
    told : dict
        ``says``, sentences with fields, and ``free``, phrases that state no result.
    results : dict
        As ``results.json`` holds them.

    Returns
    -------
    bound : int
        Numbers that are what their source says.
    parted, unbound : list of str
        Sentences that say something else, or are gone; numbers without a source.
    """
    covered: list[tuple[int, int]] = [m.span() for m in _NO_RESULT.finditer(page.bare)]
    bound, parted = 0, []
    for sentence in told.get("says", []):
        places, faults = _held(page, sentence, results)
        covered += places
        parted += [f"{page.name}: {fault}" for fault in faults]
        bound += len(places) if not faults else 0
    for phrase in told.get("free", []):
        found = [m.span() for m in re.finditer(_loosely(phrase), page.text)]
        if not found:
            parted.append(f"{page.name}: {phrase!r} is free in {BOUND} and not in the text")
        covered += found
    loose = [m for m in _ANY.finditer(page.bare) if not _inside(m.span(), covered)]
    return bound, parted, [f"{page.name}: {fault}" for fault in _by_sentence(page.text, loose)]


def _by_sentence(said: str, loose: list[re.Match[str]]) -> Iterator[str]:
    """Name each sentence that holds a loose number, once, with its loose numbers."""
    ends = [m.end() for m in _END.finditer(said)]
    for place, group in groupby(loose, key=lambda m: bisect_right(ends, m.start())):
        start, end = [0, *ends][place], [*ends, len(said)][place]
        numbers = [m[0] for m in group]
        verb = "is" if len(numbers) == 1 else "are"
        sentence = " ".join(said[start:end].split())
        yield f"{sentence!r}: {', '.join(numbers)} {verb} bound to nothing"


def _inside(span: tuple[int, int], covered: list[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in covered)


def _loosely(literal: str) -> str:
    """Return a pattern for text wherever its lines are broken."""
    words = [re.escape(word) for word in re.split(r"\s+", literal)]
    return r"\s+".join(words)


class _Field(NamedTuple):
    key: str
    spec: str
    pattern: str


def _held(page: Page, sentence: str, results: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Find a sentence wherever it stands; return where its numbers are, and what is wrong."""
    fields, pattern = _pattern(sentence)
    found = list(re.finditer(pattern, page.text))
    if not found:
        return [], [f"no sentence reads {sentence!r}; mend it in {BOUND}"]
    places, faults = [], []
    for match in found:
        for number, field in enumerate(fields, 1):
            said, fault = match[number], _fault(page, field, match[number], results)
            places.append(match.span(number))
            if fault:
                here = " ".join(match[0].split())
                faults.append(f"{here!r} says {said}, but {fault}")
    return places, faults


def _pattern(sentence: str) -> tuple[list[_Field], str]:
    fields, pattern = [], ""
    for literal, key, spec, _ in Formatter().parse(sentence):
        pattern += _loosely(literal)
        if key is not None:
            unit = next((u for end, (_, u) in _SHARE.items() if (spec or "").endswith(end)), "")
            shape = rf"{_NUMBER}|[\w-]+" if not spec else _NUMBER
            fields.append(_Field(key, spec or "", pattern))
            pattern += rf"((?:{shape}){_loosely(unit) if unit else ''})"
    return fields, pattern


def _fault(page: Page, field: _Field, said: str, results: dict[str, Any]) -> str:
    said = " ".join(said.split())
    if cell := re.fullmatch(r"out\[(\d+)\]", field.key):
        printed = re.findall(_NUMBER, page.printed.get(int(cell[1]), ""))
        shown = {show(float(n.replace(",", "")), field.spec) for n in printed} | set(printed)
        return "" if said in shown else f"cell [{cell[1]}] printed no such number"
    try:
        value = look_up(results, field.key)
    except UserError as error:
        return str(error)
    right = show(value, field.spec)
    command = results[field.key.split(".")[0]]["command"]
    return "" if said == right else f"{field.key} is {right} ({command})"


def look_up(results: dict[str, Any], key: str) -> Any:
    """Return one value of the results by its dotted key.

    >>> look_up({"truth": {"command": "", "found": {"ratios": [0.5, 0.25]}}}, "truth.ratios.1")
    0.25
    """
    name, *path = key.split(".")
    value: Any = results.get(name, {}).get("found")
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise UserError(f"{RESULTS} has no {key!r}")
    return value


def show(value: Any, spec: str) -> str:
    """Write a value as prose does.

    >>> show(0.0712, ".3f"), show(-0.287, ".1f %"), show(5e-4, ".0f bps"), show(51527, ",")
    ('0.071', '-28.7 %', '5 bps', '51,527')
    """
    for end, (scale, unit) in _SHARE.items():
        if spec.endswith(end):
            return f"{format(value * scale, spec.removesuffix(end))}{unit}"
    return format(value, spec)


# -- results --------------------------------------------------------------------------------------


def keep(name: str, *, command: str, found: dict[str, Any], root: Path = ROOT) -> None:
    """Put what a command gave into ``results.json``, in the place of what it gave before.

    Parameters
    ----------
    name : str
        First word of the keys by which prose finds it.
    command : str
        What a reader types to get it.
    found : dict
        JSON values; lists of more than 20 are for whoever runs the command, and left out.
    root : Path
        The project's.
    """
    path = root / RESULTS
    results = json.loads(path.read_text(encoding="utf8")) if path.exists() else {}
    code = found.pop("code", None) or cards.whole_package()["source"]
    results[name] = {"command": command, "code": code, "found": _short(found)}
    atomic.write_json(path, results)


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        many = {k for k, v in value.items() if isinstance(v, list) and len(v) > _MANY}
        return {key: _short(inner) for key, inner in value.items() if key not in many}
    return [_short(inner) for inner in value] if isinstance(value, list) else value


def measure(name: str, words: Sequence[str], *, root: Path = ROOT) -> dict[str, Any]:
    """Run a command or a benchmark with ``--json`` and keep what it says.

    Parameters
    ----------
    name : str
        As for `keep`.
    words : sequence of str
        Those after ``./run``, or a script and its options: ``benchmarks/sweep.py --bars 1000``.
    root : Path
        The project's.

    Returns
    -------
    dict
        What was kept.

    Raises
    ------
    UserError
        If the command fails or prints no JSON object.
    """
    if not words:
        raise UserError(f"{name}: say which command gives it, as in report quantiles.")
    is_script = words[0].endswith(".py")
    call = [sys.executable, *([] if is_script else ["-m", "research"]), *words, "--json"]
    done = subprocess.run(call, cwd=root, stdout=subprocess.PIPE, text=True, check=False)
    command = " ".join((["python"] if is_script else ["./run"]) + list(words))
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        raise UserError(f"{command}: gave no JSON (exit code {done.returncode}).") from error
    found.pop("run", None)  # a run's id holds the day
    keep(name, command=command, found=found, root=root)
    return found
