"""The live page: in a real browser, from a run that really trades, and against strangers."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from research.errors import UserError
from research.live import folders, journal
from research.live.page import server
from research.live.page.view import View, thin
from research.study import read

from .shown import CANARY, SMALL, START, beat, begun, folder, moment, row, write

ROOT = Path(__file__).resolve().parents[2]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


class Served:
    """The page of a run, served by a process of its own."""

    def __init__(self, place, **environment):
        code = "import sys; from pathlib import Path; from research.live.page import serve; "
        self.process = subprocess.Popen(
            [sys.executable, "-c", code + "serve(Path(sys.argv[1]), 0)", str(place)],
            cwd=ROOT,
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = self.process.stderr.readline()
        self.url = re.search(r"http://\S+", self.said)[0]
        self.port = int(re.search(r":(\d+)/", self.url)[1])
        self.token = self.url.partition("#")[2]
        self.base = self.url.partition("#")[0]

    def ask(self, path="", method="GET", **headers):
        request = urllib.request.Request(self.base + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def kill(self, **headers):
        given = {"Origin": self.base.rstrip("/"), "X-Token": self.token} | headers
        return self.ask("kill", "POST", **{k: v for k, v in given.items() if v is not None})[0]

    def first(self):
        """Return the first piece of news."""
        with urllib.request.urlopen(self.base + "events", timeout=20) as stream:
            return json.loads(stream.readline().decode().removeprefix("data: "))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def serve():
    started = []

    def start(place, **environment):
        started.append(Served(place, **environment))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def place(tmp_path):
    made = folder(tmp_path)
    write(made, *begun(), *(moment(n, equity=1e4 + n) for n in range(1, 40)))
    beat(made)
    return made


@pytest.fixture
def browser():
    if not BROWSER:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield made
        made.close()


@pytest.fixture
def page(browser):
    made = browser.new_page(viewport={"width": 1200, "height": 1000})
    made.faults = []
    made.on("pageerror", lambda error: made.faults.append(str(error)))
    made.on("console", lambda said: said.type == "error" and made.faults.append(said.text))
    yield made
    assert not made.faults


def until(page, script, seconds=30):
    """Wait for an expression to hold; the page's policy forbids Playwright's own way to."""
    ends = time.monotonic() + seconds
    while not page.evaluate(f"Boolean({script})"):
        assert time.monotonic() < ends, f"{script} did not come: {page.inner_text('main')[:800]}"
        time.sleep(0.05)


# -- strangers ------------------------------------------------------------------------------------


def test_it_listens_on_this_machine_alone(serve, place):
    served = serve(place)
    lines = Path("/proc/net/tcp").read_text() if Path("/proc/net/tcp").exists() else ""
    mine = [line.split()[1] for line in lines.splitlines() if f":{served.port:04X} " in line[:25]]
    assert {address.split(":")[0] for address in mine} <= {"0100007F"}
    found = server.bound(0)
    assert found.getsockname()[0] == "127.0.0.1"
    found.close()


@pytest.mark.parametrize("path", ["", "events", "static/page.js", "kill"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.nip.io:{}", "127.0.0.1", "x:{}", ""])
def test_a_foreign_name_is_refused(app, path, host):
    assert app("GET", "/" + path, host=host.format(8765)) == 403
    assert app("POST", "/" + path, host=host.format(8765)) == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1:80", ""]
)
def test_a_foreign_page_is_refused(app, origin, place):
    assert app("GET", "/events", origin=origin) == 403
    assert app("POST", "/kill", origin=origin, token="right") == 403
    assert not folders.killed(place)


def test_only_the_right_token_halts(app, place):
    home = "http://127.0.0.1:8765"
    for token in ("", "wrong", "rightt", "righ", "r\xefght"):
        assert app("POST", "/kill", origin=home, token=token) == 403
    assert app("POST", "/kill", token="right") == 403, "a browser always tells where it comes from"
    assert not folders.killed(place) and not folders.commands(place)
    assert app("POST", "/kill", origin=home, token="right") == 200
    assert folders.killed(place)
    assert [command.name for command in folders.commands(place)] == ["kill"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH"])
def test_nothing_else_can_be_told(app, method):
    assert app(method, "/", origin="http://127.0.0.1:8765", token="right") == 405
    assert app("GET", "/kill") == 405
    assert app("GET", "/static/../server.py") == 404
    assert app("GET", "/static/%2e%2e/server.py") == 404


@pytest.fixture
def app(place):
    """Ask the page's application without a socket; returns the status."""
    import asyncio

    made = server.app(place, 8765, "right")

    def ask(method, path, host="127.0.0.1:8765", origin=None, token=None):
        named = {"host": host, "origin": origin, "x-token": token}
        headers = [(k.encode(), v.encode("latin1")) for k, v in named.items() if v is not None]
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
        scope |= {"headers": headers, "query_string": b"", "root_path": "", "scheme": "http"}
        scope |= {"http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8765)}
        scope |= {"asgi": {"version": "3.0"}}
        sent, body = [], [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            return body.pop() if body else await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        asyncio.run(asyncio.wait_for(made(scope, receive, send), 5))
        return sent[0]["status"]

    return ask


def test_every_answer_forbids_what_is_not_ours(serve, place):
    served = serve(place)
    for path in ("", "static/page.js", "nowhere"):
        _, headers, _ = served.ask(path)
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"
    assert served.ask("", Host="evil.example")[0] == 403
    html = served.ask("")[2]
    assert not re.search(r"<script(?! src=)|<style|\bon\w+=|\bstyle=|javascript:", html)


def test_the_token_is_for_its_owner_alone_and_goes_with_the_page(serve, place):
    served = serve(place)
    path = place / server.TOKEN
    assert path.read_text() == served.token and len(served.token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    served.stop()
    assert served.process.returncode == 0 and not path.exists()


def test_a_port_that_is_taken_is_told(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"page: port \d+ must be free"):
            server.serve(place, taken.getsockname()[1])


# -- what it shows --------------------------------------------------------------------------------

EVIL = "<img src=x onerror=\"document.body.dataset.evil='1'\"><script>evil=1</script>'\"&\x1b"


def hostile(tmp_path):
    """Return a run in which every text is markup."""
    made = folder(tmp_path, "2026-11-21_0700_demo_ev<b>1")
    study = read("demo", {}).model_dump(mode="json")
    start, swap = begun(study=study)
    swap[1].update(model=EVIL, why=EVIL)
    seen = {"feature": EVIL, "psi": 1.0, "limit": 0.25}
    told = [
        ("challenger", {"time": START, "model": EVIL + "2"}),
        *(
            moment(n, row(EVIL, reason=EVIL, challenger=0.002, model=EVIL, source=EVIL))
            for n in range(1, 30)
        ),
        ("retrain", {"time": START, "at": START, "trigger": "drift", "evidence": seen}),
        ("note", {"time": START, "kind": "alarm", "what": EVIL, "why": EVIL, "route": EVIL}),
        ("note", {"time": START, "kind": "gap", "symbol": EVIL}),
        ("train_failed", {"time": START, "at": START, "why": EVIL}),
        ("control", {"time": START, "state": 2, "was": 0, "why": EVIL, "by": EVIL}),
        ("stop", {"time": START, "why": "error " + EVIL}),
    ]
    write(made, start, swap, *told)
    stream = {"name": EVIL, "state": EVIL, "last_us": START, "messages": EVIL, "why": EVIL}
    beat(made, feed=[stream], state=EVIL, model=EVIL)
    return made


def test_no_text_becomes_markup(serve, page, tmp_path):
    page.goto(serve(hostile(tmp_path)).url)
    until(page, "document.querySelectorAll('#decisions tr').length == 29")
    page.wait_for_timeout(300)
    assert page.evaluate("document.body.dataset.evil") is None
    assert page.evaluate("typeof evil") == "undefined"
    assert page.locator("img, main b, main script").count() == 0
    for part in (
        "#decisions",
        "#positions",
        "#feed",
        "#alarms",
        "#model",
        "#notice",
        "#challenger",
    ):
        assert "<img src=x onerror=" in page.locator(part).text_content(), part
    assert "<img src=x" in page.locator("#drift").text_content()


def test_what_a_person_sees(serve, page, tmp_path):
    made = folder(tmp_path)
    rows = (row("AUSDT", position=0.5), row("BUSDT", reason="entry", position=-2.0))
    write(made, *begun(), *(moment(n, *rows, equity=1e4 - n) for n in range(1, 700)))
    write(made, ("note", {"time": START, "kind": "gap", "symbol": "CUSDT"}))
    write(made, ("stop", {"time": START, "why": "end of the time asked for"}))
    beat(made)
    page.goto(serve(made).url)
    until(page, "document.querySelectorAll('#decisions tr').length == 30")
    assert page.inner_text("#equity") == "9,301.00" and page.inner_text("#change") == "-6.990 %"
    assert re.match(r"not running since 20\d\d-.* UTC: end of the time", page.inner_text("#notice"))
    assert page.inner_text("#positions tr:nth-child(2)").split() == [
        "BUSDT",
        "-2",
        "100",
        "-200.00",
    ]
    assert "entry" in page.inner_text("#decisions tr:first-child")
    assert "the venue has no bar: CUSDT" in page.inner_text("#alarms")
    assert page.inner_text("#model") == "ridge-1" and page.inner_text("#state") == "active"
    points = page.get_attribute("#curve polyline", "points").split()
    assert 200 <= len(points) <= 402 and points[0].startswith("0.0,")
    assert float(points[-1].split(",")[1]) > float(points[0].split(",")[1]), "down is down"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_small_screen_in_light_and_dark(serve, browser, place, scheme):
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    page.goto(serve(place).url)
    until(page, "document.querySelectorAll('#decisions tr').length > 0")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator("#kill").is_visible()
    ink, paper = (
        page.evaluate(f"getComputedStyle(document.body).{name}")
        for name in ("color", "backgroundColor")
    )
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper))
    assert (ink > paper) is (scheme == "dark") and abs(ink - paper) > 400


def test_the_challenger_s_evidence_is_drawn(serve, page, tmp_path):
    made = folder(tmp_path)
    start, swap = begun(study=read("demo", {}).model_dump(mode="json"))
    told = [moment(n, row(challenger=0.001 * (-1) ** n, close=100 + n % 7)) for n in range(1, 50)]
    write(made, start, swap, ("challenger", {"time": START, "model": "ridge-2"}), *told)
    beat(made)
    page.goto(serve(made).url)
    until(page, "document.querySelector('#challenger').textContent.includes('ridge-2')")
    text = page.inner_text("#challenger")
    assert re.search(r"e-value \S+ of 20 needed · \d+ bets", text)
    assert page.locator("#evidence polyline").count() == 1


def test_a_damaged_journal_is_told(serve, place):
    path = place / "journal.sqlite"
    whole = path.read_bytes()
    at = whole.rindex(b'"equity":10010.0')
    path.write_bytes(whole[:at] + whole[at:].replace(b"10010", b"10011", 1))
    news = serve(place).first()
    assert (news["condition"], news["well"]) == ("damaged", False)
    assert "./run repair" in news["problems"][0]


def test_news_is_small_and_thin_curves_keep_every_dip(tmp_path):
    made = folder(tmp_path)
    write(made, *begun(), *(moment(n, equity=1e4 - 50 * (n == 777)) for n in range(1, 1500)))
    said = json.dumps(View(made).now(), allow_nan=False)
    assert len(said) < 40_000
    assert min(value for _, value in json.loads(said)["curve"]) == 9_950
    assert thin([]) == []


def test_a_body_of_another_version_is_told_and_not_fatal(tmp_path):
    made = folder(tmp_path)
    write(made, *begun(), ("moment", {"time": START}))
    assert "another version" in View(made).now()["problems"][0]


def test_a_journal_that_was_repaired_is_looked_at_again(place):
    view = View(place)
    assert view.now()["well"] is False  # nobody runs it
    path = place / "journal.sqlite"
    whole = path.read_bytes()
    at = whole.rindex(b'"equity":10010.0')
    other = place / "other"
    other.write_bytes(whole[:at] + whole[at:].replace(b"10010", b"10011", 1))
    other.replace(path)
    assert view.now()["condition"] == "damaged"
    journal.repair(place)
    assert view.now()["condition"] != "damaged"


# -- secrets --------------------------------------------------------------------------------------


def test_no_secret_is_on_the_page(serve, tmp_path):
    """One of the environment and one of the settings, planted in every text that is shown."""
    hook = f"https://hooks.example/T0/{CANARY}"
    made = folder(tmp_path, study={"name": "demo", "live": {"webhook": hook}})
    text = f"see {hook} and T0/{CANARY} and env-{CANARY[::-1]}"
    start, swap = begun()
    swap[1].update(model=text)
    control = {"time": START, "state": 1, "was": 0, "why": text, "by": "guard"}
    write(made, start, swap, moment(1, row(text, reason=text)), ("control", control))
    write(made, ("stop", {"why": "error: " + text}))
    beat(made, feed=[{"name": text, "state": "live"}])
    served = serve(made, SOME_SECRET=f"env-{CANARY[::-1]}")
    shown = json.dumps(served.first()) + served.ask("")[2]
    assert CANARY not in shown and CANARY[::-1] not in shown and shown.count("[redacted]") >= 6


# -- a run that trades ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def trading(store, monkeypatch):
    """Start a small run on the simulated exchange, or go on with one; yields the starter."""
    monkeypatch.setenv("ALPHABOOK_DATA", str(store))
    monkeypatch.setenv("ALERT_WEBHOOK", f"http://127.0.0.1:9/{CANARY}")
    monkeypatch.setenv("BINANCE_SECRET", CANARY[::-1])
    started = []

    def start(resume=None, speed=600):
        known = folders.runs()
        code = (
            "import sys, json; from research.live import session; "
            "session.run('demo', json.loads(sys.argv[1]), speed=float(sys.argv[2]), "
            "resume=sys.argv[3] or None)"
        )
        options = json.dumps({} if resume else SMALL | {"live.webhook": "$ALERT_WEBHOOK"})
        words = [sys.executable, "-c", code, options, str(speed), resume or ""]
        with (store / "said.log").open("a") as said:
            started.append(subprocess.Popen(words, cwd=ROOT, stdout=said, stderr=said))
        while resume is None and folders.runs() == known:
            assert started[-1].poll() is None, (store / "said.log").read_text()[-2000:]
            time.sleep(0.05)
        name = resume or next(name for name in folders.runs() if name not in known)
        return started[-1], folders.find(name)

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.mark.slow
def test_it_follows_a_run_that_trades_stops_and_goes_on(trading, serve, page):
    process, place = trading()
    page.goto(serve(place).url)
    until(page, "document.querySelector('#bars').textContent >= '3 bars'", 90)
    first = int(page.inner_text("#bars").split()[0])
    until(page, f"parseInt(document.querySelector('#bars').textContent) > {first} + 20")
    assert page.inner_text("#notice").startswith("running")
    assert "live" in page.inner_text("#feed") and page.locator("#curve polyline").count() == 1
    process.kill()
    process.wait()
    until(page, "document.querySelector('#notice').textContent.startsWith('not running since')")
    assert "it ended without a word" in page.inner_text("#notice")
    stood = int(page.inner_text("#bars").split()[0])
    trading(resume=place.name)
    until(page, "document.querySelector('#notice').textContent.startsWith('running')", 60)
    until(page, f"parseInt(document.querySelector('#bars').textContent) > {stood} + 20")
    _halts(page, place)
    _keeps_secrets(place, page.content())


def _keeps_secrets(place, shown):
    files = [path for path in place.rglob("*") if path.is_file()]
    held = b"".join(path.read_bytes() for path in files) + shown.encode()
    assert len(files) > 4 and b"$ALERT_WEBHOOK" in held
    assert CANARY.encode() not in held and CANARY[::-1].encode() not in held


def _halts(page, place):
    """Click, and see in the journal when trading halted after the click was answered.

    How soon that is when nothing runs beside is measured by the campaign ``switch``.
    """
    with page.expect_response("**/kill") as answered:
        page.click("#kill")
    served, halted = time.monotonic(), None
    assert answered.value.status == 200
    while time.monotonic() < served + 5 and halted is None:
        if journal.read(place, kinds=("control",)):
            halted = time.monotonic() - served
        time.sleep(0.002)
    assert halted is not None and halted < 1, halted
    page.wait_for_timeout(500)
    control, *more = journal.read(place, kinds=("control",))
    assert {event.body["state"] for event in (control, *more)} == {2}
    until(page, "document.querySelector('#state').textContent == 'halted'")
    assert page.is_disabled("#kill")
    after = journal.read(place, after=control.seq, kinds=("moment",))
    assert not [r for event in after for r in event.body["rows"] if r["reason"] == "entry"]
