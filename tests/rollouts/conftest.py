"""A real HTTP server that speaks the protocol, hears the audio it is sent, and misbehaves as it is told."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import soundfile

from auscult.core.types import Audio
from auscult.media.audio import decode
from auscult.rollouts.options import Server


def voice(wave) -> str:
    """What the server says of a clip: it can only say this of the one that it received."""
    return hashlib.sha256(wave.astype("float32").tobytes()).hexdigest()[:12]


class FaultyServer(ThreadingHTTPServer):
    """Replies `<answer>CLIP SEED</answer>`; `faults` are used up in the order in which requests arrive."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[str] = []
        self.always: str | None = None
        self.delay = 0.0
        self.retry_after = "0.01"
        self.requests: list[dict] = []
        self.headers: list[dict] = []
        self.posts: list[tuple[str, dict]] = []
        self.arrived: list[float] = []
        self.adapters: set[str] = set()
        self.answered_as: str | None = None
        self.prompt_tokens: int | None = None
        self.reply: Callable[[str, dict], str] = lambda clip, body: f"<answer>{clip} {body['seed']}</answer>"
        self.choice: dict = {}
        self.message: dict = {}
        self.lock = threading.Lock()
        self.in_flight = self.most_in_flight = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address) -> None:
        """Clients hang up here: that is the point."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": name} for name in ["base", *sorted(self.server.adapters)]]})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            return self._adapter(body)
        with server.lock:
            server.requests.append(body)
            server.headers.append(dict(self.headers))
            server.arrived.append(time.monotonic())
            fault = server.faults.pop(0) if server.faults else server.always
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            time.sleep(server.delay)
            self._answer(body, fault)
        finally:
            with server.lock:
                server.in_flight -= 1
        return None

    def _answer(self, body: dict, fault: str | None) -> None:
        server = self.server
        known = {"base", *server.adapters}
        if body["model"] not in known:
            return self._send(404, {"error": f"no model {body['model']}"})
        if fault == "drop":
            self.close_connection = True
            return None
        if fault in ("400", "401", "500", "503"):
            return self._send(int(fault), {"error": f"planned {fault}"})
        if fault == "429":
            return self._send(429, {"error": "too many"}, {"Retry-After": server.retry_after})
        if fault == "429 date":
            return self._send(429, {"error": "too many"}, {"Retry-After": "Fri, 01 Jan 2021 00:00:00 GMT"})
        if fault == "slow":
            time.sleep(3.0)
        whole = self._completion(body)
        if fault in ("twice", "other's"):
            whole["choices"][0]["message"]["content"] = "<answer>to somebody else</answer>"
        if fault == "torn":
            return self._send(200, json.dumps(whole)[:-30].encode())
        if fault == "short":  # fewer bytes than the header promises
            data = json.dumps(whole).encode()
            self._head(200, len(data), {})
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return None
        if fault == "twice":
            return self._send(200, {**whole, "choices": whole["choices"] * 2})
        if fault == "other's":
            return self._send(200, whole, {"X-Request-Id": "auscult-of-another"})
        return self._send(200, whole)

    def _completion(self, body: dict) -> dict:
        parts = [part for message in body["messages"] for part in message["content"]]
        clips = [self._heard(part) for part in parts if part["type"] != "text"]
        text = self.server.reply("+".join(clips), body)
        message = {"role": "assistant", "content": text, **self.server.message}
        return {
            "model": self.server.answered_as or body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", **self.server.choice}],
            "usage": {"prompt_tokens": self.server.prompt_tokens or 0, "total_tokens": 60},
        }

    def _heard(self, part: dict) -> str:
        if part["type"] == "input_audio":
            data = base64.b64decode(part["input_audio"]["data"])
        elif part["audio_url"]["url"].startswith("file://"):
            data = Path(part["audio_url"]["url"].removeprefix("file://")).read_bytes()
        else:
            data = base64.b64decode(part["audio_url"]["url"].partition("base64,")[2])
        return voice(soundfile.read(io.BytesIO(data), dtype="float32")[0])

    def _adapter(self, body: dict) -> None:
        server = self.server
        server.posts.append((self.path, body))
        if self.path.endswith("/unload_lora_adapter"):
            server.adapters.discard(body["lora_name"])
        elif body["lora_name"] in server.adapters:
            return self._send(400, {"error": "already loaded"})
        else:
            server.adapters.add(body["lora_name"])
        data = b"Success: LoRA adapter changed"
        self._head(200, len(data), {"Content-Type": "text/plain; charset=utf-8"})
        self.wfile.write(data)
        return None

    def _send(self, status: int, body: dict | bytes, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._head(status, len(data), {"Content-Type": "application/json", **(headers or {})})
        self.wfile.write(data)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def faulty(serve) -> FaultyServer:
    """The server, running until the test ends."""
    server = FaultyServer()
    serve(server)
    return server


@pytest.fixture
def options(faulty: FaultyServer) -> Callable[..., Server]:
    """Options for that server, impatient."""

    def make(**changed) -> Server:
        given = {"url": faulty.url, "model": "base", "logprobs": "off", "backoff": 0.01, "longest_wait": 0.05}
        return Server(**{**given, "timeout": 20.0, **changed})

    return make


@pytest.fixture
def said() -> Callable[..., str]:
    """What the server says of a sample's clips."""
    return lambda sample: "+".join(voice(decode(m, 16_000)) for m in sample.media if isinstance(m, Audio))
