"""Whatever a server does, and whoever kills the download: the file is the source's, or it is not there."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import crc32c
import pytest

from auscult.core.seeds import rng
from auscult.data.download import DownloadError, Patience, fetch

DATA = rng(0, "download").bytes(1_000_003)
QUICK = Patience(retries=3, backoff=0.001, timeout=5)


class Source(ThreadingHTTPServer):
    """Serves `data` with ranges; `plan` says what is wrong with each answer in turn, by changes of its settings."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Serving)
        self.data = DATA
        self.plan: list[dict[str, Any]] = []
        self.always: dict[str, Any] = {}
        self.asked: list[str | None] = []
        """The `Range` of each request."""
        self.sent = 0
        """Bytes of all bodies."""
        self.pause = 0.0
        """Seconds between two pieces."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/features.tar.gz"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed here: that is the point."""


class _Serving(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Source

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        fault = {**server.always, **(server.plan.pop(0) if server.plan else {})}
        server.asked.append(self.headers["Range"])
        data = fault.get("data", server.data)
        tag = fault.get("tag", f'"{hashlib.md5(data).hexdigest()}"')
        size, first = len(data), 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        status = fault.get("status", 200)
        if asked and fault.get("ranges", True) and self.headers["If-Range"] == tag:
            first = int(asked[1])
            status = fault.get("status", 206 if first < size else 416)
        body = data[first:] if status in (200, 206) else b""
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", fault.get("range", f"bytes {first}-{size - 1}/{size}"))
        if status == 416:
            self.send_header("Content-Range", f"bytes */{size}")
        if tag:
            self.send_header("ETag", tag)
        if fault.get("hash", True):
            crc = base64.b64encode(crc32c.crc32c(server.data).to_bytes(4, "big")).decode()
            md5 = base64.b64encode(hashlib.md5(server.data).digest()).decode()
            self.send_header("x-goog-hash", f"crc32c={crc}")
            self.send_header("x-goog-hash", f"md5={md5}")
        for name, value in fault.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) + fault.get("lie", 0)))
        self.end_headers()
        end = fault.get("cut", len(body))
        for place in range(0, min(end, len(body)), 1 << 15):
            piece = body[place : min(place + (1 << 15), end)]
            self.wfile.write(piece)
            server.sent += len(piece)
            time.sleep(server.pause)
        if end < len(body) or fault.get("lie", 0) > 0:
            self.close_connection = True


@pytest.fixture
def source(serve) -> Source:
    server = Source()
    serve(server)
    return server


def test_a_file_is_fetched_once_and_checked(source: Source, tmp_path: Path):
    told: list[tuple[str, int, int]] = []
    found = fetch(
        source.url, tmp_path / "in" / "a.gz", tell=lambda what, done, total, _: told.append((what, done, total))
    )
    assert (found.path.read_bytes(), found.size, found.checked) == (DATA, len(DATA), "crc32c")
    assert found.sha256 == hashlib.sha256(DATA).hexdigest()
    assert told[-1] == ("a.gz, MB", 1, 1)
    assert [path.name for path in found.path.parent.iterdir()] == ["a.gz"]
    assert fetch(source.url, found.path).checked == "there"
    assert fetch(source.url, found.path, sha256=found.sha256).checked == "sha256"
    assert len(source.asked) == 1
    with pytest.raises(DownloadError, match="is there with the sha256"):
        fetch(source.url, found.path, sha256="0" * 64)


CUT = {"cut": 300_000}
FLIPPED = {"data": DATA[:500_000] + b"?" + DATA[500_001:]}


@pytest.mark.parametrize(
    ("plan", "asked"),
    [
        ([CUT, CUT, CUT], [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]),
        ([{"cut": 7}] * 3, [None, "bytes=7-", "bytes=14-", "bytes=21-"]),
        ([{"status": 503}, {"status": 429}, CUT], [None, None, None, "bytes=300000-"]),
        ([{"lie": 500}], [None, "bytes=1000003-"]),
        ([{"lie": -500}], [None, None]),
        ([CUT, {"lie": -500}], [None, "bytes=300000-", "bytes=999503-"]),
        ([CUT, {"lie": 500}], [None, "bytes=300000-"]),
        ([FLIPPED], [None, None]),
        (
            [{**FLIPPED, "cut": 900_000}, FLIPPED, *[{"cut": 100_000}] * 6],
            [None, "bytes=900000-", None, "bytes=100000-"],
        ),
        ([{**CUT, "data": DATA[::-1]}], [None, "bytes=300000-"]),
        ([CUT, {"ranges": False}], [None, "bytes=300000-"]),
        ([CUT, {"range": "bytes 299999-1000002/1000003"}], [None, "bytes=300000-", None]),
        ([CUT, {"range": "bytes 300000-1000002/1000004"}], [None, "bytes=300000-", None]),
        ([CUT, {"range": "bytes 300000-1000002/*"}], [None, "bytes=300000-"]),
        ([{**CUT, "tag": ""}], [None, None]),
        ([{**CUT, "tag": 'W/"weak"'}], [None, None]),
        ([{**CUT, "tag": '"a"'}, {"tag": '"a"', "headers": {"ETag": '"b"'}}], [None, "bytes=300000-"]),
    ],
)
def test_a_bad_server_is_asked_until_the_file_is_right(
    source: Source, tmp_path: Path, plan: list[dict[str, Any]], asked: list[str | None]
):
    source.plan = list(plan)
    assert fetch(source.url, tmp_path / "a", patience=QUICK).path.read_bytes() == DATA
    assert source.asked[: len(asked)] == asked
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("always", "said", "kept"),
    [
        ({"cut": 0}, "given up after 4 failures in a row", 0),
        ({"cut": 300_000, "ranges": False}, "given up after .* 300,000 bytes are kept", 300_000),
        ({"status": 500}, "the server answers 500; 0 bytes are kept", 0),
        ({"status": 404}, "the server answers 404; check the address", 0),
        (FLIPPED, "the crc32c of what came is .*, 2 times; ask who publishes it", 0),
        ({"lie": -1}, "the crc32c of what came", 0),
        ({"headers": {"Content-Encoding": "br"}}, "is sent changed", 0),
        ({"status": 302, "headers": {"Location": "/again"}}, "leads nowhere", 0),
    ],
)
def test_a_server_that_stays_bad_is_named_and_leaves_no_file(
    source: Source, tmp_path: Path, always: dict[str, Any], said: str, kept: int
):
    source.always = always
    with pytest.raises(DownloadError, match=said):
        fetch(source.url, tmp_path / "a", patience=QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == (["a.part", "a.part.json"] if kept else [])
    source.always = {}
    assert fetch(source.url, tmp_path / "a", patience=QUICK).path.read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_without_hashes_it_says_what_was_compared(source: Source, tmp_path: Path):
    source.always = {"hash": False}
    assert fetch(source.url, tmp_path / "a").checked == "length"
    digest = hashlib.sha256(DATA).hexdigest()
    assert fetch(source.url, tmp_path / "b", sha256=digest).checked == "sha256"
    with pytest.raises(DownloadError, match="the sha256 of what came"):
        fetch(source.url, tmp_path / "c", sha256=digest[::-1], patience=QUICK)


def test_a_part_of_something_else_is_not_continued(source: Source, tmp_path: Path):
    (tmp_path / "a.part").write_bytes(b"of what?")
    (tmp_path / ".tmp-1-2-a.part.json").write_text("{")  # a kill while it was written
    assert fetch(source.url, tmp_path / "a").path.read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    source.plan = [CUT]
    with pytest.raises(DownloadError):
        fetch(source.url, tmp_path / "b", patience=Patience(retries=0))
    other = source.url.replace("features", "others")
    assert fetch(other, tmp_path / "b").path.read_bytes() == DATA
    assert source.asked == [None] * 3


def test_two_at_once_and_addresses_that_are_none(source: Source, tmp_path: Path):
    source.pause = 0.01
    thread = threading.Thread(target=fetch, args=(source.url, tmp_path / "a"))
    thread.start()
    wait(lambda: source.sent > 0)
    with pytest.raises(DownloadError, match="another process is fetching it"):
        fetch(source.url, tmp_path / "a")
    thread.join()
    assert (tmp_path / "a").read_bytes() == DATA
    for url, said in (
        ("ftp://host/a", "no web address"),
        ("http://127.0.0.1:1/a", "given up"),
        ("http://host:port/a", "leads"),
    ):
        with pytest.raises(DownloadError, match=said):
            fetch(url, tmp_path / "b", patience=Patience(retries=1, backoff=0.001))
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(source.url, tmp_path / "file" / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "file"]


@pytest.mark.parametrize("content", [None, DATA[:9]])
def test_another_process_may_end_between_a_look_and_the_lock(
    source: Source, tmp_path: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
):
    """It gave up and removed its part, or it finished the file."""
    lock = fcntl.flock

    def other_ends(*arguments: Any) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        (tmp_path / "a.part").unlink()
        if content:
            (tmp_path / "a").write_bytes(content)
        lock(*arguments)

    monkeypatch.setattr(fcntl, "flock", other_ends)
    assert fetch(source.url, tmp_path / "a").path.read_bytes() == (content or DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_ten_kills_a_cutting_and_lying_server_and_the_file_is_the_source(source: Source, tmp_path: Path):
    """Acceptance D7. The process that is killed is forked from one that has loaded everything already."""
    script = f"""
        import os, sys
        from auscult.data.download import Patience, fetch
        for line in sys.stdin:
            if not (pid := os.fork()):
                fetch({source.url!r}, {str(tmp_path / "a")!r}, patience=Patience(backoff=0.001))
                os._exit(0)
            print(pid, flush=True)
            print(os.waitpid(pid, 0)[1], flush=True)
    """
    source.pause = 0.002
    source.plan = [{"cut": 90_000}, {"lie": 500}, {"status": 500}, {"lie": -500}, {}] * 20
    draw = rng(0, "kills")
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for kill in [True] * 10 + [False]:
            print("go", file=process.stdin, flush=True)
            pid, before = int(process.stdout.readline()), source.sent
            if kill:
                few = int(draw.integers(0, 60_000))
                wait(lambda: source.sent >= before + few)  # noqa: B023, called at once
                os.kill(pid, signal.SIGKILL)
                assert not (tmp_path / "a").exists()
            assert int(process.stdout.readline()) == (signal.SIGKILL if kill else 0)
        process.stdin.close()
    assert (tmp_path / "a").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert source.sent < 4 * len(DATA), "what had come was kept"
