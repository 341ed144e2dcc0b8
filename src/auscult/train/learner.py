"""The learner: lessons become gradients, through one computation of each prompt however many replies it has.

    prefill   every prompt but its last token, once, gradients attached             -> keys and values K [P, ...]
    cut       K' = K detached: leaves of their own                                   (the tape ends at the cache)
    replies   in chunks against a repetition of K', each chunk back-propagated at once and forgotten
    prompts   K is back-propagated once, with the gradients that gathered in K'

The chain rule makes this the gradient of the plain computation (tested to 1e-5); memory is one prompt pass and one
chunk of replies, whatever the size of the group. The loss is a weighted sum over reply tokens whose weights are fixed
for the whole batch before it is cut into pieces, so no way of cutting changes the gradient.

Letters: P prompts, R replies, T reply tokens, M tokens that count, V vocabulary.
"""

# torch ships partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from auscult.core.errors import RunError
from auscult.core.types import Rollout
from auscult.models.listener import Listener, Prefix, Prompt, attention_layers, map_cache
from auscult.train import objectives
from auscult.train.algorithm import Objective
from auscult.train.objectives import Tokens
from auscult.train.options import Train

HEAD_TOKENS = 4096
"""Tokens whose logits exist at once: 4 GiB in float32 for a vocabulary of 262,144, far less for any other."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One reply to learn from, with its rendered prompt."""

    prompt: Prompt
    """The rendered sample."""
    rollout: Rollout
    """The reply."""
    advantage: float
    """Strength and direction."""


@dataclass
class Tally:
    """What one pass over a batch saw, token by token; figures are made of it once at the end."""

    loss: float = 0.0
    divergence: float = 0.0
    logps: list[Tensor] = field(default_factory=list[Tensor])
    old: list[Tensor] = field(default_factory=list[Tensor])
    entropy: list[Tensor] = field(default_factory=list[Tensor])

    def figures(self, objective: Objective) -> dict[str, float]:
        """Means over reply tokens; agreement compares the learner's log-probabilities with the rollouts'."""
        figures = {"loss": self.loss}
        if not self.logps:
            return figures
        new, old = torch.cat(self.logps).double(), torch.cat(self.old).double()
        figures["entropy"] = torch.cat(self.entropy).mean().item()
        if objective.name == "clip":
            ratio = (new - old).exp()
            figures["clipped_share"] = ((ratio - 1).abs() > objective.clip).double().mean().item()
            figures["agreement/abs_diff"] = (new - old).abs().mean().item()
            if len(new) > 1 and new.std() > 0 and old.std() > 0:
                figures["agreement/correlation"] = torch.corrcoef(torch.stack([new, old]))[0, 1].item()
        if objective.kl:
            figures["kl"] = self.divergence
        return figures


def token_weights(lessons: Sequence[Lesson], objective: Objective) -> list[float]:
    """Weight of each reply token, by lesson. Imitation averages over all tokens of the batch; the policy gradient
    over replies and, within one, over its tokens (arXiv 2402.03300, eq. 3)."""
    lengths = [len(lesson.rollout.reply_ids) for lesson in lessons]
    if objective.name == "imitate":
        return [1 / sum(lengths)] * len(lessons)
    return [1 / (len(lessons) * length) for length in lengths]


def backward(
    listener: Listener,
    lessons: Sequence[Lesson],
    objective: Objective,
    options: Train,
    reference: Listener | None = None,
) -> Tally:
    """Adds the gradient of the batch's loss to the parameters' `.grad`.

    Lessons of advantage 0 have no gradient (without a KL term) and are not computed; they count in the weights all
    the same."""
    tally = Tally()
    weights = token_weights(lessons, objective)
    live = [
        (lesson, weight)
        for lesson, weight in zip(lessons, weights, strict=True)
        if lesson.advantage != 0 or objective.kl
    ]
    for prompts, replies in _micro_batches(live, options.prompt_batch):
        with autocast(listener, options):
            prefix = listener.prefill(prompts, "loss")
        roots, leaves = cut(prefix)
        shadow = None if reference is None else _prefill_quietly(reference, prompts, options)
        for chunk in _by_length(replies, options.reply_batch):
            with autocast(listener, options):
                loss = _chunk_loss(listener, leaves, reference, shadow, chunk, objective, tally)
            loss.backward()
        # A prompt whose replies all weigh nothing leaves no gradient on its leaves.
        pushed = [
            (root, leaf.grad) for root, leaf in zip(roots, _tensors(leaves), strict=True) if leaf.grad is not None
        ]
        torch.autograd.backward([root for root, _ in pushed], [gradient for _, gradient in pushed])
    return tally


def cut(prefix: Prefix) -> tuple[list[Tensor], Prefix]:
    """The tensors of a prefix that carry its graph, and the same prefix over leaves that collect gradients."""
    leaves = map_cache(prefix.cache, lambda tensor: tensor.detach().requires_grad_())
    return _tensors(prefix), Prefix(leaves, prefix.mask, prefix.last)


def reply_logps(
    listener: Listener, prefix: Prefix, index: Tensor, ids: Tensor, mask: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies [R, T] of the reply tokens `ids` [R, T]; 0 on padding (`mask` [R, T] is 0
    there)."""
    hidden = listener.reply(prefix, index, ids, mask)
    counted = mask.bool()
    rows, targets = hidden[counted], ids[counted]  # [M, W], [M]: the head never sees padding or prompt

    def head(states: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        logps = (listener.logits(states) / temperature).log_softmax(-1)
        with torch.no_grad():
            entropy = -(logps.exp() * logps).sum(-1)
        return logps.gather(1, words[:, None])[:, 0], entropy

    pieces = list(zip(rows.split(HEAD_TOKENS), targets.split(HEAD_TOKENS), strict=True))
    if len(pieces) == 1:
        found = [head(rows, targets)]
    else:  # logits of one piece at a time, computed again for its gradient
        found = [checkpoint(head, states, words, use_reentrant=False) for states, words in pieces]
    empty = torch.zeros(ids.shape, dtype=torch.float32, device=ids.device)
    logps = empty.masked_scatter(counted, torch.cat([values for values, _ in found]))
    return logps, empty.masked_scatter(counted, torch.cat([entropy for _, entropy in found]))


@dataclass(frozen=True)
class _Reply:
    """A lesson within a micro-batch."""

    lesson: Lesson
    prompt: int
    """Number of its prompt in the micro-batch."""
    weight: float
    """Weight of each of its tokens."""


def _micro_batches(live: Sequence[tuple[Lesson, float]], size: int) -> Iterator[tuple[list[Prompt], list[_Reply]]]:
    """Prompts, `size` at a time, with all their replies: a prompt is computed once."""
    by_prompt: dict[int, list[tuple[Lesson, float]]] = {}
    for lesson, weight in live:
        by_prompt.setdefault(id(lesson.prompt), []).append((lesson, weight))
    groups = list(by_prompt.values())
    for start in range(0, len(groups), size):
        part = groups[start : start + size]
        yield (
            [group[0][0].prompt for group in part],
            [_Reply(lesson, number, weight) for number, group in enumerate(part) for lesson, weight in group],
        )


def _by_length(replies: Sequence[_Reply], size: int) -> Iterator[list[_Reply]]:
    """Chunks of replies of like length, so that padding is small."""
    ordered = sorted(replies, key=lambda reply: len(reply.lesson.rollout.reply_ids))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _chunk_loss(
    listener: Listener,
    prefix: Prefix,
    reference: Listener | None,
    shadow: Prefix | None,
    chunk: Sequence[_Reply],
    objective: Objective,
    tally: Tally,
) -> Tensor:
    device = listener.device
    lengths = torch.tensor([len(reply.lesson.rollout.reply_ids) for reply in chunk], device=device)
    mask = (torch.arange(int(lengths.max()), device=device) < lengths[:, None]).long()
    ids = _padded([reply.lesson.rollout.reply_ids for reply in chunk], mask, torch.long)
    index = torch.tensor([reply.prompt for reply in chunk], device=device)
    logps, entropy = reply_logps(listener, prefix, index, ids, mask, objective.temperature)
    old = logps.detach()
    if objective.name == "clip":
        old = _padded([_sampled(reply.lesson.rollout) for reply in chunk], mask, torch.float32)
    base = None
    if reference is not None and shadow is not None:
        with torch.no_grad():
            base, _ = reply_logps(reference, shadow, index, ids, mask, objective.temperature)
    tokens = Tokens(
        logps=logps,
        old=old,
        reference=base,
        advantage=torch.tensor([[reply.lesson.advantage] for reply in chunk], device=device),
        weight=torch.tensor([[reply.weight] for reply in chunk], device=device) * mask,
    )
    loss = objectives.imitate(tokens) if objective.name == "imitate" else objectives.clip(tokens, objective.clip)
    divergence = objectives.kl(tokens)
    if objective.kl:
        loss = loss + objective.kl * divergence
    counted = mask.bool()
    tally.loss += loss.item()
    tally.divergence += divergence.item()
    tally.logps.append(logps.detach()[counted])
    tally.old.append(old[counted])
    tally.entropy.append(entropy[counted])
    return loss


def _sampled(rollout: Rollout) -> tuple[float, ...]:
    if rollout.logps is None:
        raise RunError(
            "a policy gradient cannot learn from a rollout without log-probabilities; use an engine that keeps them"
        )
    return rollout.logps


def _padded(rows: Sequence[Sequence[float]], mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows of unequal length as [R, T], 0 behind their ends."""
    width = mask.shape[1]
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=dtype, device=mask.device)


def _tensors(prefix: Prefix) -> list[Tensor]:
    return [tensor for layer in attention_layers(prefix.cache) for tensor in (layer.keys, layer.values)]


def _prefill_quietly(reference: Listener, prompts: Sequence[Prompt], options: Train) -> Prefix:
    with torch.no_grad(), autocast(reference, options):
        return reference.prefill(prompts, "reference log-probs")


def autocast(listener: Listener, options: Train) -> AbstractContextManager[object]:
    """The arithmetic that `options.precision` asks for, on the listener's device."""
    kind = listener.device.type
    able = kind == "cuda" and torch.cuda.is_bf16_supported()
    lower = options.precision == "bfloat16" or (options.precision == "auto" and able)
    return torch.autocast(kind, torch.bfloat16, enabled=lower)


class Learner:
    """A listener with its optimiser."""

    def __init__(self, listener: Listener, options: Train, peak: float, steps: int, final: float = 0.1) -> None:
        """The learning rate warms up to `peak`, then falls along a cosine to `final` of it in `steps` steps."""
        self.listener = listener
        self.options = options
        self.peak = peak
        self.final = final
        self.steps = steps
        self.done = 0
        """Optimiser steps taken."""
        self.parameters = {name: p for name, p in listener.model.named_parameters() if p.requires_grad}
        matrices = [p for p in self.parameters.values() if p.ndim >= 2]
        vectors = [p for p in self.parameters.values() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": options.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=peak,
            betas=options.betas,
        )

    def rate(self, step: int) -> float:
        """Learning rate of optimiser step `step`: linear warm-up, then a cosine."""
        if step < self.options.warmup:
            return self.peak * (step + 1) / self.options.warmup
        span = max(1, self.steps - self.options.warmup)
        share = min(1.0, (step - self.options.warmup) / span)
        return self.peak * (self.final + (1 - self.final) * (1 + math.cos(math.pi * share)) / 2)

    def step(
        self, lessons: Sequence[Lesson], objective: Objective, reference: Listener | None = None
    ) -> dict[str, float]:
        """One optimiser step on a batch; its figures."""
        # A policy ratio must start at 1, so dropout is for imitation only.
        self.listener.model.train(objective.name == "imitate")
        self.optimizer.zero_grad(set_to_none=True)
        figures = backward(self.listener, lessons, objective, self.options, reference).figures(objective)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.options.clip_norm)
        rate = self.rate(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.done += 1
        return {**figures, "grad_norm": norm.item(), "lr": rate}
