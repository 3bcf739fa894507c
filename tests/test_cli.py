import json
import subprocess
import sys

import pytest

from research import cli, recorder
from research.errors import UserError


def run(capsys, *words):
    """Run the command line in this process; returns exit code, stdout and stderr."""
    before, sys.argv = sys.argv, ["run", *words]
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = before
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ALPHABOOK_REPORTS", str(tmp_path / "reports"))
    return tmp_path


MISTAKES = {
    "unknown key": (
        ["train", "demo", "-o", "labels.hprizon=1 min"],
        "Did you mean 'labels.horizon'",
    ),
    "wrong unit": (["backtest", "demo", "--fee", "5 pips"], "bps or %"),
    "fee without unit": (
        ["backtest", "demo", "--fee", "5"],
        "within 0.1 of zero, found '5'. Did you mean '5 bps'?",
    ),
    "threshold without unit": (
        ["backtest", "demo", "-o", "backtest.enter=2"],
        "Did you mean '2 bps'?",
    ),
    "threshold of 60 %": (
        ["backtest", "demo", "-o", "backtest.leave=60 %"],
        "less than 0.5, found '60 %'.\n",
    ),
    "no such venue": (["record", "--venue", "nope"], "Known: binance_usdm, binance_spot, bybit."),
    "no such job": (["jobs", "demo", "--once", "helth"], "Did you mean 'health'? Here: download, "),
    "no such simulated symbol": (
        ["record", "--simulated", "--symbols", "BTCUSDT,SIM02USDT"],
        "does not know BTCUSDT. With as many symbols it knows SIM01USDT, SIM02USDT.",
    ),
    "end before start": (
        ["train", "demo", "-o", "data.start=2025-02-01", "-o", "data.end=2025-01-01"],
        "end",
    ),
    "no such own model": (
        ["report", "demo", "-o", "model.name=my_models:forrest"],
        "learner 'my_models:forrest': my_models.py has no 'forrest'. Did you mean 'forest'?",
    ),
    "no such own model in a league": (
        ["train", "demo", "-o", 'model.league=["my_model:forest"]'],
        "no file my_model.py in studies/. Did you mean 'my_models'?",
    ),
    "no such own feature": (
        ["sweep", "demo", "-g", "seed=1", "-o", 'features.extra=["my_features:vwap"]'],
        "my_features.py has no 'vwap'",
    ),
    "no such feature set": (["live", "demo", "-o", "features.set=S5"], "no such set. Did you mean"),
    "one choice of a search": (
        ["search", "demo", "-s", "model.name=ridge,my_models:nope"],
        "my_models.py has no 'nope'",
    ),
    "unknown study": (["train", "demmo"], "Did you mean 'demo'"),
    "wrong type": (["evaluate", "demo", "-o", "evaluation.bins=ten"], "evaluation.bins"),
    "option without value": (["train", "demo", "-o", "seed"], "expected KEY=VALUE"),
    "no grid": (["sweep", "demo"], "name at least one setting"),
    "bad grid": (["sweep", "demo", "-g", "seed"], "expected KEY=V1,V2"),
    "no run": (["compare", "a", "b"], "no runs yet"),
    "unknown campaign": (["campaign", "truht"], "Did you mean 'truth'"),
    "bad notebook name": (["new", "../x"], "letters, digits"),
    "unknown stage": (["new", "x", "--stage", "trian"], "Did you mean"),
    "no such file": (
        [
            "sweep",
            "demo",
            "-g",
            "seed=1",
            "-o",
            "data.source=files",
            "-o",
            "data.path=not/there.csv",
        ],
        "not/there.csv",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(capsys, mistake, tmp_path):
    words, said = MISTAKES[mistake]
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    "words", [["train", "-o", "a=1"], ["sweep"], ["audit", "paths", "-o", "a=1"]]
)
def test_a_command_without_a_study_says_which_it_takes(capsys, words):
    code, out, err = run(capsys, *words)
    first, second, *more = err.splitlines()
    assert (code, out, more) == (2, "", [])
    assert (
        first.startswith("no study was named: taking demo.") and "./run report quantiles" in first
    )
    assert second.startswith("error: ")


def test_the_parser_s_own_mistakes_exit_2(capsys):
    assert run(capsys, "trian")[0] == 2
    assert run(capsys, "train", "--no-such-flag")[0] == 2


def test_an_unwritable_data_folder_is_one_line(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path / "file" / "data"))
    code, _, err = run(capsys, "train")
    assert code == 2
    assert "cannot write" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "why"),
    [(["trials"], "Not a directory"), (["record", "--simulated"], "not a folder that can be")],
)
def test_a_file_in_place_of_the_data_folder_is_one_line(capsys, tmp_path, words, why):
    (tmp_path / "data").write_text("")
    code, _, said = run(capsys, *words)
    assert code == 2 and said.count("\n") == 1 and why in said


@pytest.mark.parametrize(
    ("words", "place"), [([], "binance_usdm"), (["--simulated"], "simulated/binance_usdm")]
)
def test_what_a_simulated_venue_says_is_kept_apart(capsys, tmp_path, monkeypatch, words, place):
    async def nothing(*_, **__):
        raise UserError("nothing is recorded here")

    where = []
    monkeypatch.setattr(recorder, "capture", lambda *told, **_: where.append(told[3]) or nothing())
    monkeypatch.setattr("research.cli.record._reached", lambda *_: _none())
    assert run(capsys, "record", *words)[0] == 2
    assert where == [tmp_path / "data" / "recordings" / place]


async def _none():
    return None


def test_a_second_interruption_says_nothing():
    """The first says one line, stops what is logged of tasks cut off, and leaves with 130."""
    script = (
        "import atexit, logging, os, signal; from research import cli\n"
        "def again():\n"
        "    logging.getLogger('asyncio').error('Task exception was never retrieved')\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
        "atexit.register(again); signal.signal(signal.SIGINT, cli._interrupted)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted: run it again, and it goes on where it stopped\n"


def test_the_same_work_twice_exits_75(capsys):
    from research.store import atomic

    with atomic.only_one("demo"):
        # flock is held by this very process: open the lock again, as another process would
        code, _, err = run(capsys, "train", "demo")
    assert code == 75
    assert err.startswith("already running: demo")


def test_runs_of_nothing(capsys):
    assert run(capsys, "runs") == (0, "no runs yet: start with ./run demo\n", "")
    assert json.loads(run(capsys, "runs", "--json")[1]) == {"runs": []}


def test_every_command_takes_json_and_explains_itself(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(word in out for word in ("demo", "report", "sweep", "Exit codes"))
    for command in (
        *cli.STAGES,
        "demo",
        "sweep",
        "runs",
        "compare",
        "new",
        "campaign",
        "lab",
        "check",
    ):
        code, out, _ = run(capsys, command, "--help")
        assert code == 0
        assert "--json" in out, command


def test_short_flags_are_study_keys():
    from research import study

    options = cli.read_options(
        symbols="A, B", single=True, interval="5m", bins=5, quantile=5, scope="fold",
        side="long", fee="2 bps", seed=7, continue_rounds=3,
    )  # fmt: skip
    made = study.read("demo", options)
    assert made.data.symbols == ["A", "B"]
    assert (made.costs.fee, made.seed, made.backtest.side) == (0.0002, 7, "long")
    assert set(options) == {*cli.KEYS.values(), "simulated.seed", "backtest.rule"}


def test_dot_env_never_wins_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "research" / "cli" / "__init__.py"))
    (tmp_path / ".env").write_text("# note\nALPHABOOK_A=file\nALPHABOOK_B='file'\n")
    monkeypatch.setenv("ALPHABOOK_A", "mine")
    monkeypatch.delenv("ALPHABOOK_B", raising=False)
    cli._read_env_file()
    import os

    assert (os.environ["ALPHABOOK_A"], os.environ["ALPHABOOK_B"]) == ("mine", "file")
    monkeypatch.delenv("ALPHABOOK_B")
