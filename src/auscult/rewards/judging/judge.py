"""A judge: replies go to another model with a prompt, and its answers come back checked, kept and counted.

    fields -> prompt -> request -> in the cache? -> else the server, several requests in flight
                                                 -> checked against the schema -> the cache -> a judgement each

The cache knows a judgement by the hash of the request (model, messages, schema, parameters and the rater's number, not
the address), so that any process with the file gets the same judgements again, without a server when `offline` says so.
A judgement that failed (no answer, or none that fits its schema) is a row with its reason; its value is None, never 0,
and it is asked for again unless we are offline. A server of which nothing comes back at all is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from auscult.core.endpoint import (
    Answer,
    Endpoint,
    EndpointError,
    Failure,
    Spent,
    ask_all,
    run_to_end,
    usage,
)
from auscult.core.errors import AuscultError, ConfigError
from auscult.core.journal import Journal, Row
from auscult.rewards.judging.options import Judging
from auscult.rewards.judging.prompt import Prompt
from auscult.rewards.judging.schema import Schema, read_judgement

BYTES_PER_TOKEN = 4
"""Of UTF-8 English, for estimates."""
_UNREACHED = ("connection", "timeout", "not_sent", "misrouted", "cut_off", "status_429", "status_5")
"""How reasons begin that say nothing of the request itself."""


class JudgeError(AuscultError):
    """Judgements are asked for that cannot be had."""


@dataclass(frozen=True, slots=True)
class Call:
    """One judgement to be asked for."""

    name: str
    """What it is of, for people: a sample's id."""
    message: str
    """The prompt, filled."""
    schema: Schema
    """What the answer must be."""
    rater: int = 0
    """Tells several raters apart that are asked the same."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said."""

    value: Any
    """The answer, as its schema has it; None when it failed."""
    text: str
    """The answer in the judge's words; of a failure, what was seen of it."""
    problem: str | None
    """Why it failed, a short stable word such as `schema`, `no_json`, `timeout`; None when it did not."""
    prompt_tokens: int
    """Of all requests for it, whenever they were made, as the server counted them."""
    reply_tokens: int
    """Of all answers to them."""
    url: str | None
    """The server that was asked, without user, password and query; None in a cache that does not say."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What judgements cost."""

    judgements: int
    """How many."""
    failed: int
    """How many of them failed; they cost, too."""
    prompt_tokens: int
    """Tokens of prompts."""
    reply_tokens: int
    """Tokens of answers."""
    money: float | None
    """Price of these tokens in the currency of the prices given; None when one of the prices is unknown."""


class Judge:
    """Asks one model with one prompt."""

    def __init__(self, options: Judging, prompt: Prompt) -> None:
        """Reads the cache. Raises RunError when it is no journal, and ConfigError when an offline judge has none."""
        self.options = options
        self.prompt = prompt
        if options.offline and not Path(options.cache).exists():
            raise ConfigError(f"there is no cache {options.cache} to judge offline from; name the file, or go online")
        self.journal = Journal(Path(options.cache))
        self.counts: Counter[str] = Counter()
        """`asked` of the server, `repeated` requests, answers that were `invalid`, `failed/REASON`."""
        self.spent = Spent()
        self.tell: Callable[[int, int], None] = lambda done, total: None
        """Told how many of the judgements that had to be asked for are there, and of how many."""
        self._structured = options.answers != "text"

    def call(self, name: str, fields: Mapping[str, Any], schema: Schema, rater: int = 0) -> Call:
        """The call that asks the prompt about these fields. Raises ConfigError when the prompt wants others."""
        return Call(name, self.prompt.render(**fields), schema, rater)

    def ask(self, calls: Sequence[Call]) -> list[Judgement]:
        """A judgement for each call, in their order; equal calls share one.

        Raises JudgeError for what an offline judge does not find, EndpointError when the server answers nothing at all
        or refuses us, BudgetError when the budget is used up; what has arrived stays in the cache.
        """
        keyed = {self._key(call): call for call in calls}
        missing = {key: call for key, call in keyed.items() if self.journal.answer(key) is None}
        if self.options.offline:
            self._check_offline({key: call for key, call in missing.items() if self.journal.failure(key) is None})
        elif missing:
            run_to_end(self._ask(missing))
            self._check_reached(missing)
        return [self._judgement(self._key(call), call.schema) for call in calls]

    def estimate(self, calls: Sequence[Call]) -> Cost:
        """What `ask` will cost at most, repetitions aside: what is in the cache costs nothing, a prompt's tokens are
        guessed from its length, and no answer is longer than `reply_tokens`."""
        keyed = {self._key(call): call for call in calls}
        missing = [] if self.options.offline else [c for k, c in keyed.items() if self.journal.answer(k) is None]
        prompts = sum(-(-len(call.message.encode()) // BYTES_PER_TOKEN) for call in missing)
        return self._priced(len(missing), 0, prompts, len(missing) * self.options.reply_tokens)

    def cost(self, calls: Sequence[Call]) -> Cost:
        """What the judgements of these calls cost when they were made, which a replay repeats; equal ones cost once."""
        keyed = {self._key(call): call for call in calls}
        judgements = [self._judgement(key, call.schema) for key, call in keyed.items()]
        return self._priced(
            len(judgements),
            sum(judgement.problem is not None for judgement in judgements),
            sum(judgement.prompt_tokens for judgement in judgements),
            sum(judgement.reply_tokens for judgement in judgements),
        )

    def described(self, said: Sequence[Judgement]) -> dict[str, Any]:
        """What a results file says of the judge that said this; `urls` are those that were asked, also in a replay."""
        options = self.options
        return {
            "model": options.model,
            "urls": sorted({judgement.url for judgement in said if judgement.url is not None}),
            "prompt": self.prompt.name,
            "prompt_sha256": self.prompt.sha256,
            "temperature": options.extra.get("temperature", 0),
            "seed": options.extra.get("seed", options.seed),
        }

    # -- asking ------------------------------------------------------------------------------------------------------

    async def _ask(self, missing: Mapping[str, Call]) -> None:
        done = 0

        async def one(item: tuple[str, Call]) -> None:
            nonlocal done
            await self._one(endpoint, *item)
            done += 1
            self.tell(done, len(missing))

        async with Endpoint(self.options, self.spent, "judge") as endpoint:
            await ask_all(endpoint, missing.items(), one)

    async def _one(self, endpoint: Endpoint, key: str, call: Call) -> None:
        """Asks until an answer fits, or often enough, and writes down what came of it."""
        row = self._row(key, call)
        text, problem = "", "not_sent"
        for repetition in range(1 + self.options.invalid_again):
            found = await self._complete(endpoint, call, f"{key[:32]}-{repetition}")
            row["requests"] += found.attempts
            if isinstance(found, Failure):
                if found.reason == "not_sent" and not repetition:
                    return  # the call was stopped by another request, which says why
                text, problem = found.detail, found.reason
                break
            row["prompt_tokens"] += usage(found.body, "prompt_tokens") or 0
            row["reply_tokens"] += usage(found.body, "completion_tokens") or 0
            text, problem = _said(found.body, call.schema)
            if problem is None:
                break
            self.counts["invalid"] += 1
        self.counts["asked"] += 1
        self.counts["repeated"] += max(0, row["requests"] - 1)
        if problem is None:
            self.journal.add({**row, "text": text})
        else:
            word = problem.partition(":")[0]
            self.counts[f"failed/{word}"] += 1
            self.journal.add({**row, "problem": word, "detail": f"{problem}; {text[:500]}"})

    async def _complete(self, endpoint: Endpoint, call: Call, name: str) -> Answer | Failure:
        """Asks with the schema in the request, and without it where a server refuses that."""
        tokens = len(call.message.encode()) // BYTES_PER_TOKEN + self.options.reply_tokens
        structured, body = self._structured, self._body(call)

        async def complete(sent: Mapping[str, Any]) -> Answer | Failure:
            return await endpoint.complete(sent, name=name, seed=self.options.seed, tokens=tokens)

        if not structured:
            return await complete(body)
        found = await complete({**body, "response_format": _response_format(call.schema)})
        refused = isinstance(found, Failure) and found.reason in ("status_400", "status_422")
        if refused and self.options.answers == "auto":
            found = await complete(body)
            self._structured = self._structured and isinstance(found, Failure)
        return found

    def _body(self, call: Call) -> dict[str, Any]:
        options = self.options
        body: dict[str, Any] = {
            "model": options.model,
            "messages": [{"role": "user", "content": call.message}],
            "temperature": 0,
            "seed": options.seed,
            "max_tokens": options.reply_tokens,
            **options.extra,
        }
        return {name: value for name, value in body.items() if value is not None}

    def _key(self, call: Call) -> str:
        content = {**self._body(call), "schema": call.schema, "rater": call.rater}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _row(self, key: str, call: Call) -> dict[str, Any]:
        return {
            "key": key,
            "name": call.name,
            "rater": call.rater,
            "model": self.options.model,
            "url": _public(self.options.url),
            "prompt": self.prompt.name,
            "prompt_sha256": self.prompt.sha256,
            "requests": 0,
            "prompt_tokens": 0,
            "reply_tokens": 0,
        }

    # -- reading -----------------------------------------------------------------------------------------------------

    def _judgement(self, key: str, schema: Schema) -> Judgement:
        row = self.journal.answer(key)
        if row is None:
            failed: Row = self.journal.failure(key) or {"problem": "not_sent", "detail": ""}
            tokens = failed.get("prompt_tokens", 0), failed.get("reply_tokens", 0)
            return Judgement(None, failed["detail"], failed["problem"], *tokens, failed.get("url"))
        value, problem = read_judgement(row["text"], schema)
        tokens = row["prompt_tokens"], row["reply_tokens"]
        return Judgement(value, row["text"], problem and problem.partition(":")[0], *tokens, row.get("url"))

    def _check_offline(self, absent: Mapping[str, Call]) -> None:
        if absent:
            names = ", ".join(f"{call.name} (rater {call.rater})" for call in list(absent.values())[:5])
            raise JudgeError(
                f"{self.options.cache} lacks {len(absent)} judgements by {self.options.model} with the prompt "
                f"{self.prompt.name}: {names}{' …' if len(absent) > 5 else ''}; judge them online first, or name the "
                "cache, model and prompt that they were made with"
            )

    def _check_reached(self, asked: Mapping[str, Call]) -> None:
        failures = [self.journal.failure(key) for key in asked]
        if all(row is not None and row["problem"].startswith(_UNREACHED) for row in failures):
            last = failures[-1] or {}
            raise EndpointError(
                f"the judge at {self.options.url} answered none of {len(asked)} requests, the last one of "
                f"{last.get('name')} with {last.get('problem')} ({last.get('detail')}); start it, or mend judge.url"
            )

    def _priced(self, judgements: int, failed: int, prompt_tokens: int, reply_tokens: int) -> Cost:
        prompt_price, reply_price = self.options.prompt_price, self.options.reply_price
        money = None
        if prompt_price is not None and reply_price is not None:
            money = (prompt_tokens * prompt_price + reply_tokens * reply_price) / 1e6
        return Cost(judgements, failed, prompt_tokens, reply_tokens, money)


def _public(url: str) -> str:
    """The address as it may be told: without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _said(body: Mapping[str, Any], schema: Schema) -> tuple[str, str | None]:
    """What the judge said, and what is wrong with it; None when it fits."""
    choice = body["choices"][0]
    text = choice["message"]["content"]
    if not text:
        return "", "no_content"
    if choice["finish_reason"] == "length":
        return text, "cut_at_reply_tokens"
    return text, read_judgement(text, schema)[1]


def _response_format(schema: Schema) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "judgement", "schema": dict(schema), "strict": True}}
