"""Alerts by e-mail: SMTP (RFC 5321), under TLS where the address says so."""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from urllib.parse import parse_qs, urlsplit

from research.errors import UserError
from research.live import log
from research.live.alerts.hidden import from_environment
from research.live.alerts.outlets import SENDER, Held
from research.live.apart import in_thread

USER, PASSWORD = "ALPHABOOK_MAIL_USER", "ALPHABOOK_MAIL_PASSWORD"
"""Variables of the environment that hold who logs in; without them nobody does."""
PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
"""Schemes of an address, and the port that each has unless it says another (RFC 8314)."""
_LIKE = "smtps://mail.example.net?from=desk@example.net&to=me@example.net"
_LONGEST = 150


@dataclass(frozen=True)
class Postbox:
    """Where alerts are mailed to.

    Attributes
    ----------
    scheme : {"smtp", "smtp+starttls", "smtps"}
        In clear, in clear until the server has agreed to TLS, or under TLS from the first byte.
    """

    scheme: str
    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def postbox(mail: str) -> Postbox:
    """Read ``live.mail``; who logs in stands in the environment alone.

    Parameters
    ----------
    mail : str
        ``smtp://``, ``smtp+starttls://`` or ``smtps://``, then ``host:port?from=a@b&to=c@d``, as
        many ``to`` as there are readers; or ``$NAME`` of a variable that holds such.

    Raises
    ------
    UserError
        If it is none of these, holds a user or a password, or a password would be sent in clear;
        the message does not repeat it.

    Examples
    --------
    >>> found = postbox("smtp+starttls://mail.example.net?from=desk@example.net&to=me@example.net")
    >>> found.host, found.port, found.to
    ('mail.example.net', 587, ('me@example.net',))
    """
    text = from_environment("live.mail", mail)
    try:
        parts = urlsplit(text)
        asked = parse_qs(parts.query, strict_parsing=True)
        port = parts.port or PORTS[parts.scheme]
        senders, readers = asked.pop("from"), asked.pop("to")
        fine = len(senders) == 1 and not asked and parts.path in ("", "/")
        fine = fine and all(map(_is_address, (*senders, *readers))) and bool(parts.hostname)
    except (ValueError, KeyError):
        fine = False
    if not fine or "@" in parts.netloc:
        raise UserError(
            f"live.mail: must be an address as in {_LIKE}, or $NAME of a variable that holds one; "
            f"user and password are read from {USER} and {PASSWORD}."
        )
    known = Postbox(parts.scheme, str(parts.hostname), port, senders[0], tuple(readers))
    return _with_login(known)


def _with_login(box: Postbox) -> Postbox:
    user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
    if bool(user) != bool(password):
        raise UserError(f"live.mail: {USER} and {PASSWORD} belong together, one of them is unset.")
    if password and box.scheme == "smtp":
        raise UserError(
            "live.mail: smtp:// would send the password in clear. Write smtp+starttls:// or "
            f"smtps://, or unset {USER} and {PASSWORD}."
        )
    return Postbox(box.scheme, box.host, box.port, box.sender, box.to, user, password)


def _is_address(text: str) -> bool:
    name, at, host = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not set(text) & set(' <>,;:"()[]\\')
    return bool(name and at and host) and plain


class Mail:
    """Mails alerts; those that are due at one time in one letter.

    Parameters
    ----------
    run : str
        Whose alerts they are.
    box : Postbox
        Where to.
    hidden : Secrets
        What is masked.
    timeout : float
        Real seconds that each step of a delivery may take; all of it may take four times that.
    """

    name, done, together = "mail", "mailed", True

    def __init__(self, run: str, box: Postbox, hidden: log.Secrets, timeout: float) -> None:
        self._run, self._box, self._hidden, self._timeout = run, box, hidden, timeout

    async def send(self, held: list[Held]) -> str:
        """Mail what is held, in a thread: a mail server may take its time."""
        letter = self._letter(held)
        try:
            work = in_thread(self._deliver, letter, name="mail")
            await asyncio.wait_for(work, 4 * self._timeout)
        except smtplib.SMTPRecipientsRefused:
            return "the readers are refused"
        except smtplib.SMTPResponseException as error:
            return f"{type(error).__name__} {error.smtp_code}"
        except (OSError, TimeoutError, ValueError, smtplib.SMTPException) as error:
            return type(error).__name__  # its text may hold an address
        return ""

    def _letter(self, held: list[Held]) -> EmailMessage:
        """Return one letter; nothing of an alert can become a header or a second line."""
        said = [log.plain(str(log.redacted(one.text, self._hidden))) for one in held]
        more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
        lines = [
            f"{_moment(one.alert.time)} {one.alert.kind}: {text}" for one, text in zip(held, said)
        ]
        letter = EmailMessage()
        letter["From"], letter["To"] = self._box.sender, ", ".join(self._box.to)
        letter["Subject"] = f"{SENDER} {self._run}: {said[0]}"[:_LONGEST] + more
        letter["Date"] = format_datetime(datetime.now(UTC))
        letter["Message-ID"] = make_msgid(domain=self._box.sender.rpartition("@")[2])
        letter.set_content("\n".join([f"run {self._run}", "", *lines, ""]))
        return letter

    def _deliver(self, letter: EmailMessage) -> None:
        box = self._box
        if box.scheme == "smtps":
            safe = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                box.host, box.port, timeout=self._timeout, context=safe
            )
        else:
            server = smtplib.SMTP(box.host, box.port, timeout=self._timeout)
        with server:
            if box.scheme == "smtp+starttls":  # a server that does not offer it gets no letter
                server.starttls(context=ssl.create_default_context())
            if box.password:
                server.login(box.user, box.password)
            server.send_message(letter)


def _moment(us: int) -> str:
    when = datetime.fromtimestamp(us // 1_000_000, UTC) if us else datetime.now(UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}Z"
