"""How a server is reached and how patiently, whoever asks it: options only, without httpx, so that `--help` answers at
once."""

from __future__ import annotations

from dataclasses import dataclass

from auscult.core.config import at_least


@dataclass(frozen=True, kw_only=True)
class Connection:
    """An OpenAI-compatible server: vLLM, `transformers serve`, or a paid one."""

    url: str = "http://127.0.0.1:8000/v1"
    """Where its API begins."""
    model: str
    """The name under which it serves the model."""
    key_env: str | None = None
    """Name of the environment variable that holds the API key; null sends none."""
    concurrency: int = 16
    """Requests in flight."""
    retries: int = 8
    """How often a request is sent again after a lost connection, a timeout, 429, 5xx or an answer that is cut off."""
    backoff: float = 0.5
    """Seconds before the first repetition; they double each time, and a seeded draw spreads them."""
    longest_wait: float = 30.0
    """Seconds that a wait stops growing at."""
    timeout: float = 600.0
    """Seconds that one request may take."""
    max_requests: int | None = None
    """Budget of requests, repetitions counted; null is none."""
    max_tokens: int | None = None
    """Budget of tokens, prompts counted; null is none."""
    max_seconds: float | None = None
    """Budget of time of this process; null is none."""

    def __post_init__(self) -> None:
        at_least({"concurrency": (self.concurrency, 1), "retries": (self.retries, 0)})
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url is {self.url!r}: begin it with http:// or https://")
        for name in ("backoff", "longest_wait", "timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: set seconds above 0")
