import json
import re
from pathlib import Path

import pytest

from research.audit import prose
from research.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = {
    "truth": {
        "command": "./run campaign truth",
        "code": "1f0c",
        "found": {"covered": 19, "ratio": 0.9512, "gain": 0.0021, "fee": 5e-4, "word": "none"},
    }
}


@pytest.fixture
def project(tmp_path):
    """A project of one README, one notebook and one result."""

    def write(readme, says=(), free=(), cells=(), of_notebook=()):
        (tmp_path / "README.md").write_text(readme)
        (tmp_path / "benchmarks").mkdir(exist_ok=True)
        (tmp_path / prose.RESULTS).write_text(json.dumps(RESULTS))
        told = f'["README.md"]\nsays = {json.dumps(list(says))}\nfree = {json.dumps(list(free))}\n'
        if cells:
            (tmp_path / "notebooks").mkdir(exist_ok=True)
            (tmp_path / "notebooks" / "08_x.ipynb").write_text(json.dumps({"cells": list(cells)}))
            told += f'["notebooks/08_x.ipynb"]\nsays = {json.dumps(list(of_notebook))}\n'
        (tmp_path / prose.BOUND).write_text(told)
        return prose.run(tmp_path)

    return write


def test_a_number_that_is_what_was_measured_is_bound(project):
    found = project(
        "In 19 of them `quantiles` finds\n0.95 of what is, a gain of +0.2 % at 5 bps [0.2]: none.",
        says=[
            "In {truth.covered} of them `quantiles` finds {truth.ratio:.2f} of what",
            "{truth.gain:+.1f %} at {truth.fee:.0f bps} [{truth.gain:.1f pct}]: {truth.word}.",
        ],
    )
    assert found == {"bound": 6, "parted": [], "unbound": [], "faults": 0}
    assert prose.text(found) == "6 numbers in prose are what they were measured to be"


@pytest.mark.parametrize(
    ("said", "right"),
    [("0.96", "0.95"), ("0.951", "0.95"), ("-0.95", "0.95"), ("1,000", "0.95")],
)
def test_a_number_that_parted_names_the_sentence(project, said, right):
    found = project(f"It finds {said} of it.", says=["It finds {truth.ratio:.2f} of it."])
    (fault,) = found["parted"]
    assert fault == (
        f"README.md: 'It finds {said} of it.' says {said}, "
        f"but truth.ratio is {right} (./run campaign truth)"
    )


def test_a_sentence_that_is_gone_or_a_key_that_is_not_there(project):
    found = project("It finds 0.95.", says=["It found {truth.ratio:.2f}."])
    assert "no sentence reads 'It found {truth.ratio:.2f}.'" in found["parted"][0]
    assert found["unbound"] == ["README.md: 'It finds 0.95.': 0.95 is bound to nothing"]
    found = project("It finds 0.95.", says=["It finds {truth.rate:.2f}."])
    assert "benchmarks/results.json has no 'truth.rate'" in found["parted"][0]


@pytest.mark.parametrize(
    "said",
    ["1.3x faster", "70.6 % of minutes", "8 bps", "an IC of 0.065", "24 of 24", "[-0.001, 0.013]",
     "(+0.2 %)", "0.5 s", "12ms", "net return -3.7%.", "1,163 folds", "| 0.81 | 35 |", "x7 or 7"],
)  # fmt: skip
def test_a_result_without_a_source_is_refused(project, said):
    found = project(f"First. It is {said} here.\n\nLast.")
    (fault,) = found["unbound"]
    assert said.split()[0] in fault and "bound to nothing" in fault and "First" not in fault


@pytest.mark.parametrize(
    "said",
    ["set S2 and x86-64", "from 2025-05-04 to 06-24", "`0.95` in code",
     "this:\n```sh\nrun 0.95\n```",
     "<!-- 0.95 -->", "see [this](https://x.y/0.95)", "10 min and 37 days, 24h",
     "notebooks 01 to 05", "alpha_101", "SIM01USDT", "version v0.1.0"],
)  # fmt: skip
def test_what_is_no_result_needs_no_source(project, said):
    assert project(f"It is {said}\n")["faults"] == 0


def test_output_in_a_block_without_a_language_is_prose(project):
    block = "```\nfound IC 0.95\n```\n"
    assert "0.95" in project(block)["unbound"][0]
    assert project(block, says=["found IC {truth.ratio:.2f}"])["faults"] == 0


def test_a_free_phrase_must_be_there(project):
    assert project("with 95 % intervals", free=["95 % interval"])["faults"] == 0
    found = project("with intervals", free=["95 % interval"])
    assert "'95 % interval' is free" in found["parted"][0]


def test_a_notebook_speaks_of_what_its_own_cells_printed(project):
    def cells(text):
        output = {"output_type": "execute_result", "data": {"text/plain": ["PBO: 0.5312\n", "n=4"]}}
        return [
            {"cell_type": "markdown", "source": [text]},
            {"cell_type": "code", "source": [], "execution_count": 7, "outputs": [output]},
        ]

    says = ["PBO is {out[7]:.2f} over {out[7]} paths"]
    found = project("", cells=cells("PBO is 0.53 over 4 paths."), of_notebook=says)
    assert (found["faults"], found["bound"]) == (0, 2)
    found = project("", cells=cells("PBO is 0.54 over 4 paths."), of_notebook=says)
    assert found["parted"] == [
        "notebooks/08_x.ipynb: 'PBO is 0.54 over 4 paths' says 0.54, "
        "but cell [7] printed no such number"
    ]
    found = project("", cells=cells("PBO is 0.53."))
    assert "notebooks/08_x.ipynb: 'PBO is 0.53.': 0.53 is bound to nothing" in found["unbound"]


def test_a_binding_of_no_page_is_a_fault(project, tmp_path):
    project("")
    (tmp_path / prose.BOUND).write_text('["READ.md"]\nsays = []\n')
    assert "READ.md: is bound" in prose.run(tmp_path)["parted"][0]
    (tmp_path / prose.BOUND).write_text("says = [")
    with pytest.raises(UserError, match=re.escape(prose.BOUND)):
        prose.run(tmp_path)


def test_results_are_kept_with_their_command(tmp_path):
    script = tmp_path / "bench.py"
    script.write_text("import json, sys\nprint('busy')\nprint(json.dumps({'n': len(sys.argv)}))\n")
    assert prose.measure("bench", ["bench.py", "--fast"], root=tmp_path) == {"n": 3}
    kept = json.loads((tmp_path / prose.RESULTS).read_text())["bench"]
    assert (kept["command"], kept["found"]) == ("python bench.py --fast", {"n": 3})
    prose.keep("other", command="./run x", found={"a": [1], "b": list(range(21))}, root=tmp_path)
    kept = json.loads((tmp_path / prose.RESULTS).read_text())
    assert sorted(kept) == ["bench", "other"] and kept["other"]["found"] == {"a": [1]}
    script.write_text("raise SystemExit(3)")
    with pytest.raises(UserError, match=r"gave no JSON \(exit code 3\)"):
        prose.measure("bench", ["bench.py"], root=tmp_path)


def test_every_number_of_this_project_s_prose_is_what_was_measured():
    found = prose.run(ROOT)
    assert not found["faults"], prose.text(found)
