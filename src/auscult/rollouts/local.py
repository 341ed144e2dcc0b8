"""The local engine: every prompt prefilled once, its cache repeated for its group, and replies drawn from there.

Replies go through the very passes that the learner computes them with (`Listener.reply`'s network against the same
cache), for every family alike; the log-probability kept for a token is `log_softmax(logits / temperature)` before
top-p, the quantity that the learner computes. So policy ratios start at 1, and any disagreement between the two is a
defect that shows.

A reply is drawn with its own generator, named by seed, sample and number. What else is in the batch changes nothing but
float rounding, and a batch that was interrupted can be completed.

Letters: R replies, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from auscult.core.seeds import rng
from auscult.core.types import Rollout, Sampling
from auscult.models.fingerprint import fingerprint
from auscult.models.listener import Listener, Prompt
from auscult.rollouts.growing import growing

THIN = 0.75
"""Finished replies leave the batch when fewer than this share of its rows still grow: each leaving copies the cache."""


class LocalEngine:
    """Answers with the listener's present weights."""

    def __init__(self, listener: Listener, batch: int = 128, precision: str = "auto") -> None:
        """`batch` bounds the replies that are generated at once; a group is never split over two prefills."""
        self.listener = listener
        self.batch = batch
        self.precision = precision

    @torch.no_grad()
    def roll(self, prompts: Sequence[Prompt], group: int, sampling: Sampling, seed: int) -> list[tuple[Rollout, ...]]:
        """`group` rollouts for each prompt, in the order of the prompts. No global generator is touched."""
        model = self.listener.model
        training = model.training
        model.eval()
        policy = fingerprint(model)
        draws = self._draws(prompts, group, sampling, seed)
        at_once = max(1, self.batch // group)
        groups: list[tuple[Rollout, ...]] = []
        for start in range(0, len(prompts), at_once):
            part = slice(start, start + at_once)
            with self.listener.arithmetic(self.precision):
                groups += self._generate(prompts[part], group, sampling, draws[part], policy)
        model.train(training)
        return groups

    def _draws(self, prompts: Sequence[Prompt], group: int, sampling: Sampling, seed: int) -> Tensor:
        """A number in [0, 1) for each token of each reply, [P, group, max_tokens]; empty when nothing is drawn."""
        if sampling.temperature <= 0:
            return torch.empty(len(prompts), group, 0)
        met: Counter[str] = Counter()
        rows: list[np.ndarray] = []
        for prompt in prompts:
            name = prompt.sample.id
            rows += [rng(seed, name, met[name], number).random(sampling.max_tokens) for number in range(group)]
            met[name] += 1
        return torch.from_numpy(np.stack(rows)).unflatten(0, (len(prompts), group))

    def _generate(
        self, prompts: Sequence[Prompt], group: int, sampling: Sampling, draws: Tensor, policy: str
    ) -> list[tuple[Rollout, ...]]:
        listener = self.listener
        device = listener.device
        prefix = listener.prefill(prompts, "rollout")
        asked = torch.arange(len(prompts), device=device).repeat_interleave(group)
        cache, mask = growing(prefix.cache, asked), prefix.mask[asked]
        newest, start = prefix.last[asked], prefix.start[asked]
        draws = draws.flatten(0, 1).to(device)
        stops = torch.tensor(sorted(listener.stop_ids), device=device)
        rows = len(asked)
        tokens = torch.zeros(rows, sampling.max_tokens, dtype=torch.long, device=device)
        logps = torch.zeros(rows, sampling.max_tokens, device=device)
        lengths = torch.full((rows,), sampling.max_tokens, device=device)
        ended = torch.zeros(rows, dtype=torch.bool, device=device)
        alive = torch.arange(rows, device=device)
        for step in range(sampling.max_tokens):
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            hidden = listener.run_replies(newest[:, None], mask, start[alive, None] + step, cache)
            scores = listener.logits(hidden[:, -1]) / (sampling.temperature or 1.0)
            newest = choose(scores, draws[alive, step] if draws.numel() else None, sampling.top_p)
            tokens[alive, step] = newest
            logps[alive, step] = scores.log_softmax(-1).gather(1, newest[:, None])[:, 0]
            done = torch.isin(newest, stops) & ~ended[alive]
            lengths[alive[done]] = step + 1
            ended[alive[done]] = True
            left = (~ended[alive]).nonzero()[:, 0]
            if not len(left):
                break
            if len(left) < THIN * len(alive):
                alive, newest, mask, cache = alive[left], newest[left], mask[left], growing(cache, left)
        told = zip(tokens.tolist(), logps.tolist(), lengths.tolist(), ended.tolist(), strict=True)
        rollouts = [
            self._rollout(prompts[row // group], reply[:length], values[:length], finished, policy)
            for row, (reply, values, length, finished) in enumerate(told)
        ]
        return [tuple(rollouts[start : start + group]) for start in range(0, len(rollouts), group)]

    def _rollout(self, prompt: Prompt, reply: list[int], logps: list[float], finished: bool, policy: str) -> Rollout:
        text = self.listener.text(reply)
        return Rollout(
            prompt_ids=prompt.ids,
            reply_ids=tuple(reply),
            logps=tuple(logps),
            text=text,
            stop="end" if finished else "length",
            policy=policy,
            parsed=self.listener.form.parse(text, prompt.sample.choices),
        )


def choose(scores: Tensor, draws: Tensor | None, top_p: float) -> Tensor:
    """A token [R] for each row of scores [R, V]: the likeliest without draws; with draws [R] in [0, 1) the token where
    the cumulative probability passes the draw, among the smallest set of likeliest tokens that holds `top_p` of it."""
    if draws is None:
        return scores.argmax(-1)
    probabilities = scores.double().softmax(-1)
    order = None
    if top_p < 1:
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= top_p, 0.0)
    reached = probabilities.cumsum(-1)
    place = torch.searchsorted(reached, draws[:, None] * reached[:, -1:], right=True)
    # A draw next to 1 can round up to the whole mass: then it is the last token that has any.
    place = torch.minimum(place, (probabilities > 0).cumsum(-1).argmax(-1, keepdim=True))
    return (place if order is None else order.gather(1, place))[:, 0]
