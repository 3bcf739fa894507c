"""The house's laws: who may know whom, how big a thing may grow, what may stand in a file."""

import ast
import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "research"

# -- the import law ---------------------------------------------------------------------------

GROUND = {"errors", "units", "schema", "steps", "study"}
STREET = {
    "order_book",
    "sources",
    "store",
    "bars",
    "features",
    "labels",
    "validation",
    "models",
    "scores",
    "signals",
    "performance",
    "plots",
}
DESK = {"trading"}
# Every other room is the roof: it may know the ground, the street, the desk and the pipeline.
# Another roof room only for a reason.
REASONS = {
    ("*", "batch"): "long work shows its progress and runs on the one pool",
    ("*", "datasets"): "which bars a study means is asked of the one who knows",
    ("__main__", "cli"): "python -m research is the command line",
    ("audit", "campaigns"): "the markets whose discoveries are counted are those of campaigns",
    ("audit", "charges"): "a guard recounts what a fill pays",
    ("audit", "judgement"): "what is counted is the verdict",
    ("audit", "league"): "a run is made anew with its league",
    ("audit", "live"): "why a bar was decided is asked of paper runs too",
    ("audit", "order_flow"): "of a run of recorded books its numbers are made anew, too",
    ("audit", "report"): "a run's numbers are made anew as its report made them",
    ("audit", "stored_runs"): "what is verified and explained is a stored run",
    ("audit", "tape"): "a guard asks the rule what a forecast speaks for",
    ("audit", "training"): "a guard recounts a model's rows, and finds where models lie",
    ("cli", "*"): "the front door hands each command to its room",
    ("campaigns", "league"): "the truth campaign reads what the league says of the truth",
    ("campaigns", "report"): "the campaign counts the verdicts a report would give",
    ("campaigns", "judgement"): "the campaign counts the verdicts a report would give",
    ("campaigns", "live"): "the campaigns of paper trading run it, kill it and prove it",
    ("campaigns", "operations"): "the day of operation counts its jobs and its reports",
    ("campaigns", "orders"): "the campaigns of orders send them, kill their sender and count",
    ("campaigns", "recorder"): "the campaign of the recorder kills it",
    ("campaigns", "sim"): "the venue that is recorded is the simulated exchange",
    ("campaigns", "tape"): "the backtest beside a paper run is laid out as any other",
    ("campaigns", "venues"): "what is sent in a campaign goes the way real orders go",
    ("datasets", "order_flow"): "bars of a recording are asked of the one who reads it",
    ("judgement", "tape"): "a verdict asks what the same tape earns one bar later",
    ("league", "evaluation"): "every entry is scored alike",
    ("live", "charges"): "what a live fill pays is what the backtest's would",
    ("live", "operations"): "a run's jobs are done beside its bars",
    ("live", "orders"): "what the desk decides in live mode is sent as orders",
    ("live", "sim"): "offline, the venue that is traded on is the simulated exchange",
    ("live", "tape"): "the desk is told live what it is told in a backtest",
    ("live", "training"): "where a user's own models lie is asked of the workshop",
    ("live", "venues"): "orders go to a venue, whose key signs the last arm",
    ("operations", "live"): "what is kept in operation is a run: its journal, its log, its alerts",
    ("operations", "report"): "pages of operation look like those of runs",
    ("order_flow", "live"): "the one door to a network, real or simulated",
    ("order_flow", "recorder"): "what is followed live comes over the recorder's connections",
    ("order_flow", "sim"): "offline, the venue that is recorded is the simulated exchange",
    ("orders", "venues"): "orders are spoken of in the words of the venues that take them",
    ("pipeline", "charges"): "a round trip's cost is what an edge must beat",
    ("pipeline", "evaluation"): "one stage's result, kept apart from the way through",
    ("league", "training"): "who has classes and who is a rule is asked of the workshop",
    ("pipeline", "screening"): "one stage's result, kept apart from the way through",
    ("pipeline", "tape"): "one stage's result, kept apart from the way through",
    ("training", "order_flow"): "what a recording's market cannot be asked is refused first",
    ("training", "charges"): "a second model is taught which trades earn a round trip's cost",
    ("pipeline", "training"): "one stage's workshop, kept apart from the way through",
    ("paths", "tape"): "a path is traded as any forecasts are",
    ("paths", "training"): "splits are trained in the same workshop as folds",
    ("portfolio", "search"): "what a search may not choose, a walk may not either",
    ("portfolio", "sweeps"): "a walk forward over settings takes a grid as a sweep does",
    ("portfolio", "tape"): "each component trades a slice of its own tape",
    ("recorder", "live"): "the same watched connections and polite requests; only bytes are kept",
    ("report", "audit"): "a run is sealed when it is written",
    ("report", "evaluation"): "a report draws what the stage returned",
    ("report", "judgement"): "a report ends with the verdict",
    ("report", "order_flow"): "a report of recorded books shows what they say",
    ("report", "tape"): "a report draws what the stage returned",
    ("report", "league"): "every report shows the league",
    ("report", "stored_runs"): "a report's index lists the runs",
    ("stages", "notebooks"): "a stage is a notebook that was executed",
    ("stages", "charges"): "a stage's headline names the edge that pays",
    ("stages", "report"): "a chain ends with its report",
    ("stages", "league"): "a stage's headline names its interval as the league does",
    ("stages", "order_flow"): "a recording too short to train on has a shorter chain",
    ("stages", "tape"): "a stage knows the folder of its own table",
    ("stages", "stored_runs"): "a chain becomes a stored run",
    ("tape", "charges"): "what a fill pays is laid out beside the bar it happens in",
    ("sweeps", "report"): "a combination's result is its summary",
    ("venues", "live"): "the one door to a network, and what is said passes its redaction",
    ("venues", "sim"): "offline, the venue that the doctor visits is the simulated exchange",
}
# One module of a room may know more than its room may.
CELL_DOORS = {
    "features/study.py": (
        {"labels", "plots", "scores"},
        "what a researcher calls in a cell to try a feature: score and picture in one call",
    ),
}
# Trading is numbers and arrays: no frames, no clock, no dice, no disk.
NOT_AT_THE_DESK = {"os", "pandas", "pathlib", "polars", "random", "time"}


@cache
def modules():
    """Return every module of the package; the disk is asked once."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path):
    return str(path.relative_to(PACKAGE))


def imported(tree, package=("research",)):
    """Return the dotted names that a module imports, anywhere in it, made absolute."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms(path, tree):
    """Return the other rooms of the package that a module imports."""
    names = imported(tree, ("research", *path.relative_to(PACKAGE).parts[:-1]))
    found = {name.split(".")[1] for name in names if name.startswith("research.")}
    return (found & known_rooms()) - {room_of(path)}


def parsed(path):
    return ast.parse(path.read_text())


def last_name(function):
    """Return what a call calls, without what stands before the last dot."""
    return getattr(function, "attr", None) or getattr(function, "id", "")


@cache
def known_rooms():
    return {room_of(other) for other in modules()}


def allowed(path, wanted):
    """Return the rooms among `wanted` that the module at `path` may import."""
    room = room_of(path)
    if room in GROUND:
        return {"errors"} | ({"units"} if room == "study" else set())
    if room in STREET | DESK:
        return (GROUND - {"study"}) | CELL_DOORS.get(name_of(path), (set(),))[0]
    reasoned = {
        other for other in wanted if {(room, other), (room, "*"), ("*", other)} & REASONS.keys()
    }
    return GROUND | STREET | DESK | {"pipeline"} | reasoned


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_run_downward(path):
    if path == PACKAGE / "__init__.py":
        return  # the package's own face: names loaded lazily from the roof
    wanted = rooms(path, parsed(path))
    stray = wanted - allowed(path, wanted)
    assert not stray, f"{name_of(path)} knows {sorted(stray)}: hand it a table or a value instead"


@pytest.mark.parametrize(
    ("path", "source", "stray"),
    [
        ("labels.py", "from research.schema import KEY\nimport research.units", set()),
        ("labels.py", "from research import study", {"study"}),
        ("labels.py", "def f():\n    import research.bars", {"bars"}),
        ("models/linear.py", "from ..scores import ic", {"scores"}),
        ("models/linear.py", "from . import contract\nfrom .contract import Model", set()),
        ("features/study.py", "from research import labels, plots, scores, models", {"models"}),
        ("features/sets.py", "from research import labels", {"labels"}),
        ("units.py", "from research.schema import KEY", {"schema"}),
        ("pipeline.py", "from research import bars, store, cli", {"cli"}),
        ("trading/loop.py", "from research.performance import sharpe", {"performance"}),
    ],
)
def test_the_import_law_can_be_broken(path, source, stray):
    wanted = rooms(PACKAGE / path, ast.parse(source))
    known = known_rooms()
    assert wanted - allowed(PACKAGE / path, wanted) == stray & known


def desk_faults(tree):
    names = imported(tree)
    tops = {name.split(".")[0] for name in names} & NOT_AT_THE_DESK
    reached = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    clocks = {name for name in reached if name.endswith((".now", ".utcnow", ".today"))}
    return tops | clocks | ((reached | names) & {"np.random", "numpy.random"})


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("trading/**/*.py")), ids=name_of)
def test_the_desk_is_pure(path):
    faults = desk_faults(parsed(path))
    assert not faults


def test_the_desk_law_can_be_broken():
    assert desk_faults(ast.parse("def f():\n    import polars as pl")) == {"polars"}
    assert desk_faults(ast.parse("from time import monotonic")) == {"time"}
    assert desk_faults(ast.parse("import numpy as np\nx = np.random.default_rng(1)"))
    assert desk_faults(ast.parse("from numpy import random"))
    assert desk_faults(ast.parse("from datetime import datetime\nx = datetime.now()"))
    assert not desk_faults(ast.parse("import numpy as np\nx = np.zeros(3)"))


def test_every_exception_is_used():
    """A reason written for an arrow that is gone would hide the next one."""
    arrows = {(room_of(path), room) for path in modules() for room in rooms(path, parsed(path))}
    listed = {arrow for arrow in REASONS if "*" not in arrow}
    known = known_rooms()
    unused = {arrow for arrow in listed - arrows if set(arrow) <= known}
    assert not unused, f"reasons without an arrow: {sorted(unused)}"


# -- sizes ------------------------------------------------------------------------------------


def lines(path):
    return len(path.read_text().splitlines())


def body_lines(function):
    """Count a function's lines without its signature and docstring."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def long_functions(tree, most=60):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return {node.name: body_lines(node) for node in functions if body_lines(node) > most}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_modules_and_functions_stay_small(path):
    assert lines(path) <= 400, f"{name_of(path)} has {lines(path)} lines: make it a folder"
    assert not long_functions(parsed(path))


def test_the_size_law_can_be_broken():
    source = "def f():\n    '''One.\n\n    Two.\n    '''\n" + "    x = 1\n" * 60
    assert not long_functions(ast.parse(source))
    assert long_functions(ast.parse(source + "    x = 2\n")) == {"f": 61}


def test_the_way_through_stays_short():
    path = PACKAGE / "pipeline.py"
    if not path.exists():
        pytest.skip("research/pipeline.py is not written yet")
    assert lines(path) < 300


def code_lines(source):
    """Count lines of code: docstrings, comments and blank lines explain and are left out."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        number
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
        for number in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    return sum(
        number not in docs and bool(line.strip()) and not line.lstrip().startswith("#")
        for number, line in enumerate(source.splitlines(), 1)
    )


def test_street_and_desk_stay_thin():
    counts = [code_lines(path.read_text()) for path in modules() if room_of(path) in STREET | DESK]
    assert sum(counts) < 22_600, f"street and desk have {sum(counts)} lines of code together"


def test_lines_of_code_are_counted():
    source = (
        '"""One.\n\nTwo.\n"""\n\n# why\nx = 1  # one\n\ndef f():\n    """Doc."""\n    return x\n'
    )
    assert code_lines(source) == 3


# -- habits of the package --------------------------------------------------------------------


def silenced(tree):
    """Return the lines where warnings are silenced outside ``with warnings.catch_warnings()``."""
    sheltered = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        and any("catch_warnings" in ast.unparse(item.context_expr) for item in node.items)
        for inner in ast.walk(node)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if id(call) not in sheltered
        and last_name(call.func) in {"filterwarnings", "simplefilter"}
        and call.args
        and ast.unparse(call.args[0]) == "'ignore'"
    ]


def sources():
    """Return every Python file of the project that is committed or about to be."""
    return [path for path in tracked() if path.suffix == ".py"]


def test_no_warning_is_silenced_for_all():
    found = {str(p.relative_to(ROOT)): silenced(parsed(p)) for p in sources()}
    assert not {name: where for name, where in found.items() if where}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    filters = settings["ini_options"].get("filterwarnings", [])
    for entry in filters:
        action, message, _, module = [*entry.split(":"), "", "", ""][:4]
        assert action != "ignore" or message or module, f"{entry!r} silences everything"


def test_the_warnings_law_can_be_broken():
    assert silenced(ast.parse("import warnings\nwarnings.filterwarnings('ignore')")) == [2]
    assert silenced(ast.parse("from warnings import simplefilter\nsimplefilter('ignore')")) == [2]
    shelter = "with warnings.catch_warnings():\n    warnings.simplefilter('ignore')"
    assert not silenced(ast.parse(shelter))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_rooms_neither_print_nor_pickle(path):
    tree = parsed(path)
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    short = [f for f in functions if isinstance(getattr(f, "value", f), ast.Name)]
    called = {ast.unparse(function) for function in short}
    assert "print" not in called or room_of(path) in {"cli", "__main__"}
    # joblib may lend its processes, not its pickles
    forbidden = {"pickle", "dill", "cloudpickle", "joblib.dump", "joblib.load", "joblib.Memory"}
    assert not forbidden & (imported(tree) | called)


# -- what stands in committed files -----------------------------------------------------------


def tracked():
    """Return the files that are committed or would be by ``git add``."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout: which files are committed is not known")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


# Written in pieces so that this file does not find itself.
PLACES = re.compile(
    r"(?<![\w.~])/(?:ho" + r"me|Us" + r"ers|ro" + r"ot|wo" + r"rk|op" + r"t|m" + r"nt)/[\w.]"
    r"|(?<![\w.~])/tm" + r"p/[\w.]"
    r"|[A-Z]:\\\\?Us" + r"ers"
)
REGISTRIES = re.compile(
    r"py" + r"pi\.org|python" + r"hosted|ana" + r"conda\.(?:org|com)|npm" + r"js|debian" + r"\.org"
)
SECRETS = re.compile(
    r"AK" + r"IA[0-9A-Z]{16}"
    r"|gh[pousr]_\w{30,}|xox[abp]-\w{10,}|sk-\w{20,}"
    r"|-----BEGIN [A-Z ]*PRIV" + r"ATE KEY"
    r"|(?i:api_?key|secret|password|token)\s*[:=]\s*[\"']?(?=\w*\d)[A-Za-z0-9/+_-]{20,}"
)


def texts():
    for path in tracked():
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


@pytest.mark.parametrize("law", [PLACES, REGISTRIES, SECRETS], ids=["places", "hosts", "secrets"])
def test_no_place_host_or_secret_is_committed(law):
    found = {name: match[0] for name, text in texts() if (match := law.search(text))}
    assert not found


def test_the_text_laws_can_be_broken():
    assert PLACES.search('open("/ho' + 'me/ann/x")') and PLACES.search("C:\\\\Us" + "ers\\ann")
    assert not PLACES.search("https://example.net/ho" + "me/x ~/wo" + "rk/x ../ro" + "ot/x")
    assert REGISTRIES.search("https://py" + "pi.org/simple")
    assert SECRETS.search("BINANCE_SEC" + "RET=a8f3k2l9m4n5b6v7c8x9z0q1")
    assert SECRETS.search("AK" + "IAABCDEFGHIJKLMNOP")
    assert not SECRETS.search("token = something_quite_long_but_a_name")


def test_committed_files_are_small_and_no_data():
    for path in tracked():
        name = path.relative_to(ROOT)
        assert path.stat().st_size < 500_000, f"{name} is too large to be committed"
        assert path.suffix not in {".parquet", ".feather", ".zip", ".gz", ".duckdb"}, name
        assert path.name != ".env", "secrets stay out of git"


# -- notebooks --------------------------------------------------------------------------------

ROOF_ONLY = re.compile(r"research[. ](?:\w+ )*(?:import )?(?:audit|live|recorder|sim\.exchange)\b")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
NOT_IN_CELLS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.AsyncFor)


def _source(cell):
    return "".join(cell["source"])


def _python(cell):
    """Return a code cell's tree, without magics and shell lines."""
    kept = [line for line in _source(cell).splitlines() if not line.lstrip().startswith(("%", "!"))]
    return ast.parse("\n".join(kept))


def notebook_faults(book):
    """Return what keeps a parsed notebook from being one of the shipped ones."""
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    faults = []
    if len(code) > 20:
        faults.append(f"{len(code)} code cells, at most 20")
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        faults.append("execution counts are not 1..n: restart and run all")
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        faults.append(f"{len(tagged)} cells tagged parameters, exactly 1")
    for number, cell in enumerate(code, 1):
        if len(_source(cell).splitlines()) > 12:
            faults.append(f"cell {number} is longer than 12 lines")
        if any(isinstance(node, NOT_IN_CELLS) for node in ast.walk(_python(cell))):
            faults.append(f"cell {number} holds a def, class or for")
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            faults.append(f"cell {number} ended in an error")
    if PLACES.search(json.dumps(book, ensure_ascii=False)):
        faults.append("an absolute path")
    return faults


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_laws(path):
    assert path.stat().st_size < 400_000
    faults = notebook_faults(json.loads(path.read_text()))
    assert not faults


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_name_the_study(path):
    book = json.loads(path.read_text())
    cells = [c for c in book["cells"] if "parameters" in c["metadata"].get("tags", [])]
    assigned = {
        target.id: ast.unparse(node.value)
        for node in ast.walk(_python(cells[0]))
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    assert "study" in assigned
    assert assigned.get("options") == "{}"


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.stem < "06"], ids=lambda p: p.stem)
def test_the_first_notebooks_need_the_street_alone(path):
    book = json.loads(path.read_text())
    cells = [_source(cell) for cell in book["cells"] if cell["cell_type"] == "code"]
    assert not [match[0] for text in cells if (match := ROOF_ONLY.search(text))]


def _cell(source, count=1, tags=(), outputs=()):
    return {
        "cell_type": "code",
        "source": source,
        "execution_count": count,
        "metadata": {"tags": list(tags)},
        "outputs": list(outputs),
    }


def test_the_notebook_laws_can_be_broken():
    first = _cell("study = 'demo'\noptions = {}", 1, ["parameters"])
    fine = [first, _cell("%matplotlib inline\nx = [i for i in range(3)]", 2)]
    assert not notebook_faults({"cells": fine})
    for bad in (
        _cell("x = 1", 3),
        _cell("for i in range(3):\n    x = i", 2),
        _cell("def f():\n    return 1", 2),
        _cell("x = 1\n" * 13, 2),
        _cell("x = 1", 2, ["parameters"]),
        _cell("x = 1", 2, outputs=[{"output_type": "error"}]),
        _cell("x = '/ho" + "me/ann/data'", 2),
    ):
        assert len(notebook_faults({"cells": [first, bad]})) == 1, bad["source"]
    many = [first] + [_cell("x = 1", count) for count in range(2, 22)]
    assert notebook_faults({"cells": many}) == ["21 code cells, at most 20"]
    assert ROOF_ONLY.search("from research import audit")
    assert ROOF_ONLY.search("import research.live")
    assert not ROOF_ONLY.search("from research import features, scores")
