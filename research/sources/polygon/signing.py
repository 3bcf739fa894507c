"""Who asks: credentials out of the environment, and requests signed with them.

AWS Signature Version 4 for requests without a body, as the S3 interface takes it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from research.errors import UserError

KEY, SECRET = "POLYGON_ACCESS_KEY_ID", "POLYGON_SECRET_ACCESS_KEY"
EMPTY = hashlib.sha256(b"").hexdigest()
# stores that know no regions take this one
_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key's name and its secret half; neither shows itself.

    >>> Credentials("name", "half")
    Credentials()
    """

    key: str = field(repr=False)
    secret: str = field(repr=False)


def credentials(environment: Mapping[str, str] | None = None) -> Credentials:
    """Read the credentials of the flat files.

    Parameters
    ----------
    environment : mapping, optional
        Where ``POLYGON_ACCESS_KEY_ID`` and ``POLYGON_SECRET_ACCESS_KEY`` are looked up; the
        environment of this process when not given. They are read from nowhere else.

    Returns
    -------
    Credentials

    Raises
    ------
    UserError
        If either is not there.

    Examples
    --------
    >>> credentials({})
    Traceback (most recent call last):
    research.errors.UserError: polygon: no credentials. Set POLYGON_ACCESS_KEY_ID and ...
    """
    found = os.environ if environment is None else environment
    key, secret = (found.get(name, "").strip() for name in (KEY, SECRET))
    if not key or not secret:
        raise UserError(
            f"polygon: no credentials. Set {KEY} and {SECRET} in the environment (the S3 keys of "
            "your flat-file plan), or name files you have in data.path."
        )
    return Credentials(key, secret)


def query_text(query: Mapping[str, str]) -> str:
    """Write a query as it is signed and sent: sorted, each part percent-encoded.

    >>> query_text({"prefix": "a/b", "list-type": "2"})
    'list-type=2&prefix=a%2Fb'
    """
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in query.items())
    return "&".join(f"{key}={value}" for key, value in pairs)


def path_text(path: str) -> str:
    """Write a path as it is signed and sent, slashes as they are."""
    return quote(path, safe="/-_.~")


def signed(
    credentials: Credentials,
    *,
    host: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    moment: datetime,
) -> dict[str, str]:
    """Return the headers that prove who asks for ``GET path?query``.

    Parameters
    ----------
    credentials : Credentials
        Of the store.
    host : str
        As in the Host header, with a port that is not the usual one.
    path : str
        Plain, not percent-encoded.
    query : mapping of str to str
        Plain; may be empty.
    headers : mapping of str to str
        Others that are to be signed, such as ``Range``.
    moment : datetime
        Now; the store refuses a moment some minutes off its own clock.

    Returns
    -------
    dict of str to str
        All headers to send, by lower-case name, ``authorization`` among them.

    Notes
    -----
    AWS, "Authenticating Requests: Using the Authorization Header (Signature Version 4)".
    """
    stamp = moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{_REGION}/s3/aws4_request"
    sent = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    sent |= {"host": host, "x-amz-content-sha256": EMPTY, "x-amz-date": stamp}
    names = ";".join(sorted(sent))
    lines = [f"{name}:{sent[name]}" for name in sorted(sent)]
    asked = "\n".join(["GET", path_text(path), query_text(query), *lines, "", names, EMPTY])
    hashed = hashlib.sha256(asked.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashed])
    proof = _hmac(_signing_key(credentials.secret, stamp[:8]), to_sign).hex()
    said = f"Credential={credentials.key}/{scope},SignedHeaders={names},Signature={proof}"
    return sent | {"authorization": f"AWS4-HMAC-SHA256 {said}"}


def _signing_key(secret: str, day: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, _REGION, "s3", "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
