"""One file from a web server: whole and checked under its name, or not there.

    FILE.part, FILE.part.json    as far as it came, and of which content it is a part

A download may be cut or killed at any instant; the same call goes on where it stopped. It asks for the rest of the same
content (`Range` with `If-Range`, RFC 9110), so that a file that changed meanwhile is fetched anew and never patched
together. A server's word is compared with what came: the length, and the hashes that Google's storage sends with
every object (`x-goog-hash`); a sha256 of one's own is better. What is wrong is thrown away and fetched once more.

Only bytes that nobody had before count as progress: a server that always cuts at the same place is given up on.
"""

from __future__ import annotations

import base64
import fcntl
import glob
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import httpx
from google_crc32c import Checksum

from auscult.core.errors import AuscultError
from auscult.core.runs import ASIDE, write_json
from auscult.data.waiting import Tell

AGAIN = frozenset({408, 425, 429})
"""Statuses below 500 that may pass."""
BLOCK = 1 << 20
"""Bytes that are hashed at a time."""
MB = 10**6
"""Bytes between two words of progress."""
WRONG = 2
"""How often content with a wrong hash is fetched before it is called wrong."""


class DownloadError(AuscultError):
    """A file could not be fetched."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server is waited for."""

    retries: int = 8
    """How often it is asked again without any progress."""
    backoff: float = 0.5
    """Seconds before it is asked again; they double each time."""
    longest_wait: float = 30.0
    """Seconds that a wait stops growing at."""
    timeout: float = 60.0
    """Seconds without a byte after which a connection is lost."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is there."""

    path: Path
    """Where."""
    size: int
    """Bytes."""
    sha256: str
    """Hash of its content, hex."""
    checked: str
    """What it was compared with: `sha256`, `crc32c`, `md5`, or `length` alone, or `nothing`; `there` when it was there
    before and no sha256 was given."""


class _Retry(Exception):
    """This attempt has failed; another one may not."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What a server says of the content that it is sending."""

    url: str
    """Whose content."""
    validator: str | None
    """Names this version of it, for `If-Range`; None when nothing does, and then it cannot be continued."""
    size: int | None
    """All of its bytes."""
    hashes: dict[str, str]
    """Base64 by name, as in `x-goog-hash`."""

    @classmethod
    def of(cls, url: str, response: httpx.Response) -> _Content:
        headers = response.headers
        tag = headers.get("ETag", "")
        strong = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
        ranged = headers.get("Content-Range")
        total = re.search(r"(\d+)$", headers.get("Content-Length", "") if ranged is None else ranged)
        pairs = [part.strip().partition("=") for part in headers.get("x-goog-hash", "").split(",")]
        hashes = {name: value for name, _, value in pairs if name in ("crc32c", "md5")}
        return cls(url, strong, int(total[1]) if total else None, hashes)


def fetch(
    url: str,
    path: Path | str,
    *,
    sha256: str | None = None,
    patience: Patience = Patience(),
    tell: Tell | None = None,
) -> Fetched:
    """Brings the content of `url` to `path`, unless it is there. Raises DownloadError that says what to do."""
    path = Path(path)
    if path.exists():
        return _there(path, sha256)
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url!r} is no web address; begin it with http:// or https://")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _part(path) as part:
            if path.exists():  # another process has finished it since we looked
                return _there(path, sha256)
            return _Download(url, path, part, sha256, patience, tell or (lambda *_: None)).run()
    except (httpx.InvalidURL, httpx.TooManyRedirects) as problem:
        raise DownloadError(f"{url}: leads nowhere ({problem}); check the address, or name another mirror") from problem
    except OSError as problem:
        raise DownloadError(f"{path} cannot be written ({problem.strerror or problem}); make room there") from problem


def _there(path: Path, sha256: str | None) -> Fetched:
    with path.open("rb") as file:
        found = _hashes(file)
    if sha256 is not None and found["sha256"] != sha256:
        raise DownloadError(
            f"{path} is there with the sha256 {found['sha256']}, not {sha256}; remove it, or name another"
        )
    return Fetched(path, path.stat().st_size, found["sha256"], "sha256" if sha256 else "there")


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".part.json")


@contextmanager
def _part(path: Path) -> Iterator[IO[bytes]]:
    """The part of `path` that is there, locked and without a buffer; an empty one does not stay. Raises DownloadError
    when another process has it."""
    name = path.with_name(path.name + ".part")
    while True:
        with name.open("ab+", buffering=0) as part:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as problem:
                raise DownloadError(f"{name}: another process is fetching it; wait for that one") from problem
            if not _is(name, part):  # whoever had it before has renamed or removed it
                continue
            for left in path.parent.glob(f"{ASIDE}*{glob.escape(_beside(path).name)}"):  # by a kill
                left.unlink()
            try:
                yield part
            finally:
                if _is(name, part) and not os.fstat(part.fileno()).st_size:
                    name.unlink()
                    _beside(path).unlink(missing_ok=True)
            return


def _is(name: Path, file: IO[bytes]) -> bool:
    """Whether the open file still has this name."""
    return name.exists() and os.path.samestat(os.fstat(file.fileno()), name.stat())


@dataclass
class _Download:
    """One call of `fetch`."""

    url: str
    path: Path
    part: IO[bytes]
    sha256: str | None
    patience: Patience
    tell: Tell

    def run(self) -> Fetched:
        failures, wrong, furthest = 0, 0, self.have
        timeout = httpx.Timeout(self.patience.timeout)
        local = httpx.URL(self.url).host in ("localhost", "127.0.0.1", "::1")
        with httpx.Client(timeout=timeout, follow_redirects=True, trust_env=not local) as client:
            while True:
                try:
                    content = self.attempt(client)
                    found = self.compared(content)
                except (_Retry, httpx.TransportError) as problem:
                    failures = 1 if self.have > furthest else failures + 1
                    furthest = max(furthest, self.have)
                    if failures > self.patience.retries:
                        raise DownloadError(
                            f"{self.url}: given up after {failures} failures in a row, the last one: "
                            f"{str(problem) or type(problem).__name__}; {self.have:,} bytes are kept, and the same "
                            "command goes on from there"
                        ) from problem
                    time.sleep(min(self.patience.longest_wait, self.patience.backoff * 2 ** (failures - 1)))
                    continue
                if isinstance(found, Fetched):
                    return found
                wrong, furthest = wrong + 1, 0
                self.forget()
                if wrong == WRONG:
                    raise DownloadError(f"{self.url}: {found}, {wrong} times; ask who publishes it, or name a mirror")

    @property
    def have(self) -> int:
        """Bytes that are there."""
        return os.fstat(self.part.fileno()).st_size

    def attempt(self, client: httpx.Client) -> _Content:
        """Asks once for what is missing, and returns when all is there. Raises _Retry or httpx's errors."""
        known = self.known()
        if known is None:
            self.forget()
        have = self.have
        if known and known.size == have:
            return known
        headers = {"Accept-Encoding": "identity"}  # else an offset would be one in something compressed
        if known and known.validator and have:
            headers |= {"Range": f"bytes={have}-", "If-Range": known.validator}
        with client.stream("GET", self.url, headers=headers) as response:
            content = self.accepted(response, known, have)
            if response.status_code == 200:
                self.forget()
                write_json(_beside(self.path), asdict(content))
            if response.status_code != 416:
                for block in response.iter_raw():  # as it comes: what was waited for to be more is lost in a cut
                    before = self.have // MB
                    self.part.write(block)
                    if self.have // MB > before:
                        self.tell(f"{self.path.name}, MB", self.have // MB, (content.size or self.have) // MB, {})
        if content.size is not None and self.have != content.size:
            raise _Retry(f"{self.have:,} bytes came instead of {content.size:,}")
        return content

    def accepted(self, response: httpx.Response, known: _Content | None, have: int) -> _Content:
        """What the response sends, when it is of use. Raises DownloadError when no other will be either."""
        status, content = response.status_code, _Content.of(self.url, response)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(f"{self.url}: its content is sent changed (Content-Encoding); name another mirror")
        if status == 200:
            return content
        if status in (206, 416) and known and have:
            begins = f"bytes {have}-" if status == 206 else f"bytes */{have}"
            size = known.size if content.size is None else content.size
            same = content.validator in (None, known.validator) and known.size in (None, size)
            if response.headers.get("Content-Range", "").startswith(begins) and (same or status == 416):
                return _Content(known.url, known.validator, size, known.hashes)
            self.forget()
            raise _Retry(f"a part that does not fit ({status}, {response.headers.get('Content-Range')!r})")
        if status >= 500 or status in AGAIN:
            raise _Retry(f"the server answers {status}")
        raise DownloadError(f"{self.url}: the server answers {status}; check the address, or name another mirror")

    def known(self) -> _Content | None:
        """Of which content the part is; None when nobody knows, or of another address."""
        try:
            told = json.loads(_beside(self.path).read_text())
            content = _Content(**{key: told[key] for key in _Content.__slots__})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return content if content.url == self.url and (content.validator or not self.have) else None

    def forget(self) -> None:
        """Throws away what is there."""
        self.part.truncate(0)
        _beside(self.path).unlink(missing_ok=True)

    def compared(self, content: _Content) -> Fetched | str:
        """The file under its name, or what is wrong with it."""
        self.part.seek(0)
        found, expected = _hashes(self.part), dict(content.hashes)
        if self.sha256 is not None:
            expected["sha256"] = self.sha256
        for name, value in expected.items():
            if found[name] != value:
                return f"the {name} of what came is {found[name]}, but should be {value}"
        size = self.have
        os.fsync(self.part.fileno())
        os.replace(self.part.name, self.path)
        _beside(self.path).unlink(missing_ok=True)
        best = next((name for name in ("sha256", "crc32c", "md5") if name in expected), None)
        return Fetched(self.path, size, found["sha256"], best or ("nothing" if content.size is None else "length"))


def _hashes(file: IO[bytes]) -> dict[str, str]:
    """sha256 in hex, crc32c and md5 in base64 as Google's storage writes them."""
    sha256, md5, crc = hashlib.sha256(), hashlib.md5(usedforsecurity=False), Checksum()
    while block := file.read(BLOCK):
        for one in (sha256, md5, crc):
            one.update(block)
    encoded = {name: base64.b64encode(one.digest()).decode() for name, one in (("md5", md5), ("crc32c", crc))}
    return {"sha256": sha256.hexdigest(), **encoded}
