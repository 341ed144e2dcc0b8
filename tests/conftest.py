"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Turn
from auscult.models.families import graft
from auscult.models.listener import Listener
from auscult.models.wording import Wording

torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other
settings.register_profile("auscult", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("auscult")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real recordings and films: `AUSCULT_TESTDATA`, by default `../shared/testdata` beside the
    checkout."""
    folder = Path(os.environ.get("AUSCULT_TESTDATA", ROOT.parent / "shared" / "testdata")).resolve()
    if not folder.is_dir():
        reason = f"no test data in {folder}: set AUSCULT_TESTDATA to the folder that holds fsdd/, esc10/, formats/ ..."
        if os.environ.get("AUSCULT_REQUIRE_TESTDATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight graft of the smallest useful shape, saved as an ordinary checkpoint."""
    return graft.tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def listener(checkpoint: Path) -> Listener:
    """A fresh listener with the checkpoint's weights; replies are in the think form."""
    return graft.Model().load(checkpoint, Wording(instruction=False, choices=False))


@pytest.fixture
def heard() -> Callable[..., Sample]:
    """Makes samples: `heard(number, seconds=…, question=…)`, each with noise of its own to listen to."""

    def make(number: int = 0, *, seconds: float = 0.5, question: str = "How many sounds?", answer: str = "2") -> Sample:
        wave = rng(number, "test clip").standard_normal(round(16_000 * seconds)).astype(np.float32) * 0.1
        turn = Turn("user", (Audio.of(wave, 16_000), question))
        return Sample(f"clip-{number}", (turn,), (answer,), choices=("1", "2", "3"), thought="low tone, click")

    return make


class JudgeServer(ThreadingHTTPServer):
    """An OpenAI-compatible server that says what `say(prompt)` returns, after the `faults` are used up in the order in
    which requests arrive: a status, `drop`, `torn`, or a text that is said instead."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Judging)
        self.say: Callable[[str], str] = lambda prompt: '{"reason": "so", "score": 1}'
        self.faults: list[str | None] = []
        self.takes_schema = True
        self.choice: dict = {}
        self.requests: list[dict] = []
        self.most_in_flight = self.in_flight = 0
        self.gate = threading.Event()
        """Answers wait for it; set unless a test clears it."""
        self.gate.set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address) -> None:
        """Clients hang up here: that is the point."""


class _Judging(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: JudgeServer

    def log_message(self, *args) -> None:
        pass

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(body)
            fault = server.faults.pop(0) if server.faults else None
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        server.gate.wait(30)
        with server.lock:
            server.in_flight -= 1
        if fault == "drop":
            self.close_connection = True
            return None
        if fault is not None and fault.isdigit():
            return self._send(int(fault), b'{"error": "planned"}')
        if "response_format" in body and not server.takes_schema:
            return self._send(400, b'{"error": "response_format is not known"}')
        text = server.say(body["messages"][0]["content"]) if fault in (None, "torn") else fault
        data = json.dumps(
            {
                "model": body["model"],
                "choices": [{"message": {"content": text}, "finish_reason": "stop", **server.choice}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
            }
        ).encode()
        return self._send(200, data[:-20] if fault == "torn" else data)

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def serve() -> Iterator[Callable[[ThreadingHTTPServer], None]]:
    """Starts a server that runs until the test ends."""
    with ExitStack() as stack:

        def started(server: ThreadingHTTPServer) -> None:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            thread.start()
            for last in (thread.join, server.server_close, server.shutdown):  # the last one first
                stack.callback(last)

        yield started


@pytest.fixture
def judge_server(serve: Callable[[ThreadingHTTPServer], None]) -> Iterator[JudgeServer]:
    """A server for judges, running until the test ends."""
    server = JudgeServer()
    serve(server)
    yield server
    server.gate.set()
