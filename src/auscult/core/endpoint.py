"""One endpoint: a request goes out until it has an answer, or until sending it again is of no use.

    lost connection, timeout, 408, 429, 5xx, an answer cut off   sent again, after a wait that doubles and is spread
    other 4xx                                                    a failure with its reason; the next request may do
    401, 403, 404                                                nobody's request will do: the call stops
    budget used up                                               the call stops; what is in flight is still awaited

What a request was answered is data for its caller, so is why it was not (`Failure`). Only what concerns every request
is raised. The waits are drawn by seed; the order in which answers arrive is the server's and means nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx

from auscult.core.connection import Connection
from auscult.core.errors import AuscultError, ConfigError
from auscult.core.seeds import rng

AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may pass."""
KNOCKS, KNOCK = 3, 5.0
"""How often somebody is looked for at an address before anything is asked there, and seconds that each look takes."""
MARK = "auscult-"
"""Our request ids begin so; a server that answers with another of ours has mixed up two requests."""
T = TypeVar("T")


class EndpointError(AuscultError):
    """A server cannot do what it is asked to."""


class BudgetError(EndpointError):
    """Requests, tokens or time that a call may use are used up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered."""

    body: dict[str, Any]
    """The JSON of the answer."""
    attempts: int
    """How often it was sent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no answer."""

    reason: str
    """A short stable word for counting, for example `timeout`, `connection`, `status_500`, `cut_off`."""
    detail: str
    """What was seen the last time."""
    attempts: int
    """How often it was sent."""


@dataclass(slots=True)
class Spent:
    """What has been used of the budget."""

    requests: int = 0
    """Sent, repetitions counted."""
    tokens: int = 0
    """Of prompts and replies, as the server counts them; a request that was lost on its way back counts for none."""
    began: float = field(default_factory=time.monotonic)
    """When this process began to ask."""


class Endpoint:
    """An open connection to a server, within one event loop."""

    def __init__(self, options: Connection, spent: Spent, section: str) -> None:
        """`section` is what its user calls these options, for the sentences. Raises ConfigError when the environment
        lacks the API key."""
        self.options = options
        self.section = section
        self.spent = spent
        self.closing = asyncio.Event()
        """Set when the call is to stop: nothing is sent any more."""
        self.revive: Callable[[], Awaitable[None]] | None = None
        """Called when the server does not know the model any more, which it may have lost in a restart."""
        self._client = _client(options, section)
        self._reviving = asyncio.Lock()
        self._room = asyncio.Condition()
        self._promised = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def reach(self) -> None:
        """Raises EndpointError within seconds when nobody is at the address. Whoever is there may say what he wants:
        patience (`retries`) is for a server that was there and is lost."""
        for knock in range(KNOCKS):
            try:
                await self._client.get("models", timeout=KNOCK)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if knock + 1 == KNOCKS:
                    raise EndpointError(
                        f"{self.options.url}: nobody answers there ({type(error).__name__}: {error}); start the "
                        f"server, or mend {self.section}.url"
                    ) from error
                await self._pause(min(1.0, self.options.backoff))
            except httpx.RequestError:
                return
            else:
                return

    async def complete(self, body: Mapping[str, Any], *, name: str, seed: int, tokens: int) -> Answer | Failure:
        """A chat completion. `name` is the request's own, `tokens` the most that it can use.

        Raises BudgetError, and EndpointError when no request can succeed.
        """
        failure = Failure("not_sent", "the call stopped before", 0)
        for attempt in range(self.options.retries + 1):
            if self.closing.is_set():
                break
            async with self._reserved(tokens):
                found, wait = await self._attempt("chat/completions", body, f"{MARK}{name}-{attempt}", attempt + 1)
                if isinstance(found, Answer):
                    self.spent.tokens += used(found.body, tokens)
                    found = _completion(found)
            if isinstance(found, Answer):
                return found
            failure = found
            if failure.reason == "status_404" and self.revive is not None:
                async with self._reviving:
                    await self.revive()
                wait = 0.0
            if wait is None:
                self._refuse(failure)
                break
            if attempt < self.options.retries:
                await self._pause(max(wait, self._backoff(seed, name, attempt)))
        return failure

    async def post(self, path: str, body: Mapping[str, Any]) -> Failure | None:
        """Something else than a completion, sent again like one; None when it was done. Its answer need not be JSON."""
        failure: Failure | None = None
        for attempt in range(self.options.retries + 1):
            found, wait = await self._attempt(path, body, f"{MARK}{path}-{attempt}", attempt + 1)
            if isinstance(found, Answer):
                return None
            failure = found
            if wait is None:
                break
            if attempt < self.options.retries:
                await self._pause(max(wait, self._backoff(0, path, attempt)))
        return failure

    async def models(self) -> set[str]:
        """The names that the server answers to; none when it does not say."""
        try:
            listed = (await self._client.get("models")).json()["data"]
            return {str(model["id"]) for model in listed}
        except (httpx.RequestError, ValueError, KeyError, TypeError):
            return set()

    async def _attempt(
        self, path: str, body: Mapping[str, Any], name: str, number: int
    ) -> tuple[Answer | Failure, float | None]:
        """An answer or a failure; after a failure that may pass, how long to wait at least, or else None."""
        limit = self._limit()
        self.spent.requests += 1
        try:
            async with asyncio.timeout(limit):
                response = await self._client.post(path, json=body, headers={"X-Request-Id": name})
        except TimeoutError:
            return Failure("timeout", f"no answer within {limit:.3g} s", number), 0.0
        except httpx.RequestError as error:
            return Failure("connection", f"{type(error).__name__}: {error}", number), 0.0
        detail = f"{response.status_code}: {response.text[:300]}"
        if response.status_code >= 500 or response.status_code in AGAIN:
            wait = min(_retry_after(response), self.options.timeout)
            return Failure(f"status_{response.status_code}", detail, number), wait
        if response.status_code != 200:
            return Failure(f"status_{response.status_code}", detail, number), None
        echo = response.headers.get("X-Request-Id", "")
        if echo.startswith(MARK) and echo != name:
            return Failure("misrouted", f"the answer is to {echo}, not to {name}", number), 0.0
        return _parsed(response, number), 0.0

    @asynccontextmanager
    async def _reserved(self, tokens: int) -> AsyncGenerator[None]:
        """Sets tokens aside while a request is in flight, so that those in flight together keep to the budget."""
        limit = self.options.max_tokens

        def fits() -> bool:
            return limit is None or self.spent.tokens + self._promised + tokens <= limit

        async with self._room:
            await self._room.wait_for(lambda: fits() or not self._promised)
            if not fits():
                raise BudgetError(f"the budget of {limit} tokens is used up; raise max_tokens")
            self._promised += tokens
        try:
            yield
        finally:
            async with self._room:
                self._promised -= tokens
                self._room.notify_all()

    def _limit(self) -> float:
        """Seconds that the next attempt may take. Raises BudgetError when there are none left."""
        options, spent = self.options, self.spent
        if options.max_requests is not None and spent.requests >= options.max_requests:
            raise BudgetError(f"the budget of {options.max_requests} requests is used up; raise max_requests")
        if options.max_seconds is None:
            return options.timeout
        left = spent.began + options.max_seconds - time.monotonic()
        if left <= 0:
            raise BudgetError(f"the budget of {options.max_seconds:g} s is used up; raise max_seconds")
        return min(options.timeout, left)

    def _backoff(self, seed: int, name: str, attempt: int) -> float:
        wait = min(self.options.longest_wait, self.options.backoff * 2**attempt)
        return wait * rng(seed, "backoff", name, attempt).uniform(0.5, 1.0)

    def _refuse(self, failure: Failure) -> None:
        """Raises EndpointError for a refusal that every other request would meet too."""
        url, section = self.options.url, self.section
        if failure.reason in ("status_401", "status_403"):
            raise EndpointError(
                f"{url} refuses us ({failure.detail}); name the API key's variable in {section}.key_env"
            )
        if failure.reason == "status_404":
            raise EndpointError(
                f"{url} has no such model or address ({failure.detail}); mend {section}.model or {section}.url"
            )

    async def _pause(self, seconds: float) -> None:
        """Waits, but not beyond the end of the call."""
        try:
            async with asyncio.timeout(seconds):
                await self.closing.wait()
        except TimeoutError:
            return


async def ask_all(endpoint: Endpoint, requests: Iterable[T], one: Callable[[T], Awaitable[None]]) -> None:
    """Awaits `one` of each request, as many at a time as the options say. When one raises an AuscultError nothing more
    is begun, what is in flight is still awaited, and then the first such error is raised."""
    waiting = iter(requests)
    errors: list[AuscultError] = []

    async def work() -> None:
        for request in waiting:
            try:
                await one(request)
            except AuscultError as error:
                errors.append(error)
                endpoint.closing.set()
            if endpoint.closing.is_set():
                return

    await asyncio.gather(*(work() for _ in range(endpoint.options.concurrency)))
    if errors:
        raise errors[0]


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to, in a thread of its own where the caller has an event loop already, as notebooks do."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, work).result()


def _client(options: Connection, section: str) -> httpx.AsyncClient:
    headers: dict[str, str] = {}
    if options.key_env is not None:
        key = os.environ.get(options.key_env)
        if not key:
            raise ConfigError(
                f"the environment variable {options.key_env} is not set, which {section}.key_env names; put the API "
                f"key there, or set {section}.key_env null"
            )
        headers["Authorization"] = f"Bearer {key}"
    url = httpx.URL(options.url.rstrip("/") + "/")
    return httpx.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=httpx.Timeout(options.timeout),
        limits=httpx.Limits(max_connections=options.concurrency),
        trust_env=url.host not in ("localhost", "127.0.0.1", "::1"),  # a proxy of the environment is for other hosts
    )


def _parsed(response: httpx.Response, number: int) -> Answer | Failure:
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.headers.get("Content-Type", "").startswith("text/plain"):
        body = {"text": response.text}  # vLLM says in words that an adapter is loaded
    if not isinstance(body, dict):
        return Failure("cut_off", f"no JSON object: {response.text[:200]!r}", number)
    return Answer(cast("dict[str, Any]", body), number)


def _completion(answer: Answer) -> Answer | Failure:
    """The answer if it holds exactly one reply, whole."""
    choices: Any = answer.body.get("choices")
    if not isinstance(choices, list) or len(cast("list[Any]", choices)) != 1:
        count = len(cast("list[Any]", choices)) if isinstance(choices, list) else "no"
        return Failure("cut_off", f"{count} choices instead of 1", answer.attempts)
    choice: Any = cast("list[Any]", choices)[0]
    try:
        whole = isinstance(choice["message"]["content"], str | None) and isinstance(choice["finish_reason"], str)
    except (TypeError, KeyError):
        whole = False
    if not whole:
        return Failure(
            "cut_off", f"a choice without content or finish_reason: {json.dumps(choice)[:200]}", answer.attempts
        )
    return answer


def used(body: Mapping[str, Any], most: int) -> int:
    """Tokens as the server counted them; the most that there can be when it does not say."""
    total = usage(body, "total_tokens")
    return most if total is None else total


def usage(body: Mapping[str, Any], what: str) -> int | None:
    """Tokens of one kind (`total_tokens`, `prompt_tokens`, `completion_tokens`) as the server counted them; None when
    it does not say."""
    counted: Any = body.get("usage")
    number = cast("dict[str, Any]", counted).get(what) if isinstance(counted, dict) else None
    return number if isinstance(number, int) else None


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks for, in either of HTTP's two ways (RFC 9110, 10.2.3); 0 when it does not."""
    value = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
