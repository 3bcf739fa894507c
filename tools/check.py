"""Everything that must hold before a change lands: lint, types, tests, notebooks.

Called by ``./run check``; further arguments go to pytest. Every step runs even where an earlier one
failed, and the closing line names what failed and every skip with its reason. Tests marked ``long``
are left out, or it would take longer than anybody waits; ``./run check --long`` runs them, too.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def workers() -> list[str]:
    """Return pytest-xdist's arguments: three workers, as tests wait; none on a single core."""
    return ["-n", "3"] if (os.cpu_count() or 1) > 1 else []


def steps(results: Path, extra: list[str]) -> dict[str, list[str]]:
    """Return each step's command; pytest's leave their counts as XML under `results`."""
    pytest = ["pytest", "-q", "--durations=10", "-o", "junit_family=xunit1"]
    which = [] if "--long" in extra else ["-m", "not long"]
    extra = [*which, *(word for word in extra if word != "--long")]
    # Each worker begins with a third of the files, so that few fixtures are made twice.
    spread = ["--dist=worksteal", *workers()]
    todo = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy"],
        "tests": [*pytest, *spread, f"--junitxml={results / 'tests.xml'}", *extra],
    }
    notebooks = sorted(str(path) for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    if notebooks:
        # A notebook's cells share a kernel: they stay together on one worker, in their order.
        lax = ["--nbval-lax", "--nbval-current-env", "--dist=loadfile", *workers()]
        todo["notebooks"] = [*pytest, *lax, f"--junitxml={results / 'notebooks.xml'}", *notebooks]
    return todo


def run(name: str, command: list[str], folder: Path) -> bool:
    """Run one step under this interpreter and say whether it passed; what it makes is not kept."""
    print(f"\ncheck: {name}", flush=True)
    # An inherited backend would keep figures out of the notebooks the tests run.
    env = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    env |= {"ALPHABOOK_DATA": str(folder / "data"), "ALPHABOOK_REPORTS": str(folder / "reports")}
    argv = [sys.executable, "-m", *command]
    return subprocess.call(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL) == 0


def outcomes(results: Path) -> tuple[int, Counter[str]]:
    """Count passed tests, and skipped ones by ``file (reason)``, over all result files.

    A file skipped as a whole is one skip. A skip without a reason reads ``no reason given``.
    """
    passed, skips = 0, Counter[str]()
    for path in sorted(results.glob("*.xml")):
        for case in ElementTree.parse(path).iter("testcase"):
            skip = case.find("skipped")
            if skip is not None:
                where = case.get("file") or case.get("classname") or "?"
                skips[f"{where} ({_reason(skip)})"] += 1
            elif case.find("failure") is None and case.find("error") is None:
                passed += 1
    return passed, skips


def _reason(skip: ElementTree.Element) -> str:
    reason = " ".join((skip.get("message") or "no reason given").split())
    if reason == "collection skipped":  # the whole file: pytest puts the reason into the text
        reason = " ".join((skip.text or reason).split()).rpartition("Skipped: ")[2].strip("'\") ")
    return reason


def closing(failed: list[str], passed: int, skips: Counter[str], seconds: float) -> str:
    """Return the last line of a check.

    >>> closing([], 3, Counter({"tests/test_lab.py (no Chromium)": 2}), 75.0)
    'check: green in 1 min 15 s; 3 passed; 2 skipped: 2 x tests/test_lab.py (no Chromium)'
    """
    verdict = f"FAILED ({', '.join(failed)})" if failed else "green"
    named = "; ".join(f"{count} x {skip}" for skip, count in sorted(skips.items()))
    skipped = f"{skips.total()} skipped: {named}" if skips else "none skipped"
    minutes, rest = divmod(round(seconds), 60)
    return f"check: {verdict} in {minutes} min {rest} s; {passed} passed; {skipped}"


def main(extra: list[str]) -> int:
    """Run every step; return 0 where all passed and 1 otherwise.

    With ``--json`` the closing line is one object on stdout, and all else goes to stderr.
    """
    start, as_json = time.monotonic(), "--json" in extra
    told, extra = os.dup(1), [word for word in extra if word != "--json"]
    if as_json:
        os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        failed = [
            name for name, command in steps(place, extra).items() if not run(name, command, place)
        ]
        passed, skips = outcomes(place)
    seconds = time.monotonic() - start
    print("\n" + closing(failed, passed, skips, seconds), flush=True)
    if as_json:
        found = {"green": not failed, "failed": failed, "passed": passed, "skipped": dict(skips)}
        os.write(told, (json.dumps({**found, "seconds": round(seconds)}) + "\n").encode())
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
