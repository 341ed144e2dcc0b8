"""Options of a judge. Loads without httpx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from auscult.core.config import at_least
from auscult.core.connection import Connection


@dataclass(frozen=True, kw_only=True)
class Judging(Connection):
    """A model that grades, at temperature 0."""

    seed: int = 42
    """Sent with every request (42 is MMAR-Rubrics' own); few servers promise anything for it."""
    reply_tokens: int = 1024
    """Longest answer, tokens."""
    answers: Literal["auto", "schema", "text"] = "auto"
    """How its answers are held to their JSON schema: schema asks the server to (response_format json_schema), auto
    does so until the server refuses, text never does. Every answer is checked here in any case."""
    invalid_again: int = 2
    """How often a judgement is asked for again after an answer that breaks its schema."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of every request, for example {chat_template_kwargs: {enable_thinking: false}}; null takes one of
    ours out. The cache knows a judgement by them, too."""
    cache: str = "runs/judgements.jsonl"
    """File of JSON lines that keeps every judgement; processes and runs may share it."""
    offline: bool = False
    """Read judgements from the cache only; one that is not there is an error that names it."""
    prompt_price: float | None = None
    """Price of a million tokens of prompts, in any currency; null is unknown."""
    reply_price: float | None = None
    """Price of a million tokens of answers, in the same currency; null is unknown."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least({"reply_tokens": (self.reply_tokens, 1), "invalid_again": (self.invalid_again, 0)})
        for name in ("prompt_price", "reply_price"):
            price: float | None = getattr(self, name)
            if price is not None and not price >= 0:
                raise ValueError(f"{name} is {price}: set 0 or more, or null")
