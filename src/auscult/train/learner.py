"""The learner: lessons become gradients, through one computation of each prompt however many replies it has.

    prefill   every prompt but its last token, once, gradients attached             -> keys and values K [P, ...]
    cut       K' = K detached: leaves of their own                                   (the tape ends at the cache)
    replies   in chunks against a repetition of K', each chunk back-propagated at once and forgotten
    prompts   K is back-propagated once, with the gradients that gathered in K'

The chain rule makes this the gradient of the plain computation (tested to 1e-5); memory is one prompt pass and one
chunk of replies, whatever the size of the group. The loss is a weighted sum over reply tokens whose weights are fixed
for the whole batch before it is cut into pieces, so no way of cutting changes the gradient.

With several processes each computes its share of the prompts (`processes.py`), and the gradients are summed.

The learner's own old log-probabilities cost no pass of their own: those of the first pass over a batch, before its
update, are the ones, and later passes find them in the lessons.

Letters: P prompts, R replies, T reply tokens, M tokens that count, V vocabulary.
"""

# torch ships partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from statistics import fmean

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from auscult.core.errors import RunError
from auscult.core.types import Parsed, Rollout, Sample, Turn
from auscult.models.adapters import weights_of
from auscult.models.listener import Listener, Prefix, Prompt, attention_layers, map_cache
from auscult.train import objectives
from auscult.train.algorithm import Objective
from auscult.train.objectives import Tokens
from auscult.train.optimizer import adamw, learning_rate
from auscult.train.options import Train
from auscult.train.processes import ALONE, Processes
from auscult.train.sharding import clip_norm_, dealt_like, is_sharded, own

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
    old: tuple[float, ...] | None = None
    """Log-probability of each reply token before the batch's first update; None in the first pass, which finds it."""


@dataclass(frozen=True)
class Reference:
    """The policy that a stage began with: the listener itself, for a moment with its trainable weights as they were.
    Frozen parts, and what their encoders remember, are shared."""

    listener: Listener
    """Whose policy it was."""
    weights: Mapping[str, Tensor]
    """Its trainable weights then, by name."""

    @classmethod
    def of(cls, listener: Listener, then: Listener) -> Reference:
        """The policy of `then`, a listener of the same make, held by `listener`."""
        before = dict(then.model.named_parameters())
        learnt = {name: p for name, p in listener.model.named_parameters() if p.requires_grad}
        return cls(listener, {name: dealt_like(before[name].detach().clone(), p) for name, p in learnt.items()})

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Within, the listener is the reference, and no graph is made."""
        plain = {name: value for name, value in self.weights.items() if not is_sharded(value)}
        with torch.no_grad(), weights_of(self.listener, plain), self._shares_of():
            yield

    @contextmanager
    def _shares_of(self) -> Generator[None]:
        """Layers that are dealt out keep their memory, from which they are put together: their values change places."""
        parameters = dict(self.listener.model.named_parameters())
        shares = [(own(parameters[name]), own(value)) for name, value in self.weights.items() if is_sharded(value)]
        kept = [share.clone() for share, _ in shares]
        try:
            for share, value in shares:
                share.copy_(value)
            yield
        finally:
            for (share, _), value in zip(shares, kept, strict=True):
                share.copy_(value)


@dataclass
class Tally:
    """What one pass over a batch saw; figures are made of it once at the end."""

    loss: float = 0.0
    """Of the whole batch."""
    old: dict[int, tuple[float, ...]] = field(default_factory=dict[int, tuple[float, ...]])
    """By the id() of its lesson: `Lesson.old` of what was computed."""
    tokens: dict[str, list[Tensor]] = field(default_factory=dict[str, list[Tensor]])
    """By name, values [M] of the reply tokens of each chunk, chunk after chunk in one order for all names."""

    def see(self, **values: Tensor) -> None:
        """Keeps the values [M] of another chunk."""
        for name, value in values.items():
            self.tokens.setdefault(name, []).append(value.detach())

    def shared(self, processes: Processes) -> Tally:
        """What all processes saw of a batch that was shared out; `old` stays each one's own, as its lessons do."""
        if processes.count == 1:
            return self
        parts = processes.gather((self.loss, {name: torch.cat(values).cpu() for name, values in self.tokens.items()}))
        whole = Tally(sum(loss for loss, _ in parts), self.old)
        for _, tokens in parts:
            whole.see(**tokens)
        return whole

    def remembered(self, lessons: Sequence[Lesson]) -> list[Lesson]:
        """The lessons with the old log-probabilities that this pass, the first one, has found."""
        return [replace(lesson, old=self.old.get(id(lesson))) for lesson in lessons]

    def figures(self, objective: Objective) -> dict[str, float]:
        """Means over reply tokens; agreement compares the learner's log-probabilities with the engine's, where it told
        any."""
        figures = {"loss": self.loss}
        if not self.tokens:
            return figures
        seen = {name: torch.cat(values).double() for name, values in self.tokens.items()}
        plain = ("entropy", "kl", "clip/low", "clip/high", "importance/mean", "importance/truncated")
        figures |= {name: seen[name].mean().item() for name in plain if name in seen}
        if objective.name == "imitate":
            return figures
        told = ~seen["rollout"].isnan()
        figures["logps_recomputed"] = 1 - told.double().mean().item()
        own, theirs = seen["learner"][told], seen["rollout"][told]
        if len(own):
            figures["agreement/abs_diff"] = (own - theirs).abs().mean().item()
        if len(own) > 1 and own.std() > 0 and theirs.std() > 0:
            figures["agreement/correlation"] = torch.corrcoef(torch.stack([own, theirs]))[0, 1].item()
        return figures


def token_weights(lessons: Sequence[Lesson], objective: Objective) -> list[float]:
    """Weight of each reply token, by lesson, for the mean that the objective takes. Whatever it is, it is the whole
    batch's: over all tokens (arXiv 2503.14476, eq. 12, where it is one group's), over replies and within one over its
    tokens (2402.03300, eq. 3), or over replies with a constant for their lengths (2503.20783, section 3.2)."""
    lengths = [len(lesson.rollout.reply_ids) for lesson in lessons]
    match objective.average:
        case "token":
            return [1 / sum(lengths)] * len(lessons)
        case "sequence":
            return [1 / (len(lessons) * length) for length in lengths]
        case "constant":
            return [1 / (len(lessons) * objective.length)] * len(lessons)


def backward(
    listener: Listener,
    lessons: Sequence[Lesson],
    objective: Objective,
    options: Train,
    reference: Reference | None = None,
    processes: Processes = ALONE,
) -> Tally:
    """Adds the gradient of this process's share of the batch's loss to the parameters' `.grad`: alone, of all of it.

    Lessons of advantage 0 have no gradient (without a KL term) and are not computed; they count in the weights all
    the same."""
    tally = Tally()
    weights = token_weights(lessons, objective)
    live = [
        (lesson, weight)
        for lesson, weight in zip(lessons, weights, strict=True)
        if lesson.advantage != 0 or objective.kl
    ]
    mine = processes.share(_by_prompt(live))
    passes = [
        (prompts, list(_by_length(replies, options.reply_batch)))
        for prompts, replies in _micro_batches(mine, options.prompt_batch)
    ]
    if processes.shard:
        passes = evened(passes, listener, processes)
    for prompts, chunks in passes:
        with listener.arithmetic(options.precision):
            prefix = listener.prefill(prompts, "loss")
        roots, leaves = cut(prefix)
        shadow = None
        if reference is not None:
            with reference.in_place(), listener.arithmetic(options.precision):
                shadow = listener.prefill(prompts, "reference log-probs")
        for chunk in chunks:
            seen = tally if chunk[0].weight else Tally()
            with listener.arithmetic(options.precision):
                loss = _chunk_loss(listener, leaves, reference, shadow, chunk, objective, seen)
            loss.backward()
        # A prompt whose replies all weigh nothing leaves no gradient on its leaves.
        pushed = [
            (root, leaf.grad) for root, leaf in zip(roots, _tensors(leaves), strict=True) if leaf.grad is not None
        ]
        if processes.shard:  # FSDP2 asks for a layer when a gradient meets its output, and none comes to the last one
            pushed.append((prefix.out, torch.zeros_like(prefix.out)))
        torch.autograd.backward([root for root, _ in pushed], [gradient for _, gradient in pushed])
    return tally.shared(processes)


def cut(prefix: Prefix) -> tuple[list[Tensor], Prefix]:
    """The tensors of a prefix that carry its graph, and the same prefix over leaves that collect gradients."""
    leaves = map_cache(prefix.cache, lambda tensor: tensor.detach().requires_grad_())
    return _tensors(prefix), replace(prefix, cache=leaves)


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


Live = list[tuple[Lesson, float]]
"""Lessons with the weight of each of their tokens."""


def _by_prompt(live: Live) -> list[Live]:
    """Lessons of one prompt together: it is computed once, on one process."""
    by_prompt: dict[int, Live] = {}
    for lesson, weight in live:
        by_prompt.setdefault(id(lesson.prompt), []).append((lesson, weight))
    return list(by_prompt.values())


def _micro_batches(groups: Sequence[Live], size: int) -> Iterator[tuple[list[Prompt], list[_Reply]]]:
    """Prompts, `size` at a time, with all their replies."""
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


Pass = tuple[list[Prompt], list[list[_Reply]]]
"""Prompts that are computed at once, and their replies in chunks."""


def evened(passes: Sequence[Pass], listener: Listener, processes: Processes) -> list[Pass]:
    """The passes of this process, filled up to as many prefills and chunks as any process has: with two tokens that
    weigh nothing. Layers that are dealt out are put together by all processes at once."""
    end = listener.end_id
    prompt = Prompt(Sample("idle", (Turn("user", ("",)),), ()), "", (end, end), ())
    rollout = Rollout(prompt.ids, (end,), None, "", "length", "idle", Parsed(None, "no_answer"))
    idle = [_Reply(Lesson(prompt, rollout, 0.0), 0, 0.0)]
    plans = processes.gather([len(chunks) for _, chunks in passes])
    needed = [max(counts) for counts in zip_longest(*plans, fillvalue=0)]
    filled: list[Pass] = [*passes, *[([prompt], []) for _ in needed[len(passes) :]]]
    return [
        (prompts, [*chunks, *[idle] * (count - len(chunks))])
        for (prompts, chunks), count in zip(filled, needed, strict=True)
    ]


def _chunk_loss(
    listener: Listener,
    prefix: Prefix,
    reference: Reference | None,
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
    base = None
    if reference is not None and shadow is not None:
        with reference.in_place():
            base, _ = reply_logps(listener, shadow, index, ids, mask, objective.temperature)
    known = [reply.lesson.old for reply in chunk]
    learner = logps.detach()  # the weights are still those from before the update, unless the lessons know better
    if all(row is not None for row in known):
        learner = _padded([row for row in known if row is not None], mask, torch.float32)
    rollout = _padded([_told(reply.lesson.rollout) for reply in chunk], mask, torch.float32)
    corrected = objective.old == "learner"
    tokens = Tokens(
        logps=logps,
        old=learner if corrected else torch.where(rollout.isnan(), learner, rollout),
        reference=base,
        advantage=torch.tensor([[reply.lesson.advantage] for reply in chunk], device=device),
        weight=torch.tensor([[reply.weight] for reply in chunk], device=device) * mask,
        importance=objectives.importance(learner, rollout, objective.cap) if corrected else None,
    )
    loss = objectives.loss(tokens, objective)
    tally.loss += loss.item()
    for reply, length, row in zip(chunk, lengths.tolist(), learner.tolist(), strict=True):
        tally.old[id(reply.lesson)] = tuple(row[:length])
    _see(tally, tokens, objective, mask.bool(), entropy=entropy, learner=learner, rollout=rollout)
    return loss


def _see(tally: Tally, tokens: Tokens, objective: Objective, counted: Tensor, **known: Tensor) -> None:
    """Tells the tally what the figures of this objective are made of, for the tokens that are `counted` [R, T]."""
    with torch.no_grad():
        if tokens.reference is not None:
            known["kl"] = objectives.k3(tokens.logps, tokens.reference)
        if objective.name != "imitate":
            known["clip/low"], known["clip/high"] = objectives.beyond(tokens, objective)
        if tokens.importance is not None:
            known["importance/mean"] = tokens.importance
            known["importance/truncated"] = (known["learner"] - known["rollout"]).exp() > objective.cap
    tally.see(**{name: values[counted] for name, values in known.items()})


def _told(rollout: Rollout) -> tuple[float, ...]:
    """What the engine told of each reply token's log-probability; NaN where it told nothing."""
    return (math.nan,) * len(rollout.reply_ids) if rollout.logps is None else rollout.logps


def _padded(rows: Sequence[Sequence[float]], mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows of unequal length as [R, T], 0 behind their ends."""
    width = mask.shape[1]
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=dtype, device=mask.device)


def _tensors(prefix: Prefix) -> list[Tensor]:
    return [tensor for layer in attention_layers(prefix.cache) for tensor in (layer.keys, layer.values)]


class Learner:
    """A listener with its optimiser."""

    def __init__(
        self,
        listener: Listener,
        options: Train,
        peak: float,
        steps: int,
        final: float = 0.1,
        processes: Processes = ALONE,
    ) -> None:
        """The learning rate warms up to `peak`, then falls along a cosine to `final` of it in `steps` steps. Each of
        `processes` has a learner, and all get the same lessons."""
        self.listener = listener
        self.options = options
        self.processes = processes
        self.peak = peak
        self.final = final
        self.steps = steps
        self.done = 0
        """Optimiser steps taken."""
        self.parameters = {name: p for name, p in listener.model.named_parameters() if p.requires_grad}
        self.optimizer = adamw(list(self.parameters.values()), options, peak)

    def rate(self, step: int) -> float:
        """Learning rate of optimiser step `step`: linear warm-up, then a cosine."""
        return learning_rate(step, self.steps, self.options.warmup, self.peak, self.final)

    def learn(
        self, lessons: Sequence[Lesson], objective: Objective, reference: Reference | None = None
    ) -> dict[str, float]:
        """`objective.passes` optimiser steps on a batch. Figures are the first step's; those of clipping, which begins
        with the second, are means over all. Raises RunError where a gradient is not finite."""
        tally, figures = self._update(lessons, objective, reference)
        found = [figures]
        if objective.passes > 1:
            lessons = tally.remembered(lessons)
        for _ in range(objective.passes - 1):
            found.append(self._update(lessons, objective, reference)[1])
        return {k: fmean(f[k] for f in found) if k.startswith("clip/") else v for k, v in figures.items()}

    def _update(
        self, lessons: Sequence[Lesson], objective: Objective, reference: Reference | None
    ) -> tuple[Tally, dict[str, float]]:
        """One optimiser step on a batch."""
        # A policy ratio must start at 1, so dropout is for imitation only.
        self.listener.model.train(objective.name == "imitate")
        self.optimizer.zero_grad(set_to_none=True)
        tally = backward(self.listener, lessons, objective, self.options, reference, self.processes)
        self.processes.sum_gradients(self.parameters.values())
        norm = clip_norm_(list(self.parameters.values()), self.options.clip_norm)
        if not norm.isfinite():  # one such step would leave no weight a number, and a checkpoint of that the only one
            raise RunError(
                f"optimiser step {self.done}: the gradient's norm is {norm.item()}, so no step was taken, and the "
                "newest checkpoint is of before; begin again at a lower learning rate, or train.precision float32"
            )
        rate = self.rate(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.done += 1
        return tally, {**tally.figures(objective), "grad_norm": norm.item(), "lr": rate}
