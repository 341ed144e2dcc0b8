"""Who answers the questions of an exam: weights on this machine, or a server that takes recordings and images.

Both write every answer, and every failure with its reason, into the journal as it comes.

The local one asks in batches of fixed places, because float rounding may depend on who is in a batch: a batch that was
cut off is computed again as a whole, and only what is missing of it is written. The server is asked for one answer a
request. Whether it hears at all is found out first, for some servers leave audio out in silence: one question is
counted by the server with its media and without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from auscult.core.endpoint import Answer, Endpoint, EndpointError, Failure, Spent, ask_all, run_to_end, usage
from auscult.core.errors import LostMediaError, MediaError, RenderError
from auscult.core.journal import Journal
from auscult.core.seeds import derive
from auscult.core.types import Sample
from auscult.evaluate.exam import HEARD, Sitting
from auscult.models.wording import messages
from auscult.rollouts.messages import wire
from auscult.rollouts.options import Server

if TYPE_CHECKING:
    from auscult.models.listener import Listener, Prompt
    from auscult.rollouts.engine import Engine

Told = Callable[[int], None]
"""Told how many questions and draws of a sitting are done with."""
STOPS = {"stop": "end", "length": "length"}
"""The finish reasons of an answer; any other one is a failure."""
SEEDS = 1 << 31
"""Servers take seeds of 32 or 64 bits, some of them signed."""


class Respondent(Protocol):
    """Anybody who answers."""

    def ask(self, sitting: Sitting, journal: Journal, told: Told) -> None:
        """Asks whatever has no answer yet. Raises AuscultError only for what concerns all questions."""
        ...


@dataclass(frozen=True, slots=True)
class Local:
    """Weights on this machine."""

    engine: Engine
    """Answers prompts."""
    listener: Listener
    """Puts questions as its model reads them."""
    batch: int
    """Questions at once."""

    def ask(self, sitting: Sitting, journal: Journal, told: Told) -> None:
        self.listener.wording = sitting.wording
        for start in range(0, len(sitting.samples), self.batch):
            samples = sitting.samples[start : start + self.batch]
            missing = {(sample.id, draw) for sample, draw in sitting.missing(samples, journal)}
            if missing:
                self._roll(sitting, samples, missing, journal)
            told((start + len(samples)) * sitting.draws)

    def _roll(
        self, sitting: Sitting, samples: Sequence[Sample], missing: set[tuple[str, int]], journal: Journal
    ) -> None:
        prompts: list[Prompt] = []
        happened: dict[str, Counter[str]] = {}
        for sample in samples:
            before = Counter(self.listener.counts)
            try:
                prompts.append(self.listener.prompt(sitting.asked(sample)))
                happened[sample.id] = self.listener.counts - before
            except (MediaError, RenderError) as problem:
                reason = problem.reason if isinstance(problem, MediaError) else "rendering"
                for draw in range(sitting.draws):
                    journal.add({**sitting.row(sample, draw), "problem": reason, "detail": str(problem)})
        by_id = {sample.id: sample for sample in samples}
        for prompt, rollouts in zip(
            prompts, self.engine.roll(prompts, sitting.draws, sitting.sampling, sitting.seed), strict=True
        ):
            for draw, rollout in enumerate(rollouts):
                if (prompt.sample.id, draw) in missing:
                    row = sitting.row(by_id[prompt.sample.id], draw)
                    journal.add(
                        {**row, "text": rollout.text, "stop": rollout.stop, "media": happened[prompt.sample.id]}
                    )


@dataclass(frozen=True, slots=True)
class Remote:
    """A model that a server has; whose weights they are, the server alone knows."""

    options: Server
    """Where it is, and how patiently it is asked."""
    spent: Spent
    """What has been used of the budget."""

    def ask(self, sitting: Sitting, journal: Journal, told: Told) -> None:
        run_to_end(self._ask(sitting, journal, told))

    async def _ask(self, sitting: Sitting, journal: Journal, told: Told) -> None:
        missing = sitting.missing(sitting.samples, journal)
        done = len(sitting.samples) * sitting.draws - len(missing)
        async with Endpoint(self.options, self.spent, "server") as endpoint:

            async def one(pair: tuple[Sample, int]) -> None:
                nonlocal done
                journal.add({**sitting.row(*pair), **await self._answer(endpoint, sitting, *pair)})
                done += 1
                told(done)

            if missing and not self.spent.requests:
                await endpoint.reach()
            if missing and sitting.condition == HEARD:
                await self._hears(endpoint, sitting, missing[0][0])
            await ask_all(endpoint, missing, one)

    async def _answer(self, endpoint: Endpoint, sitting: Sitting, sample: Sample, draw: int) -> dict[str, Any]:
        """What a journal's row says of the answer, or of why there is none."""
        try:
            said = wire(messages(sitting.asked(sample), sitting.wording), self.options, sitting.wording.display)
        except (MediaError, RenderError) as problem:
            reason = problem.reason if isinstance(problem, MediaError) else "rendering"
            return {"problem": reason, "detail": str(problem)}
        seed = derive(sitting.seed, sample.id, draw) % SEEDS
        body = {**self._body(sitting, said), "seed": seed}
        name = sitting.key(sample, draw)[:32]
        found = await endpoint.complete(body, name=name, seed=seed, tokens=sitting.sampling.max_tokens)
        found = read_reply(found) if isinstance(found, Answer) else found
        if isinstance(found, Failure):
            return {"problem": found.reason, "detail": found.detail, "attempts": found.attempts}
        return found

    def _body(self, sitting: Sitting, said: list[dict[str, Any]]) -> dict[str, Any]:
        sampling = sitting.sampling
        drawing = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens}
        return {"model": self.options.model, "messages": said, **drawing}

    async def _hears(self, endpoint: Endpoint, sitting: Sitting, sample: Sample) -> None:
        """Raises LostMediaError when the server counts as many tokens for a question without its media."""
        if not sample.media:
            return
        try:
            said = wire(messages(sitting.put(sample), sitting.wording), self.options, sitting.wording.display)
        except (MediaError, RenderError):
            return  # the question itself will say so
        deaf = [{**turn, "content": [piece for piece in turn["content"] if piece["type"] == "text"]} for turn in said]
        counts: list[int | None] = []
        for name, asked in (("with-media", said), ("without-media", deaf)):
            body = {**self._body(sitting, asked), "max_tokens": 1}
            found = await endpoint.complete(body, name=name, seed=0, tokens=1)
            counts.append(usage(found.body, "prompt_tokens") if isinstance(found, Answer) else None)
        heard, unheard = counts
        if heard is not None and heard == unheard:
            raise LostMediaError(
                f"sample {sample.id}: {self.options.url} counts {heard} prompt tokens with its media and without; it "
                f"leaves them out: serve a model that takes them, or change server.media (now {self.options.media})"
            )


def read_reply(answer: Answer) -> dict[str, Any] | Failure:
    """The text of an answer, a thought that the server took out of it put back in front, and why it stopped."""
    choice = answer.body["choices"][0]
    message, reason = choice["message"], choice["finish_reason"]
    if reason not in STOPS:
        return Failure(f"finish_{reason}", "the server stopped the answer for another reason", answer.attempts)
    thought = message.get("reasoning_content") or message.get("reasoning")
    if message["content"] is None and not thought:
        return Failure("no_content", "the server gives no text, which is not the same as an empty one", answer.attempts)
    text = (f"<think>{thought}</think>" if thought else "") + (message["content"] or "")
    counts = {"attempts": answer.attempts, "tokens": usage(answer.body, "total_tokens")}
    return {"text": text, "stop": STOPS[reason], **counts}


async def served(options: Server) -> str:
    """The name of the one model that a server has. Raises EndpointError for none, several, or nobody there."""
    async with Endpoint(options, Spent(), "server") as endpoint:
        await endpoint.reach()
        names = sorted(await endpoint.models())
    if len(names) != 1:
        there = f"has {', '.join(names)}" if names else "does not say what it has"
        raise EndpointError(f"{options.url} {there}; name the model with --server.model NAME")
    return names[0]
