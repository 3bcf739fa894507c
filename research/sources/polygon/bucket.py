"""The S3-compatible store: signed, bounded, patient requests for listings and files."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TypeVar
from xml.etree import ElementTree

import aiohttp
from yarl import URL

from research.errors import UserError
from research.sources.binance.net import Answer, Broken, Pace
from research.sources.polygon.account import Tally
from research.sources.polygon.signing import (
    KEY,
    SECRET,
    Credentials,
    path_text,
    query_text,
    signed,
)

BUCKET = "flatfiles"
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as the store lists it: its key, its size in bytes and the tag of its content."""

    key: str
    size: int
    tag: str


class Bucket:
    """The store behind one address, for the length of one run."""

    def __init__(self, endpoint: str, credentials: Credentials, pace: Pace, tally: Tally) -> None:
        if not endpoint.startswith(("http://", "https://")):
            raise UserError(
                f"polygon: data.flat_files must be an http(s) address, found {endpoint!r}."
            )
        self.base, self.credentials = URL(endpoint.rstrip("/")), credentials
        self.pace, self.tally = pace, tally
        self.slots, self.quiet_until = asyncio.Semaphore(pace.concurrency), 0.0
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=pace.timeout, sock_read=pace.timeout
            ),
            connector=aiohttp.TCPConnector(limit=0),  # the slots are the bound
            auto_decompress=False,  # a store may name the file's own gzip as its encoding
            trust_env=True,
        )

    async def __aenter__(self) -> Bucket:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.session.close()

    async def listing(self, prefix: str) -> list[Entry]:
        """Return every file whose key begins with `prefix`, page after page."""
        found: list[Entry] = []
        query = {"list-type": "2", "prefix": prefix}
        while True:
            entries, further = await self.get("", _page, query=query, kind="listing")
            found += entries
            if not further:
                return found
            query = {**query, "continuation-token": further}

    async def get(
        self,
        key: str,
        read: Callable[[Answer], Read],
        *,
        query: dict[str, str] | None = None,
        kind: str = "file",
    ) -> Read:
        """Return ``read(answer)`` of a signed GET; waits and tries again as `Pace` says.

        Raises
        ------
        UserError
            If the store refuses, asks for a longer silence than the patience, or fails for good.
        """
        path = f"{self.base.path.rstrip('/')}/{BUCKET}{'/' if key else ''}{key}"
        for failed in range(1, self.pace.tries + 1):
            found = await self._send(path, query or {}, kind)
            told = _retry_after(found) if isinstance(found, Answer) else 0.0
            problem = found if isinstance(found, str) else self._problem(found, key)
            if isinstance(found, Answer) and not problem:
                try:
                    return read(found)
                except Broken as broken:
                    problem = str(broken)
            if failed < self.pace.tries:
                await self._back_off(key or "the listing", problem, failed, told)
        raise UserError(
            f"polygon: {key or 'the listing'} failed {failed} times, last: {problem}. "
            "Run again to go on from here."
        )

    async def _send(self, path: str, query: dict[str, str], kind: str) -> Answer | str:
        while True:
            async with self.slots:
                quiet = self.quiet_until - time.monotonic()
                if quiet <= 0:
                    self.tally.requests[kind] += 1
                    return await self._exchange(path, query)
            await self._pause(quiet)

    async def _exchange(self, path: str, query: dict[str, str]) -> Answer | str:
        usual = self.base.is_default_port() or self.base.explicit_port is None
        host = f"{self.base.host}" + ("" if usual else f":{self.base.port}")
        headers = signed(
            self.credentials,
            host=host,
            path=path,
            query=query,
            headers={},
            moment=datetime.now(UTC),
        )
        asked = path_text(path) + (f"?{query_text(query)}" if query else "")
        url = URL(f"{self.base.scheme}://{host}{asked}", encoded=True)
        try:
            # the proof is for this host alone, so no redirect is followed
            async with self.session.get(url, headers=headers, allow_redirects=False) as response:
                told = {k.lower(): v for k, v in response.headers.items()}
                return Answer(response.status, await response.read(), told)
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__} {error}".strip()

    def _problem(self, answer: Answer, key: str) -> str:
        if answer.status in (200, 404):
            return ""
        if answer.status in (408, 429) or answer.status >= 500:
            return f"status {answer.status}"
        code = _code(answer)
        if code == "RequestTimeTooSkewed":
            raise UserError(
                "polygon: this machine's clock is too far from the store's. Set the clock."
            )
        if answer.status in (400, 401, 403):
            what = f"{key} was refused" if key else "the listing was refused"
            raise UserError(
                f"polygon: {what} with status {answer.status}{f' {code}' if code else ''}. "
                f"Check {KEY} and {SECRET}, and that your plan has crypto flat files "
                "reaching back so far."
            )
        raise UserError(
            f"polygon: {self.base} answered {answer.status} to {key or 'the listing'}. "
            "Check data.flat_files."
        )

    async def _back_off(self, what: str, problem: str, failed: int, told: float) -> None:
        """Note a fault and pause: all requests if the store asked for it, else this one alone."""
        if told > self.pace.patience:
            raise UserError(
                f"polygon: the store wants no requests for {told:g} s. Run again after that; "
                "what was stored stays."
            )
        self.tally.retries += 1
        self.tally.notes.append(f"{what}: {problem}; tried again.")
        if told:
            self.quiet_until = max(self.quiet_until, time.monotonic() + told)
        else:
            longest = min(self.pace.longest, self.pace.backoff * 2**failed)
            await self._pause(random.uniform(0, longest))

    async def _pause(self, seconds: float) -> None:
        self.tally.waited += seconds
        await asyncio.sleep(seconds)


def tag_of(text: str) -> str:
    """Return the tag of a content without its quotes: what tells one version from another."""
    return text.strip().removeprefix("W/").strip('"')


def _page(answer: Answer) -> tuple[list[Entry], str]:
    """Read one page of a listing, and the token of the next one; no token is the last page."""
    if answer.status != 200:
        raise UserError(
            f"polygon: no bucket {BUCKET!r} there ({_code(answer) or answer.status}). "
            "Check data.flat_files."
        )
    try:
        root = ElementTree.fromstring(answer.body)
        entries = [
            Entry(
                file.findtext("{*}Key", ""),
                int(file.findtext("{*}Size", "")),
                tag_of(file.findtext("{*}ETag", "")),
            )
            for file in root.findall("{*}Contents")
        ]
    except (ElementTree.ParseError, ValueError) as error:
        raise Broken(f"not a listing ({error})") from error
    if not root.tag.endswith("ListBucketResult"):
        raise Broken(f"not a listing (found {root.tag})")
    cut = root.findtext("{*}IsTruncated", "false") == "true"
    further = root.findtext("{*}NextContinuationToken", "") if cut else ""
    if cut and not further:
        raise Broken("a listing that is cut without a token for the rest")
    return entries, further


def _code(answer: Answer) -> str:
    found = re.search(rb"<Code>(\w+)</Code>", answer.body)
    return found[1].decode() if found else ""


def _retry_after(answer: Answer) -> float:
    """Seconds of silence the store asks for, as a number or a date; 0 where it does not."""
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (answer.clock or datetime.now(UTC))).total_seconds())
