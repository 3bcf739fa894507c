"""Set-up: the environment files agree, ./run takes every branch, and the command line is light."""

import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = [
    Requirement(text)
    for text in PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
]
LOCK = (ROOT / "requirements.lock").read_text()
HEAVY = {"alphalens", "lightgbm", "matplotlib", "numba", "pandas", "polars", "scipy", "seaborn"} | {
    "shap",
    "sklearn",
}


# -- the environment files --------------------------------------------------------------------


def _by_name(requirements):
    return {canonicalize_name(item.name): item.specifier for item in requirements}


def test_environment_is_the_generators_output():
    done = subprocess.run([sys.executable, ROOT / "tools" / "sync_env.py", "--check"])
    assert done.returncode == 0, "environment.yml is out of date: python tools/sync_env.py"


def test_environment_asks_for_what_pyproject_asks_for():
    parsed = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert parsed["channels"] == ["conda-forge"]
    *conda, pip = parsed["dependencies"]
    conda = dict(item.partition(" ")[::2] for item in conda)
    assert conda.pop("python") == PROJECT["project"]["requires-python"]
    assert conda.pop("pip") == ""
    assert pip["pip"].pop() == "-e ."
    conda["duckdb"] = conda.pop("python-duckdb")
    found = {canonicalize_name(name): SpecifierSet(text) for name, text in conda.items()}
    found |= _by_name(Requirement(text) for text in pip["pip"])
    assert found == _by_name(WANTED)


@pytest.mark.parametrize("name", ["environment.yml", "requirements.lock"])
def test_no_host_is_named(name):
    assert not re.search(r"[a-z]+://|--(extra-)?index|--find-links", (ROOT / name).read_text())


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.name)
def test_every_dependency_has_a_floor_and_a_cap(wanted):
    operators = {specifier.operator for specifier in wanted.specifier}
    assert ">=" in operators and operators & {"<", "<="}, f"{wanted} lacks a floor or a cap"


def _locked():
    """Return each locked name with its version on this machine; hashes are counted too."""
    pins = {}
    for block in re.split(r"\n(?=\S)", LOCK.strip()):
        requirement = Requirement(block.split("\\")[0].strip())
        if requirement.marker and not requirement.marker.evaluate(default_environment()):
            continue
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "--hash=sha256:" in block, block.splitlines()[0]
        pins[canonicalize_name(requirement.name)] = specifier.version
    return pins


def test_lock_satisfies_pyproject():
    pins = _locked()
    assert len(pins) > len(WANTED)
    for name, specifier in _by_name(WANTED).items():
        assert name in pins, f"{name} is not in requirements.lock: ./run lock"
        assert specifier.contains(pins[name]), f"{name} {pins[name]} is not {specifier}: ./run lock"


def test_wheel_builds_and_holds_the_package_alone(tmp_path):
    tree, out = tmp_path / "tree", tmp_path / "out"
    shutil.copytree(ROOT / "research", tree / "research", ignore=shutil.ignore_patterns("__py*"))
    for name in ("data", "reports", "tests"):
        (tree / name).mkdir()
        (tree / name / "stray.txt").write_text("not for the wheel")
    shutil.copy(ROOT / "pyproject.toml", tree)
    if (ROOT / "README.md").exists():
        shutil.copy(ROOT / "README.md", tree)
    else:
        (tree / "README.md").write_text("# not written yet\n")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out]
    done = subprocess.run(build, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "research/schema.py" in names and "research/study/__init__.py" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"research"}


# -- the command line -------------------------------------------------------------------------

HELP = """
import runpy, sys
sys.argv = ["research", "--help"]
try:
    runpy.run_module("research", run_name="__main__", alter_sys=True)
finally:
    print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


BARE = "import typer.rich_utils"


@pytest.fixture
def helped():
    def call(code=HELP):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done, cpu

    return call


def test_help_imports_nothing_heavy(helped):
    done, _ = helped()
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "typer" in loaded, "the list of modules is not the command line's"
    assert not loaded & HEAVY


def test_help_is_quick(helped):
    """In CPU seconds, beside what its library alone takes: a slow machine is no failure."""
    ours, bare = (min(helped(code)[1] for _ in range(3)) for code in (HELP, BARE))
    assert ours < 0.25 + 1.5 * bare


# -- ./run, with a python and a uv that only keep a diary ------------------------------------

FAKE_PYTHON = """#!/bin/sh
echo "python $*" >>"$DIARY"
case "$*" in *pip*install* | *venv*) echo "noise on stdout" ;; esac
make() {{ mkdir -p .venv/bin && cp "$SELF" .venv/bin/python; }}
case "$*" in
--version) echo "Python 3.9.2" ;;
"-c import sys;"*) [ -z "${{OLD:-}}" ] ;;
-c*) exec {python} "$@" ;;
"-m venv --without-pip .venv") [ -z "${{NO_VENV:-}}" ] && make ;;
"-m venv .venv") [ -z "${{NO_VENV:-}}${{NO_ENSUREPIP:-}}" ] && make || {{ mkdir .venv; exit 1; }} ;;
*pip*install*uv*) [ -z "${{NO_UV:-}}${{NO_PIP:-}}" ] && cp "$FAKE_UV" .venv/bin/uv ;;
*pip*install*) sleep "${{SLOW:-0}}"; [ -z "${{BROKEN:-}}${{NO_PIP:-}}" ] ;;
"-m jupyterlab"*) echo "$JUPYTER_PATH $JUPYTER_CONFIG_PATH $*" ;;
*) echo "ran $*" ;;
esac
"""
FAKE_UV = """#!/bin/sh
echo "uv $*" >>"$DIARY"
echo "noise on stdout"
case "$*" in
venv*) mkdir -p .venv/bin && cp "$SELF" .venv/bin/python ;;
*) sleep "${SLOW:-0}"; [ -z "${UV_FAILS:-}${BROKEN:-}" ] ;;
esac
"""
TOOLS = ["cat", "cksum", "cp", "dirname", "id", "mkdir", "rm", "sed", "sh", "sleep", "uname"]
EDITABLE = "pip install -q --no-deps --no-build-isolation -e ."
FROM_LOCK = "install -q --require-hashes -r requirements.lock"


def _script(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Machine:
    """A folder holding ./run, and a PATH with nothing but the tools and fakes put there."""

    def __init__(self, folder):
        self.tree, self.bin = folder / "a book", folder / "bin"
        self.diary = folder / "diary"
        self.tree.mkdir()
        self.bin.mkdir()
        for name in ("run", "pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, self.tree)
        for name in TOOLS:
            (self.bin / name).symlink_to(shutil.which(name))
        self.uv = _script(folder / "uv", FAKE_UV)
        self.python = _script(self.bin / "python3.11", FAKE_PYTHON.format(python=sys.executable))
        self.path = str(self.bin)

    def env(self, **faults):
        fixed = {"PATH": self.path, "DIARY": self.diary, "SELF": self.python, "FAKE_UV": self.uv}
        return {key: str(value) for key, value in (fixed | faults).items()}

    def start(self, *words, **faults):
        return subprocess.Popen(
            [self.tree / "run", *words],
            cwd=self.tree.parent,
            env=self.env(**faults),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words, **faults):
        """Run ./run and return (exit code, stdout, stderr, what python and uv were asked)."""
        self.diary.write_text("")
        process = self.start(*words, **faults)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err, self.asked()

    def asked(self):
        lines = self.diary.read_text().splitlines()
        return [line for line in lines if line.startswith(("python -m", "uv"))]

    @property
    def stamp(self):
        return self.tree / ".venv" / ".stamp"


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_first_run_sets_up_and_the_second_does_not(machine):
    code, out, err, asked = machine.run("runs", "--json")
    assert code == 0
    assert out == "ran -m research runs --json\n"  # set-up says nothing on stdout
    assert "setting up .venv" in err and "minutes" in err
    assert asked == [
        "python -m venv .venv",
        "python -m pip --disable-pip-version-check install -q uv>=0.13,<1",
        f"uv --system-certs pip install -q --python .venv/bin/python {FROM_LOCK[11:]}",
        "uv --offline pip install -q --no-deps --no-build-isolation -e . --python .venv/bin/python",
        "python -m research runs --json",
    ]
    code, out, err, asked = machine.run("runs")
    assert (code, asked) == (0, ["python -m research runs"])
    assert "run:" not in err


def test_a_word_alone_and_none_go_to_the_command_line(machine):
    machine.run()
    assert machine.run()[1] == "ran -m research\n"
    assert machine.run("campaign", "truth")[1] == "ran -m research campaign truth\n"
    assert machine.run("new", "two words")[1] == "ran -m research new two words\n"
    assert machine.run("check", "-k", "x")[1] == "ran tools/check.py -k x\n"


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
def test_a_changed_file_sets_up_again(machine, name):
    machine.run("runs")
    with (machine.tree / name).open("a") as file:
        file.write("\n# changed\n")
    *_, asked = machine.run("runs")
    assert "python -m venv .venv" in asked


def test_a_moved_folder_sets_up_again(machine):
    machine.run("runs")
    machine.tree = machine.tree.rename(machine.tree.parent / "elsewhere")
    *_, asked = machine.run("runs")
    assert "python -m venv .venv" in asked


def test_pip_where_uv_cannot_be_fetched(machine):
    code, _, err, asked = machine.run("runs", NO_UV=1)
    assert code == 0
    assert "installing with pip" in err
    assert f"python -m pip --disable-pip-version-check {FROM_LOCK}" in asked
    assert f"python -m pip --disable-pip-version-check {EDITABLE[4:]}" in asked


def test_pip_where_uv_fails(machine):
    code, _, _, asked = machine.run("runs", UV_FAILS=1)
    assert code == 0
    assert f"python -m pip --disable-pip-version-check {FROM_LOCK}" in asked
    assert asked[-2] == f"python -m pip --disable-pip-version-check {EDITABLE[4:]}"


def test_outer_pip_where_ensurepip_is_missing(machine):
    code, _, _, asked = machine.run("runs", NO_ENSUREPIP=1, NO_UV=1)
    assert code == 0
    outer = "python -m pip --python .venv/bin/python --disable-pip-version-check"
    assert asked[1] == "python -m venv --without-pip .venv"
    assert f"{outer} {FROM_LOCK}" in asked
    assert f"{outer} {EDITABLE[4:]}" in asked


def test_uv_alone_is_enough(machine):
    shutil.copy(machine.uv, machine.bin / "uv")
    code, out, _, asked = machine.run("runs", NO_VENV=1, NO_PIP=1)
    assert (code, out) == (0, "ran -m research runs\n")
    assert f"uv venv -q --python {machine.python} .venv" in asked


def test_nothing_to_install_with_is_said(machine):
    code, out, err, _ = machine.run("runs", NO_VENV=1, NO_PIP=1)
    assert (code, out) == (1, "")
    assert "python3-venv" in err.splitlines()[-1]
    assert not machine.stamp.exists()


def test_python_too_old(machine):
    code, out, err, _ = machine.run("runs", OLD=1)
    assert (code, out) == (2, "")
    assert "needs Python 3.11, 3.12 or 3.13" in err.splitlines()[-1]
    assert not (machine.tree / ".venv").exists()


def test_python_can_be_named(machine):
    named = machine.python.rename(machine.bin / "my python")
    assert machine.run("runs")[0] == 2
    assert machine.run("runs", PYTHON=named, SELF=named)[0] == 0


def test_another_system_is_refused(machine):
    (machine.bin / "uname").unlink()
    _script(machine.bin / "uname", "#!/bin/sh\necho Darwin arm64\n")
    code, _, err, _ = machine.run("runs")
    assert code == 2
    assert "Darwin arm64" in err and "environment.yml" in err


def test_the_environment_being_replaced_does_not_replace_itself(machine):
    machine.run("runs")
    own = machine.tree / ".venv" / "bin"
    shutil.copy(own / "python", own / "python3.11")  # as after `activate`
    machine.path = f"{own}:{machine.bin}"
    machine.stamp.write_text("stale")
    code, _, _, asked = machine.run("runs")
    assert code == 0
    assert "python -m venv .venv" in asked


def test_a_failed_set_up_is_said_and_redone(machine):
    code, out, err, _ = machine.run("runs", BROKEN=1)
    assert (code, out) == (1, "")
    assert "set-up failed" in err.splitlines()[-1]
    assert not machine.stamp.exists()
    assert machine.run("runs")[0] == 0
    assert machine.stamp.exists()


def _wait_for(line, machine):
    until = time.monotonic() + 20
    while not any(line in asked for asked in machine.asked()):
        assert time.monotonic() < until, f"{line} never came: {machine.asked()}"
        time.sleep(0.01)


def test_an_interrupted_set_up_is_redone(machine):
    machine.diary.write_text("")
    process = machine.start("runs", SLOW=60)
    _wait_for("requirements.lock", machine)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not machine.stamp.exists()
    code, _, err, asked = machine.run("runs")
    assert code == 0
    assert "waiting" not in err, "the lock of a killed set-up stayed behind"
    assert "python -m venv .venv" in asked


def test_two_starts_set_up_once(machine):
    machine.diary.write_text("")
    first = machine.start("runs", SLOW=1)
    _wait_for("requirements.lock", machine)
    second = machine.start("compare")
    errors = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert machine.asked().count("python -m venv .venv") == 1
    assert "another set-up is under way" in errors[1]
    assert "waiting" not in errors[0]


def test_lab_opens_the_tour_with_our_kernel(machine):
    machine.run("runs")
    _, out, _, _ = machine.run("lab", "--no-browser", JUPYTER_PATH="mine")
    ours = f"{machine.tree}/tools/jupyter"
    assert out.startswith(f"{ours}:mine {ours} -m jupyterlab --ServerApp.root_dir={machine.tree} ")
    assert "--LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb" in out
    _, told, _, _ = machine.run("lab", "--json", "--no-browser", JUPYTER_PATH="mine")
    first, rest = told.split("\n", 1)
    assert json.loads(first)["command"] == "lab"
    assert rest == out
    assert out.endswith("--no-browser\n")


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("new==1.0 --hash=sha256:00", False),
        ("new @ https://host.example/new.whl", True),
        ("--extra-index-url file:///there\nnew==1.0", True),
    ],
)
def test_a_lock_that_names_a_host_is_refused(machine, line, kept):
    tree = machine.tree
    (tree / "tools").mkdir()
    for name in ("lock.sh", "sync_env.py"):
        shutil.copy(ROOT / "tools" / name, tree / "tools")
    (tree / ".venv" / "bin").mkdir(parents=True)
    export = f"case \"$*\" in *export*) echo '{line}' >requirements.lock.new ;; esac"
    _script(tree / ".venv" / "bin" / "uv", f"#!/bin/sh\n{export}\n")
    before = (tree / "requirements.lock").read_text()
    done = subprocess.run([tree / "run", "lock"], capture_output=True, text=True)
    assert done.returncode == int(kept), done.stderr
    assert ((tree / "requirements.lock").read_text() == before) == kept
    assert not (tree / "requirements.lock.new").exists()
    assert (tree / "environment.yml").exists() != kept


@pytest.mark.parametrize("name", ["run", ".ci/run", "tools/lock.sh"])
def test_scripts_are_posix(name):
    shell = shutil.which("dash")
    if not shell:
        pytest.skip("dash is not installed")
    path = ROOT / name
    assert path.read_text().startswith("#!/bin/sh\n") and os.access(path, os.X_OK)
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- the closing line of ./run check ----------------------------------------------------------

SAMPLE = """
import pytest
def test_good(): pass
@pytest.mark.skipif(True, reason="real data absent")
def test_absent(): pass
def test_asked(): pytest.skip("no Chromium")
@pytest.mark.xfail(reason="known")
def test_known(): assert False
"""


def test_closing_line_names_every_skip(tmp_path):
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_thing')\n")
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={tmp_path / 'tests.xml'}"]
    command += ["-o", "junit_family=xunit1", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    told = subprocess.run(
        [sys.executable, "-c", CLOSING, tmp_path],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
    )
    assert told.stdout.startswith("check: FAILED (mypy) in 1 min 1 s; 1 passed; 4 skipped: "), told
    for skip in ("(real data absent)", "(no Chromium)", "(known)", "No module named"):
        assert skip in told.stdout


CLOSING = """
import sys, check
from pathlib import Path
print(check.closing(["mypy"], *check.outcomes(Path(sys.argv[1])), 61.0))
"""
