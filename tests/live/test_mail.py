"""Alerts by mail: a letter on a real SMTP server of this machine, in fair weather and in foul."""

import asyncio
import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from research.errors import UserError
from research.live.alerts import FILE, Alerts, mail

from .shown import CANARY, START

TO = "?from=desk@example.net&to=me@example.net"


class Box:
    """Takes letters, in a mood."""

    def __init__(self, *moods):
        self.moods, self.got, self.logins = list(moods), [], []

    async def handle_DATA(self, server, session, envelope):
        mood = self.moods.pop(0) if self.moods else "250 OK"
        if mood == "slow":
            await asyncio.sleep(1.5)
            mood = "250 OK"
        if mood.startswith("250"):
            letter = message_from_bytes(envelope.content, policy=policy.default)
            self.got.append((envelope.mail_from, envelope.rcpt_tos, letter))
        return mood

    def login(self, server, session, envelope, mechanism, data):
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == CANARY.encode())


@contextmanager
def serving(box, **how):
    """Run an SMTP server on a free port of this machine; yields the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Controller(box, hostname="127.0.0.1", port=port, **how)
    server.start()
    try:
        yield port
    finally:
        server.stop()


async def told(place, address, *texts, seconds=5.0, **how):
    """Raise alerts of one kind each and give them a chance to leave."""
    alerts = Alerts(place, None, address, **{"pauses": (), "timeout": 2.0, **how})
    task = asyncio.create_task(alerts.run())
    for n, text in enumerate(texts):
        alerts.raise_(f"kind{n}", text, time=START)
    await alerts.drained(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    alerts.close()
    return [json.loads(line) for line in (place / FILE).read_text().splitlines()]


async def test_what_is_due_at_once_is_one_letter(tmp_path):
    with serving(box := Box()) as port:
        await told(tmp_path, f"smtp://127.0.0.1:{port}{TO}&to=you@example.net", "halted", "gap")
    ((sender, readers, letter),) = box.got
    assert (sender, readers) == ("desk@example.net", ["me@example.net", "you@example.net"])
    assert letter["Subject"] == f"alphabook {tmp_path.name}: halted (and 1 more)"
    lines = letter.get_content().splitlines()
    assert lines[2:] == [
        f"2024-01-13 00:00:00Z kind{n}: {w}" for n, w in ((0, "halted"), (1, "gap"))
    ]
    assert letter["Message-ID"] and letter["Date"].datetime.utcoffset() == timedelta(0)


async def test_one_kind_is_mailed_so_often_and_the_rest_counted(tmp_path):
    with serving(box := Box()) as port:
        alerts = Alerts(tmp_path, None, f"smtp://127.0.0.1:{port}{TO}", every=0.6)
        task = asyncio.create_task(alerts.run())
        for n in range(40):
            alerts.raise_("stale", f"stream {n}")
            await asyncio.sleep(0.01)
        await alerts.drained()
        task.cancel()
        alerts.close()
    assert 1 <= len(box.got) <= 4 and "more of stale" in box.got[-1][2].get_content()


async def test_no_alert_writes_a_header_or_a_second_line(tmp_path):
    text = "x\r\nBcc: all@example.net\r\n\r\n\x1b[2J<script>"
    with serving(box := Box()) as port:
        await told(tmp_path, f"smtp://127.0.0.1:{port}{TO}", text)
    letter = box.got[0][2]
    assert letter["Bcc"] is None and "\\x1b[2J" in letter.get_content()
    assert len(letter.get_content().strip().splitlines()) == 3


async def test_no_secret_is_mailed(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "t0ken-of-some-1")
    with serving(box := Box()) as port:
        monkeypatch.setenv("MY_MAIL", f"smtp://127.0.0.1:{port}{TO}")
        said = await told(tmp_path, "$MY_MAIL", f"t0ken-of-some-1 smtp://127.0.0.1:{port}{TO}")
    letter = box.got[0][2].as_string()
    assert "t0ken" not in letter + json.dumps(said) and "[redacted]" in letter
    assert "to=me" not in letter + json.dumps(said)


# -- servers in a mood -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mood", "why"), [("554 no", "SMTPDataError 554"), ("451 later", "SMTPDataError 451")]
)
async def test_a_refusal_is_tried_again_then_given_up(tmp_path, mood, why):
    with serving(box := Box(mood, mood)) as port:
        said = await told(tmp_path, f"smtp://127.0.0.1:{port}{TO}", "x", pauses=(0.05,))
    assert not box.got and said[-1]["kind"] == "mail"
    assert said[-1]["text"] == f"kind0 could not be mailed after 2 tries: {why}"


async def test_a_server_that_comes_back_gets_the_letter(tmp_path):
    with serving(box := Box("451 later")) as port:
        said = await told(tmp_path, f"smtp://127.0.0.1:{port}{TO}", "x", pauses=(0.05,))
    assert len(box.got) == 1 and len(said) == 1


async def test_a_server_that_is_down_is_told_in_the_file(tmp_path):
    said = await told(tmp_path, f"smtp://127.0.0.1:9{TO}", "x")
    assert said[-1]["text"] == "kind0 could not be mailed after 1 tries: ConnectionRefusedError"


@pytest.mark.parametrize("silent", [True, False])
async def test_a_slow_server_keeps_nobody_waiting(tmp_path, silent):
    """One that never says a word, and one that thinks for long about a letter."""
    deaf = socket.create_server(("127.0.0.1", 0))
    with serving(Box("slow")) as slow:
        port = deaf.getsockname()[1] if silent else slow
        how = {"timeout": 0.3, "pauses": ()}
        alerts = Alerts(tmp_path, None, f"smtp://127.0.0.1:{port}{TO}", **how)
        task = asyncio.create_task(alerts.run())
        alerts.raise_("first", "x")
        longest, until = 0.0, time.monotonic() + 0.8
        while time.monotonic() < until:
            begun = time.perf_counter()
            alerts.raise_("other", "y")
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - begun)
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        alerts.close()
    deaf.close()
    said = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert longest < 0.1 and any(line["kind"] == "mail" for line in said)


async def test_a_loop_that_ends_does_not_wait_for_a_letter(tmp_path):
    """The threads of an executor would be waited for; asyncio.run ends with them alone."""
    deaf, begun = socket.create_server(("127.0.0.1", 0)), time.monotonic()

    def sitting():
        address = f"smtp://127.0.0.1:{deaf.getsockname()[1]}{TO}"
        asyncio.run(told(tmp_path, address, "x", seconds=0.2, timeout=30.0))

    thread = threading.Thread(target=sitting)
    thread.start()
    await asyncio.to_thread(thread.join, 10)
    assert time.monotonic() - begun < 5 and not thread.is_alive()
    deaf.close()


# -- under TLS ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for this machine, and the file that trusts it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    place = tmp_path_factory.mktemp("tls")
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (place / "cert.pem").write_bytes(made.public_bytes(pem))
    (place / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    return place


def safe(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


@pytest.fixture
def login(monkeypatch):
    monkeypatch.setenv(mail.USER, "desk")
    monkeypatch.setenv(mail.PASSWORD, CANARY)


@pytest.mark.parametrize("trusted", [True, False])
async def test_starttls_logs_in_and_trusts_no_stranger(
    tmp_path, certificate, login, monkeypatch, trusted
):
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    box = Box()
    how = {"tls_context": safe(certificate), "authenticator": box.login, "auth_require_tls": True}
    with serving(box, **how) as port:
        said = await told(tmp_path, f"smtp+starttls://localhost:{port}{TO}", f"see {CANARY}")
    if trusted:
        assert box.logins == [(b"desk", CANARY.encode())] and len(box.got) == 1
        assert CANARY not in box.got[0][2].as_string() + json.dumps(said)
    else:
        assert not box.logins and not box.got and "SSLCertVerificationError" in said[-1]["text"]


async def test_starttls_that_is_not_offered_is_not_done_without(tmp_path, login):
    with serving(box := Box()) as port:
        said = await told(tmp_path, f"smtp+starttls://127.0.0.1:{port}{TO}", "x")
    assert not box.got and "SMTPNotSupportedError" in said[-1]["text"]


async def test_smtps_speaks_tls_from_the_first_byte(tmp_path, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with serving(box := Box(), ssl_context=safe(certificate)) as port:
        await told(tmp_path, f"smtps://localhost:{port}{TO}", "x")
    assert len(box.got) == 1


# -- the address -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        f"http://h{TO}",
        f"smtp://{TO}",
        "smtp://h?from=a@b",
        "smtp://h?to=a@b",
        f"smtp://h{TO}&from=c@d",
        f"smtp://h{TO}&cc=c@d",
        f"smtp://h/x{TO}",
        "smtp://h?from=a@b&to=c",
        "smtp://h?from=a@b&to=c@d%0d%0aBcc:e@f",
        f"smtp://h:99999{TO}",
        f"smtp://me:{CANARY}@h{TO}",
        CANARY,
    ],
)
def test_an_address_must_be_one_and_is_not_repeated(wrong):
    with pytest.raises(UserError, match=r"live\.mail: must be an address") as found:
        mail.postbox(wrong)
    assert CANARY not in str(found.value)


def test_a_password_is_not_sent_in_clear_nor_shown(login, monkeypatch):
    with pytest.raises(UserError, match="would send the password in clear"):
        mail.postbox(f"smtp://h{TO}")
    box = mail.postbox(f"smtps://h{TO}")
    assert box.port == 465 and CANARY not in repr(box)
    monkeypatch.delenv(mail.USER)
    with pytest.raises(UserError, match="belong together"):
        mail.postbox(f"smtps://h{TO}")


def test_an_address_may_stand_in_the_environment(monkeypatch):
    monkeypatch.setenv("MY_MAIL", f"smtp://h{TO}")
    assert mail.postbox("$MY_MAIL").to == ("me@example.net",)
    monkeypatch.delenv("MY_MAIL")
    with pytest.raises(UserError, match=r"live\.mail: the environment must hold MY_MAIL"):
        mail.postbox("$MY_MAIL")
