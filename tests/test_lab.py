"""JupyterLab itself: a person opens the notebook in a browser, runs all, and sees figures."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
OURS = ROOT / "tools" / "jupyter"
STUDY = ROOT / "notebooks" / "02_feature_study.ipynb"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "tour"


def _environment(folder):
    """Return what ``./run lab`` sets, with all that is written going to a folder thrown away."""
    jupyters = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    places = {
        name: str(folder / name) for name in (*jupyters, "ALPHABOOK_DATA", "ALPHABOOK_REPORTS")
    }
    ours = {"JUPYTER_PATH": str(OURS), "JUPYTER_CONFIG_PATH": str(OURS)}
    return {**os.environ, **places, **ours, "IPYTHONDIR": str(folder / "ipython")}


# -- the kernel that ./run lab starts ---------------------------------------------------------


def test_kernel_reloads_and_draws_inline(tmp_path, monkeypatch):
    for key, value in (_environment(tmp_path) | {"MPLBACKEND": "Agg"}).items():
        monkeypatch.setenv(key, value)
    module = tmp_path / "idea.py"
    module.write_text("def answer():\n    return 'before'\n")
    cells = [
        "import idea\nidea.answer()",
        # A later time of change, however quick the cells: a person's edits are seconds apart.
        f"import os\nfrom pathlib import Path\nPath({str(module)!r}).write_text("
        "\"def answer():\\n    return 'afterwards'\\n\")\n"
        f"os.utime({str(module)!r}, (2e9, 2e9))",
        "idea.answer()",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "import research.schema",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, kernel_name="python3", timeout=60, resources=resources).execute()
    shown = [[output.get("data", {}) for output in cell.outputs] for cell in book.cells]
    assert shown[0][0]["text/plain"] == "'before'"
    assert shown[2][0]["text/plain"] == "'afterwards'"
    assert any("image/png" in data for data in shown[3])


# -- the browser ------------------------------------------------------------------------------


class Lab:
    """A JupyterLab server on a free loopback port, serving one folder."""

    def __init__(self, folder, serve):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = (folder / "lab.log").open("w+")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                *("--ip=127.0.0.1", f"--port={self.port}", "--ServerApp.port_retries=0"),
                *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={serve}"),
            ],
            cwd=serve,
            env=_environment(folder),
            stdout=self.log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path):
        request = urllib.request.Request(
            self.url + path, headers={"Authorization": f"token {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def wait(self, done, what, seconds=120):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, f"JupyterLab ended: {self.said()}"
            try:
                if done():
                    return
            except OSError:
                pass  # not listening yet
            time.sleep(0.2)
        pytest.fail(f"{what} did not come within {seconds} s: {self.said()}")

    def kernel_ready(self):
        """Idle *and* attached: an idle kernel without its page ignores Run All, silently."""
        kernels = self.ask("/api/kernels")
        return any(k["connections"] >= 1 and k["execution_state"] == "idle" for k in kernels)

    def said(self):
        self.log.flush()
        return Path(self.log.name).read_text()[-2000:]

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()


@pytest.fixture
def lab(tmp_path):
    started = []

    def start(serve):
        started.append(Lab(tmp_path, serve))
        started[0].wait(lambda: started[0].ask("/api/status"), "the server")
        return started[0]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def page():
    if not BROWSER:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser.new_page(viewport={"width": 1400, "height": 3000})
        browser.close()


def _prompts(page):
    """Return the texts of all prompts seen, as ``[3]:``; a running cell's is ``[*]:``."""
    return page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()


def _run_all(lab, page):
    """Choose Run > Run All Cells as a person does, again until the kernel has taken it."""
    for _ in range(10):
        lab.wait(lab.kernel_ready, "an idle kernel with its page attached")
        page.get_by_text(re.compile(r"\| Idle")).first.wait_for(timeout=60_000)
        page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
        until = time.monotonic() + 5
        while time.monotonic() < until:
            if any(re.search(r"\[(\*|\d+)\]", text) for text in _prompts(page)):
                return
            page.wait_for_timeout(100)
    pytest.fail(f"Run All was never taken up: {lab.said()}")


def _open_and_run(lab, page, name, book):
    """Open `name`, run it all, save; return the notebook, addresses, figures, errors."""
    asked = set()
    page.on("request", lambda request: asked.add(request.url))
    page.on("websocket", lambda socket: asked.add(socket.url))
    page.goto(f"{lab.url}/lab/tree/{name}?token={TOKEN}&reset", timeout=120_000)
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=120_000)
    _run_all(lab, page)
    count = sum(cell["cell_type"] == "code" for cell in json.loads(book.read_text())["cells"])

    def ran():
        page.keyboard.press("Control+s")
        page.wait_for_timeout(300)
        try:
            held = json.loads(book.read_text())["cells"]
        except json.JSONDecodeError:
            return False  # it is being saved
        cells = [c for c in held if c["cell_type"] == "code"]
        failed = [o for c in cells for o in c["outputs"] if o["output_type"] == "error"]
        return failed or [c["execution_count"] for c in cells] == list(range(1, count + 1))

    lab.wait(ran, "the end of the notebook", 300)
    figures = page.locator(".jp-OutputArea-output img, .jp-OutputArea-output svg").count()
    errors = page.locator(".jp-OutputArea-output[data-mime-type*='error']").count()
    over = page.locator(".jp-Dialog, .Toastify__toast").all_inner_texts()
    assert not over, f"the page is covered: {over}"
    return json.loads(book.read_text()), asked, figures, errors


def _assert_shown(lab, page, book):
    # As committed the counts are there already: without them the end of the run can be seen.
    blank = nbformat.read(book, 4)
    for cell in blank.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(blank, book)
    saved, asked, figures, errors = _open_and_run(lab, page, book.name, book)
    outputs = [output for cell in saved["cells"] for output in cell.get("outputs", [])]
    failed = [output for output in outputs if output["output_type"] == "error"]
    assert not failed and not errors, failed
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert figures >= 1, "the figures are in the file and not on the page"
    local = f"127.0.0.1:{lab.port}/"
    web = {url for url in asked if url.startswith(("http", "ws"))}
    assert any(url.startswith(f"http://{local}") for url in web)
    assert any(url.startswith(f"ws://{local}") for url in web), "no kernel was talked to"
    assert not {url for url in web if url.partition("://")[2].find(local) != 0}


TINY = [
    "x = sum(range(10))\nprint('sum', x)",
    "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);",
    "import research.units\nresearch.units.fraction('8 bps')",
]


@pytest.mark.slow
def test_lab_runs_a_small_notebook(lab, page, tmp_path):
    serve = tmp_path / "notebooks"
    serve.mkdir()
    cells = [nbformat.v4.new_code_cell(source) for source in TINY]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    book = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.write(book, serve / "tiny.ipynb")
    _assert_shown(lab(serve), page, serve / "tiny.ipynb")


@pytest.mark.slow
def test_lab_runs_the_feature_study(lab, page, tmp_path):
    if not STUDY.exists():
        pytest.skip(f"notebooks/{STUDY.name} is not written yet")
    serve = tmp_path / "notebooks"
    shutil.copytree(ROOT / "notebooks", serve, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    _assert_shown(lab(serve), page, serve / STUDY.name)
