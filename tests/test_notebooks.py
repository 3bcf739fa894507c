"""A stage is one thing, however it is started; and a run that was killed leaves no trace."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from tests_settings import SMALL

from research import campaigns, notebooks, pipeline, stages, sweeps
from research.errors import UserError
from research.study import ROOT, read

NOTEBOOK = ROOT / "notebooks" / "03_training.ipynb"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Give data and reports folders of their own, and a study that takes seconds."""
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ALPHABOOK_REPORTS", str(tmp_path / "reports"))
    lines = [f"{key} = {json.dumps(value)}" for key, value in SMALL.items()]
    (tmp_path / "small.toml").write_text("\n".join(lines))
    return tmp_path


def forecasts(folder):
    (table,) = (folder / "data" / "forecasts").glob("*/table.parquet")
    return table.read_bytes()


@pytest.mark.slow
def test_run_all_papermill_and_the_command_line_give_the_same_bytes(home, tmp_path, monkeypatch):
    study = str(home / "small.toml")
    stages.run_stage("train", study, {}, fresh=set())
    by_command = forecasts(home)

    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("ALPHABOOK_DATA", str(elsewhere / "papermill" / "data"))
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    out = elsewhere / "out.ipynb"
    papermill.execute_notebook(
        str(NOTEBOOK), str(out), {"study": study}, kernel_name="python3", progress_bar=False
    )
    assert forecasts(elsewhere / "papermill") == by_command

    monkeypatch.setenv("ALPHABOOK_DATA", str(elsewhere / "lab" / "data"))
    book = nbformat.read(NOTEBOOK, 4)
    for cell in book.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = f"study = {study!r}\noptions = {{}}"
    NotebookClient(book, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    assert forecasts(elsewhere / "lab") == by_command


def test_a_mistake_inside_a_notebook_is_the_user_s_one_line(home):
    with pytest.raises(UserError, match="not/there") as caught:
        stages.run_stage(
            "download", "demo", {"data.source": "files", "data.path": "not/there"}, fresh=set()
        )
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (home / "data" / "bars").exists()


def test_a_notebook_says_a_wrong_parameter_in_one_line(tmp_path):
    with pytest.raises(papermill.exceptions.PapermillExecutionError) as caught:
        papermill.execute_notebook(
            str(NOTEBOOK),
            str(tmp_path / "out.ipynb"),
            {"options": 5},
            kernel_name="python3",
            progress_bar=False,
        )
    assert caught.value.ename == "UserError"
    assert caught.value.traceback == [
        "error: options: expected a dict such as {'seed': 1}, found 5."
    ]


@pytest.mark.slow
def test_a_killed_stage_ends_with_the_same_tables(home):
    found = campaigns.interruption(1, 1, command="backtest")  # whole reports: ./run campaign
    assert found["kills"] == 1
    assert found["tables"] > 10
    assert found["differing"] == []


def test_a_copy_of_a_notebook_is_one_s_own(home, monkeypatch):
    (home / "books" / "my").mkdir(parents=True)
    shutil.copy(NOTEBOOK, home / "books")
    monkeypatch.setattr(notebooks, "FOLDER", home / "books")
    made = Path(stages.new_notebook("idea", "train")["notebook"])
    cells = [c for c in nbformat.read(made, 4).cells if c.cell_type == "code"]
    assert cells
    assert all(not c.outputs and c.execution_count is None for c in cells)
    with pytest.raises(UserError, match="exists"):
        stages.new_notebook("idea", "train")


def test_a_sweep_skips_what_is_done_and_sets_failures_aside(home, monkeypatch):
    study = str(home / "small.toml")
    grid = ["validation.train=6 d,400 d", "evaluation.bins=5,10"]
    first = sweeps.run(study, {}, grid)
    assert [row["settings"]["evaluation.bins"] for row in first.rows] == [5, 10]
    assert len(first.failed) == 2
    assert "400 d" in first.failed[0]["error"]
    assert "set aside" in first.text()

    monkeypatch.setattr(sweeps, "found", lambda study: pytest.fail("done work was done again"))
    again = sweeps.run(study, {}, [*grid[1:], "validation.train=6 d"])
    assert [row["found"] for row in again.rows] == [row["found"] for row in first.rows]


def test_ctrl_c_ends_at_once_and_leaves_the_lock_free(home):
    words = [sys.executable, "-m", "research", "train", str(home / "small.toml")]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, env=os.environ)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    stages.run_stage("train", str(home / "small.toml"), {}, fresh=set())


@pytest.mark.parametrize("stage", ["features", "train", "backtest"])
def test_a_stage_told_to_work_anew_rebuilds_the_same_bytes(home, monkeypatch, stage):
    monkeypatch.setattr(notebooks, "execute", lambda *_: pipeline.backtest(chosen))
    chosen = read(home / "small.toml")
    pipeline.backtest(chosen)
    (place,) = stages.places(chosen, stage).values()
    before = {p.name: p.read_bytes() for p in place.glob("*.parquet")}
    for path in place.glob("*.parquet"):
        path.write_bytes(b"damaged")
    if stage == "train":
        with pytest.raises(UserError, match="--recompute"):
            pipeline.backtest(chosen)
    stages.run_stage(stage, str(home / "small.toml"), {}, fresh={"recompute"})
    assert {p.name: p.read_bytes() for p in place.glob("*.parquet")} == before
