"""The four arms that real orders need: any one that is missing starts nothing.

1. The extra ``live`` is installed.
2. The study itself says ``live.mode = "live"`` and names ``live.account``.
3. The environment holds a dated arm that names the account, for one UTC day:
   ``ALPHABOOK_LIVE="2026-11-21 kraken:main"``.
4. There is a file that expires, signed with the account's API secret over the study, the
   fingerprint of its settings, and the account: ``./run arm STUDY --account kraken:main``.

They are looked at when a run starts or goes on, each by itself, so that no single mistake trades.
Wherever `mode` is asked to be paper, none of them counts. On the simulated exchange they are the
same four, with its keys in place of the account's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import time
from base64 import b64encode
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from research.errors import UserError
from research.live import parts
from research.store import atomic
from research.study import Study
from research.venues.keys import Keys, read

VARIABLE = "ALPHABOOK_LIVE"
LONGEST = 7 * 24.0
"""Hours that a signature holds at most."""
_ACCOUNT = re.compile(r"(binance|bybit|kraken):[a-z0-9_-]{1,20}")
_SIGNED = ("study", "config", "account", "expires")


def wanted(study: Study, mode: str | None) -> bool:
    """Return whether real orders are asked for; all arms are there then.

    Parameters
    ----------
    study : Study
        As it will be traded.
    mode : {"paper", "live"}, optional
        Asked for beside the study; ``paper`` wins over it, ``live`` alone does not make it say so.

    Raises
    ------
    UserError
        One line that names each missing arm.
    """
    chosen = mode or study.live.mode
    if chosen not in ("paper", "live"):
        raise UserError(f"live: mode must be 'paper' or 'live', found {mode!r}.")
    if chosen == "paper":
        return False
    found = missing(study)
    if found:
        raise UserError(
            f"live: real orders need four arms, {len(found)} missing: {'; '.join(found)}. "
            "Nothing was started. Or use --mode paper."
        )
    return True


def missing(study: Study, now: float | None = None) -> list[str]:
    """Name each arm that is not there; empty: real orders may be sent.

    Parameters
    ----------
    study : Study
        As it will be traded.
    now : float, optional
        Seconds since 1970 UTC; absent: this machine's time.
    """
    when = time.time() if now is None else now
    looks = (_installed(), _stated(study), _dated(study, when), _signed(study, when))
    return [f"({k}) {why}" for k, why in enumerate(looks, 1) if why]


def venue(study: Study) -> str:
    """Return the venue that orders go to: ``live.venue``, or the feed's own.

    The simulated exchange is like `Study.venue`.

    Raises
    ------
    UserError
        If the study names an account at another venue.
    """
    own = {"simulated": study.venue, "replay": "binance"}.get(study.feed, study.feed)
    chosen = study.live.venue or own
    account = study.live.account
    if account is not None and account.split(":")[0] != chosen:
        raise UserError(
            f"study {study.name}: live.account {account!r} is not at live.venue {chosen!r}. "
            "Set both to one venue."
        )
    return chosen


def keys(study: Study) -> Keys:
    """Return the keys of the account; on the simulated exchange its own, never a real account's.

    Raises
    ------
    UserError
        If the environment holds none.
    """
    if study.feed == "simulated":
        return _simulated(venue(study))
    return read(str(study.live.account))


def _simulated(name: str) -> Keys:
    """The one key that a simulated exchange knows: nothing can be lost with it."""
    secret = f"sim-secret-{name}"
    plain = name != "kraken"  # whose secrets are base64
    return Keys(f"sim-key-{name}", secret if plain else b64encode(secret.encode()).decode())


def arm(study: Study, account: str, hours: float) -> Path:
    """Write the signed file that lets `study` trade `account` for some hours; return its path.

    Raises
    ------
    UserError
        If the account is not the study's, the hours are not above 0 and at most `LONGEST`, or there
        are no keys to sign with.
    """
    if not _ACCOUNT.fullmatch(account):
        raise UserError(
            f"arm: --account must be a venue and a name, as in kraken:main, found {account!r}."
        )
    if study.live.account != account:
        raise UserError(
            f"arm: study {study.name} must name the account itself, found live.account = "
            f"{study.live.account!r}. Set live.account={account} in the study, and live.mode=live."
        )
    if not 0 < hours <= LONGEST:
        raise UserError(f"arm: --hours must be above 0 and at most {LONGEST:g}, found {hours:g}.")
    expires = int(time.time() + hours * 3600)
    facts = _facts(study, expires)
    signed = {**facts, "signature": _signature(facts, keys(study).secret)}
    path = file(study)
    with atomic.writing(path):
        _write(path, json.dumps(signed, indent=1, sort_keys=True) + "\n")
    return path


def file(study: Study) -> Path:
    """Return where the signed file of a study's account lies."""
    account = str(study.live.account).replace(":", "_")
    return atomic.data_root() / "arms" / f"{study.name}_{account}.json"


def _installed() -> str:
    if find_spec("ccxt") is not None:
        return ""
    return "the extra 'live' is not installed: pip install 'alphabook[live]'"


def _stated(study: Study) -> str:
    """Tell whether the study itself, its file or -o, wants it."""
    if study.live.mode == "live" and _ACCOUNT.fullmatch(study.live.account or ""):
        return ""
    return (
        'the study must say live.mode = "live" and live.account = "venue:name", found '
        f"{study.live.mode!r} and {study.live.account!r}"
    )


def _dated(study: Study, when: float) -> str:
    want = f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d} {study.live.account or 'venue:name'}"
    if study.live.account and os.environ.get(VARIABLE, "").split() == want.split():
        return ""
    return f'the environment must hold {VARIABLE}="{want}" (today, UTC, and the account)'


def _signed(study: Study, when: float) -> str:
    """Tell what is wrong with the signed file, without a word of what the secret is."""
    again = f"./run arm {study.name} --account {study.live.account or 'venue:name'} --hours 24"
    if not study.live.account:
        return f"there is no signed arming file: {again}"
    try:
        held, secret = _held(file(study)), keys(study).secret
    except UserError as error:
        return f"{str(error).rstrip('.')}: {again}"
    facts = {name: held.get(name) for name in _SIGNED}
    if not hmac.compare_digest(str(held.get("signature")), _signature(facts, secret)):
        return f"the arming file is not signed by this account's secret: {again}"
    expires = int(held["expires"])
    if facts != _facts(study, expires):
        return f"the arming file is of other settings or another account: {again}"
    if not when < expires:
        return f"the arming file has expired at {datetime.fromtimestamp(expires, UTC)}: {again}"
    return ""


def _held(path: Path) -> dict[str, Any]:
    try:
        if os.name == "posix":
            seen = path.lstat()
            if seen.st_mode & 0o177 or seen.st_uid != os.getuid():
                raise UserError(f"the arming file {path.name} must be yours and of mode 0600")
        found = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        raise UserError("there is no signed arming file") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"the arming file cannot be read ({type(error).__name__})") from None
    return found if isinstance(found, dict) else {}


def _facts(study: Study, expires: int) -> dict[str, Any]:
    """What is signed: change any of it, and it must be signed anew."""
    account = study.live.account
    return dict(zip(_SIGNED, (study.name, parts.config(study), account, expires)))


def _signature(facts: dict[str, Any], secret: str) -> str:
    text = "alphabook arm " + json.dumps(facts, sort_keys=True)
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def _write(path: Path, text: str) -> None:
    """Write in one step a file that only its owner reads, also while it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as open_:
            open_.write(text)
        atomic.sync(part)
        part.replace(path)
        atomic.sync(path.parent)
    finally:
        part.unlink(missing_ok=True)
