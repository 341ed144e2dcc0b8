"""The server engine: rollouts from any OpenAI-compatible server, each asked for by itself and none of them twice.

    prompts x group -> requests, each with a seed and a key of its own -> answers, in any order
                    -> checked, journaled -> rollouts, in the order of the prompts

Every reply is one request (`transformers serve` ignores `n`), with a seed named by the reply's address. It is written
down when it arrives, so whoever is killed, client or server, the same call made again asks for what is missing and ends
with the same set. What a reply says of itself is not believed but checked: the model that answered, the tokens of the
prompt (a server may leave the audio out in silence), the ids that its text becomes, whether its log-probs fit them.

What a server cannot promise is that a seed means the same to it under load: one that draws from a single generator for
all requests gives other replies in another order of arrival. The journal is what makes a resumed call the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from auscult.core.endpoint import (
    Answer,
    Endpoint,
    EndpointError,
    Failure,
    Spent,
    ask_all,
    run_to_end,
    used,
)
from auscult.core.errors import AuscultError, ConfigError, LostMediaError, RenderError
from auscult.core.journal import Journal
from auscult.core.runs import atomic_folder
from auscult.core.seeds import derive
from auscult.core.types import Rollout, Sampling
from auscult.models.fingerprint import fingerprint
from auscult.models.listener import Listener, Prompt
from auscult.rollouts.journal import past, replies
from auscult.rollouts.messages import wire
from auscult.rollouts.options import Server

SEEDS = 1 << 31
"""Servers take seeds of 32 or 64 bits, some of them signed."""
STOPS: Mapping[str, Literal["end", "length"]] = {"stop": "end", "length": "length"}
"""The finish reasons of a reply; any other one is a failure."""


@dataclass(frozen=True, slots=True)
class Request:
    """One reply to be asked for."""

    prompt: Prompt
    """What it answers."""
    place: tuple[int, int]
    """The prompt's place in the call, and the reply's in its group."""
    key: str
    """Hash of everything that the reply depends on."""
    seed: int
    """What the server is to draw it with."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """Low-rank weights that the server was told to load."""

    name: str
    """What it is asked for by; the policy's fingerprint stands in it."""
    folder: str
    """Where the server finds it."""


class ServerEngine:
    """Answers through a server that serves the listener's weights."""

    def __init__(self, listener: Listener, options: Server, folder: Path) -> None:
        """The listener says how samples are put and what a reply's tokens are. Without `hot_load` the server is taken
        to have the weights that drew the replies in `folder`, or those of this moment where there are none. Journals,
        adapters and checkpoints go to `folder`."""
        if listener.wording.too_long != "error":
            raise ConfigError(
                f"wording.too_long is {listener.wording.too_long}, but a server hears whole clips; set it to error"
            )
        self.listener = listener
        self.options = options
        self.folder = folder
        rows = list(past(folder))
        here = rows[0]["policy"] if rows else fingerprint(listener.model)
        self.policy = "none yet" if options.hot_load != "off" else here
        """Fingerprint of the weights that the server has."""
        self.adapter: Adapter | None = None
        """What it answers with instead of the plain model."""
        self.checkpoint: str | None = None
        """Folder of the weights that it was handed whole."""
        self.counts: Counter[str] = Counter()
        """`replies`, `read_back`, `torn`, `repeated` requests, `failed/REASON`, `without_logps`,
        `other_prompt_length` …"""
        self._warned: set[str] = set()
        self._groups: Counter[str] = Counter()
        self.spent = Spent(sum(row.get("attempts", 0) for row in rows), sum(row.get("tokens", 0) for row in rows))

    # -- the policy --------------------------------------------------------------------------------------------------

    def load_adapter(self) -> str:
        """Writes the listener's present adapter and lets the server answer with it and forget those before; its name.
        Raises ConfigError when not all that learns is an adapter, EndpointError when the server refuses.
        """
        if self.listener.adapter is None:
            raise ConfigError("a server is handed adapters only; set model.language adapt, or serve whole checkpoints")
        if not self.listener.adapter.alone:
            raise ConfigError(
                "parts of the model are trained in full beside its adapter, which no server can be handed; set them to "
                "freeze or adapt (model.audio, model.projector …)"
            )
        policy = fingerprint(self.listener.model)
        name = f"{self.options.model.rstrip('/').rpartition('/')[2]}-{policy}"
        path = self.folder.resolve() / "adapters" / name
        with atomic_folder(path) as aside:
            self.listener.save(aside)
        adapter = Adapter(name, str(path))
        run_to_end(self._swap(adapter))
        self.policy, self.adapter = policy, adapter
        self._groups.clear()
        return name

    def hand_checkpoint(self) -> str:
        """Writes the listener's present weights as a checkpoint that says `do_sample`, which the next request names;
        its folder. Those before are removed. Raises ConfigError for an adapted listener."""
        if self.listener.adapter is not None:
            raise ConfigError("an adapted model has no whole checkpoint to hand over; set server.hot_load adapter")
        policy = fingerprint(self.listener.model)
        path = self.folder.resolve() / "checkpoints" / policy
        with atomic_folder(path) as aside:
            self.listener.save(aside)
            drawing = aside / "generation_config.json"  # `transformers serve` is greedy unless this file says otherwise
            told = json.loads(drawing.read_text()) if drawing.exists() else {}
            drawing.write_text(json.dumps({**told, "do_sample": True, "top_k": 0}))
        self.policy, self.checkpoint = policy, str(path)
        self._groups.clear()
        for older in _beside(path):
            shutil.rmtree(older)
        return str(path)

    async def _swap(self, adapter: Adapter) -> None:
        async with Endpoint(self.options, self.spent, "server") as endpoint:
            await self.load(endpoint, adapter)
            for older in _beside(Path(adapter.folder)):
                failure = await endpoint.post("unload_lora_adapter", {"lora_name": older.name})
                self.counts["adapters_not_unloaded"] += failure is not None
                shutil.rmtree(older)

    async def load(self, endpoint: Endpoint, adapter: Adapter) -> None:
        """Loads an adapter unless the server has it already. Raises EndpointError when it refuses."""
        if adapter.name in await endpoint.models():
            return
        failure = await endpoint.post("load_lora_adapter", {"lora_name": adapter.name, "lora_path": adapter.folder})
        if failure is not None and adapter.name not in await endpoint.models():  # an answer may be lost, not the work
            raise EndpointError(
                f"{self.options.url} does not load the adapter {adapter.folder} ({failure.detail}); start vLLM with "
                "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, and let it see that folder"
            )

    @property
    def served(self) -> str:
        """The name that requests ask for."""
        if self.checkpoint is not None:
            return self.checkpoint
        return self.options.model if self.adapter is None else self.adapter.name

    # -- rolling -----------------------------------------------------------------------------------------------------

    def roll(self, prompts: Sequence[Prompt], group: int, sampling: Sampling, seed: int) -> list[tuple[Rollout, ...]]:
        """`group` rollouts for each prompt, in the order of the prompts; fewer where replies failed and
        `max_failed` allows for it, but one at least. Made again after a kill, it asks for what is missing.

        Raises EndpointError, BudgetError and LostMediaError; the replies that have arrived stay in the journal.
        """
        now = fingerprint(self.listener.model)
        if now != self.policy and self.options.hot_load == "adapter":
            self.load_adapter()
        elif now != self.policy and self.options.hot_load == "checkpoint":
            self.hand_checkpoint()
        elif now != self.policy:
            raise EndpointError(
                f"{self.options.url} serves policy {self.policy} as {self.served}, but rollouts of policy {now} are "
                "asked for; they would be stale: begin again with server.hot_load set (--overwrite, or another --out)"
            )
        call = self._call(sampling, seed)
        journal = replies(self.folder / f"{call[:16]}.jsonl", self.policy)
        self.counts += journal.counts
        requests = self._requests(prompts, group, call, seed)
        missing = [request for request in requests if journal.answer(request.key) is None]
        if missing:
            run_to_end(_Call(self, journal, sampling, missing, len(requests)).run())
        groups: list[list[Rollout]] = [[] for _ in prompts]
        for request in requests:
            if (row := journal.answer(request.key)) is not None:
                groups[request.place[0]].append(self._rollout(request.prompt, row))
        for prompt, rollouts in zip(prompts, groups, strict=True):
            if not rollouts:
                raise EndpointError(
                    f"sample {prompt.sample.id}: none of its replies arrived; {journal.path} says why and keeps the "
                    "others: mend the cause and run again"
                )
        return [tuple(rollouts) for rollouts in groups]

    def _call(self, sampling: Sampling, seed: int) -> str:
        """Hash of what all replies of a call depend on."""
        options = self.options
        shared = (
            self.policy,
            self.served,
            options.rate,
            options.samples,
            options.media,
            options.logprobs,
            asdict(sampling),
            seed,
        )
        return hashlib.sha256(json.dumps(shared).encode()).hexdigest()

    def _requests(self, prompts: Sequence[Prompt], group: int, call: str, seed: int) -> list[Request]:
        """All replies of a call. A prompt that is met again is asked for further replies, not for the same ones."""
        met: Counter[str] = Counter()
        requests: list[Request] = []
        for place, prompt in enumerate(prompts):
            media = [features.key for features in prompt.features]
            content = json.dumps([prompt.sample.id, prompt.text, prompt.ids, media]).encode()
            name = hashlib.sha256(content).hexdigest()
            for number in range(group):
                address = (call, name, met[name], number)
                key = hashlib.sha256(json.dumps(address).encode()).hexdigest()
                requests.append(Request(prompt, (place, number), key, derive(seed, *address[1:]) % SEEDS))
            met[name] += 1
        return requests

    def _rollout(self, prompt: Prompt, row: Mapping[str, Any]) -> Rollout:
        return Rollout(
            prompt_ids=prompt.ids,
            reply_ids=tuple(row["reply_ids"]),
            logps=None if row["logps"] is None else tuple(row["logps"]),
            text=row["text"],
            stop=row["stop"],
            policy=row["policy"],
            parsed=self.listener.form.parse(row["text"], prompt.sample.choices),
        )

    # -- reading an answer -------------------------------------------------------------------------------------------

    def read(self, request: Request, answer: Answer, sampling: Sampling) -> dict[str, Any] | Failure:
        """What the journal keeps of an answer: text, stop, ids and log-probs.

        Raises EndpointError when another model answered, LostMediaError when the prompt was too short for its media.
        """
        body, prompt = answer.body, request.prompt
        self._check_model(body.get("model"))
        self._check_prompt(prompt, body.get("usage"))
        choice = body["choices"][0]
        message, reason = choice["message"], choice["finish_reason"]
        if message.get("reasoning_content") or message.get("reasoning"):
            detail = "the server takes the thought out of the reply; start it without a reasoning parser"
            return Failure("thought_taken_out", detail, answer.attempts)
        if reason not in STOPS:
            return Failure(f"finish_{reason}", "the server stopped the reply for another reason", answer.attempts)
        if message["content"] is None:
            return Failure(
                "no_content", "the server gives no text, which is not the same as an empty one", answer.attempts
            )
        text, stop = message["content"], STOPS[reason]
        try:
            ids, logps = self._tokens(request, text, stop, choice.get("logprobs"), sampling)
        except RenderError as error:
            return Failure("other_text", str(error), answer.attempts)
        if not ids:
            detail = "cut before it had any text, and its tokens are unknown; raise max_tokens, or set dialect: vllm"
            return Failure("no_tokens", detail, answer.attempts)
        if logps is None and self.options.logprobs != "off":
            self.counts["without_logps"] += 1
            self._warn("logps", "the server gives no log-probs that fit the replies; the learner computes its own")
        return {"text": text, "stop": stop, "reply_ids": ids, "logps": logps}

    def _check_model(self, name: object) -> None:
        """`transformers serve` adds a revision to the name it was asked for, OpenAI a date."""
        if not isinstance(name, str) or re.fullmatch(re.escape(self.served) + r"(@.+|-\d{4}-\d\d-\d\d)?", name):
            return
        raise EndpointError(
            f"{self.options.url} answered as {name}, asked for {self.served}; its replies would be another policy's: "
            "mend server.model, or load the adapter again"
        )

    def _check_prompt(self, prompt: Prompt, usage: object) -> None:
        count = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
        if not isinstance(count, int) or not count or count == len(prompt.ids):
            return
        media = sum(features.tokens for features in prompt.features)
        if count < media:
            raise LostMediaError(
                f"sample {prompt.sample.id}: the server read {count} prompt tokens, its media alone are {media}; it "
                f"leaves them out: serve a model that takes them, or change server.media (now {self.options.media})"
            )
        self.counts["other_prompt_length"] += 1
        self._warn(
            "prompt",
            f"sample {prompt.sample.id}: the server read {count} prompt tokens, the listener has {len(prompt.ids)}; "
            "they render prompts differently: give both the same chat template",
        )

    def _tokens(
        self, request: Request, text: str, stop: str, logprobs: object, sampling: Sampling
    ) -> tuple[list[int], list[float] | None]:
        """Ids of a reply, and its log-probs where they are of these ids and of the learner's distribution."""
        listener = self.listener
        content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
        named = read_logprobs(content) if isinstance(content, Sequence) and self._same_distribution(sampling) else []
        tokens, logps = [token for token, _ in named], [logp for _, logp in named]
        ids = _numbered(tokens)
        if ids is None or listener.text(ids) != text:
            ids = list(listener.target(request.prompt.sample, text))[: None if stop == "end" else -1]
            spelt = [listener.tokenizer.decode([token]) for token in ids]
            # Pieces of a character all read the same, so they cannot tell whether the ids are those that were drawn.
            if tokens != spelt or any("\ufffd" in token for token in tokens):
                return ids, None
        elif stop == "end" and (not ids or ids[-1] not in listener.stop_ids):
            return [*ids, listener.end_id], None
        return ids, logps or None

    def _same_distribution(self, sampling: Sampling) -> bool:
        """Whether the server's log-probs are `log_softmax(logits / temperature)` before top-p, as the learner's are."""
        if self.options.logprobs == "raw":
            return sampling.temperature in (0, 1)
        return self.options.logprobs == "processed" and sampling.top_p == 1 and sampling.temperature > 0

    def _warn(self, what: str, sentence: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(sentence, stacklevel=2)

    def watch(self, texts: Sequence[str]) -> None:
        """Told the replies of a finished group at a temperature above 0.

        Raises EndpointError when no group so far, and enough of them, had two different replies.
        """
        if len(texts) < 2:
            return
        self._groups["groups"] += 1
        self._groups["varied"] += len(set(texts)) > 1
        limit = self.options.identical_groups
        if limit and self._groups["groups"] >= limit and not self._groups["varied"]:
            raise EndpointError(
                f"{self._groups['groups']} groups have {len(texts)} equal replies each: the server decodes greedily. "
                'Put "do_sample": true into the generation_config.json of its checkpoint and start it again '
                "(a policy that says one thing only: set server.identical_groups 0). "
            )


class _Call:
    """One call's requests, in flight together."""

    def __init__(
        self, engine: ServerEngine, journal: Journal, sampling: Sampling, missing: Sequence[Request], total: int
    ) -> None:
        self.engine = engine
        self.journal = journal
        self.sampling = sampling
        self.missing = missing
        self.total = total
        self.unread = Counter(request.place[0] for request in missing)
        self.current: tuple[int, list[dict[str, Any]]] = (-1, [])
        self.texts: dict[int, list[str]] = {}
        self.failed: Counter[str] = Counter()

    async def run(self) -> None:
        """Asks for all that is missing. When the call must stop, what is in flight is still awaited and kept."""
        engine = self.engine
        async with Endpoint(engine.options, engine.spent, "server") as endpoint:
            if (adapter := engine.adapter) is not None:
                endpoint.revive = lambda: engine.load(endpoint, adapter)
            try:
                await ask_all(endpoint, self.missing, lambda request: self._one(endpoint, request))
            except AuscultError as error:
                kept = f"{len(self.journal)} replies are kept in {self.journal.path}"
                error.args = (f"{error}. {kept}; the same command asks for the others",)
                raise

    async def _one(self, endpoint: Endpoint, request: Request) -> None:
        engine, sampling = self.engine, self.sampling
        found = await endpoint.complete(
            self._body(request),
            name=request.key[:32],
            seed=request.seed,
            tokens=len(request.prompt.ids) + sampling.max_tokens,
        )
        row = {
            "key": request.key,
            "policy": engine.policy,
            "sample": request.prompt.sample.id,
            "number": request.place[1],
            "attempts": found.attempts,
            "tokens": used(found.body, 0) if isinstance(found, Answer) else 0,
        }
        read = engine.read(request, found, sampling) if isinstance(found, Answer) else found
        engine.counts["repeated"] += max(0, found.attempts - 1)
        if isinstance(read, Failure):
            self._fail(read, row)
        else:
            self.journal.add({**row, **read})
            engine.counts["replies"] += 1
            self._watch(request, read["text"])

    def _body(self, request: Request) -> dict[str, Any]:
        """What is sent. Requests go out prompt by prompt, so the messages of one prompt at a time are kept."""
        engine, sampling, place = self.engine, self.sampling, request.place[0]
        if place != self.current[0]:
            said = engine.listener.messages(request.prompt.sample)
            self.current = (place, wire(said, engine.options, engine.listener.wording.display))
        body: dict[str, Any] = {
            "model": engine.served,
            "messages": self.current[1],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": request.seed,
        }
        if engine.options.logprobs != "off":
            body["logprobs"] = True
            if engine.options.dialect == "vllm":
                body["return_tokens_as_token_ids"] = True
        return body

    def _fail(self, failure: Failure, row: Mapping[str, Any]) -> None:
        """A failure is a row with its reason. Raises EndpointError when there are too many."""
        if failure.reason == "not_sent":
            return  # the call was stopped by another request, which says why
        self.journal.add({**row, "problem": failure.reason, "detail": failure.detail})
        self.failed[failure.reason] += 1
        self.engine.counts[f"failed/{failure.reason}"] += 1
        if self.failed.total() > self.engine.options.max_failed * self.total:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.failed.items()))
            raise EndpointError(
                f"{self.engine.options.url}: {self.failed.total()} of {self.total} replies failed ({reasons}), the "
                f"last of sample {row['sample']} after {failure.attempts} requests with {failure.detail!r}; mend the "
                "server, or raise server.max_failed or server.retries"
            )

    def _watch(self, request: Request, text: str) -> None:
        place = request.place[0]
        texts = self.texts.setdefault(place, [])
        texts.append(text)
        self.unread[place] -= 1
        if not self.unread[place]:
            del self.texts[place]
            if self.sampling.temperature > 0:
                self.engine.watch(texts)


def _beside(path: Path) -> list[Path]:
    """The other folders beside it: what was handed over before, also by engines and processes that are no more."""
    return [other for other in path.parent.iterdir() if other != path]


def read_logprobs(content: Sequence[Any]) -> list[tuple[str, float]]:
    """Tokens and their log-probs as a server lists them; nothing when one of them is no log-prob."""
    found: list[tuple[str, float]] = []
    for entry in content:
        token = entry.get("token") if isinstance(entry, Mapping) else None
        logp = entry.get("logprob") if isinstance(entry, Mapping) else None
        if not isinstance(token, str) or not isinstance(logp, int | float) or not math.isfinite(logp) or logp > 1e-3:
            return []
        found.append((token, min(0.0, float(logp))))
    return found


def _numbered(tokens: Sequence[str]) -> list[int] | None:
    """Ids that vLLM's `return_tokens_as_token_ids` writes; None when the tokens are written as text."""
    found = [re.fullmatch(r"token_id:(\d+)", token) for token in tokens]
    return [int(match[1]) for match in found if match] if tokens and all(found) else None
