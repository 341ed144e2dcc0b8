"""An engine answers held-out samples: rows, the metric's figures with intervals, and the baselines beside them.

What a reply is measured by is the recipe's `evaluate.metric`, a file in `metrics/`; here it is only asked for. The
baselines are the same questions with other media, or without (`baselines.unheard`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import torch

from auscult.core.errors import RenderError
from auscult.core.seeds import derive
from auscult.core.types import Outcome, Rollout, Sample
from auscult.data.source import Samples
from auscult.evaluate import baselines
from auscult.evaluate.baselines import Change
from auscult.evaluate.calibration import Sureness, share
from auscult.evaluate.metric import Evaluated, metric
from auscult.evaluate.options import Evaluate
from auscult.evaluate.results import Evaluation
from auscult.models.listener import RENDERED, Listener, Prompt
from auscult.rollouts.engine import Engine

Tell = Callable[[str, int, int], None]
"""Told what is evaluated, how many rows are done, and of how many."""


def evaluate(
    engine: Engine,
    listener: Listener,
    samples: Sequence[Sample],
    options: Evaluate,
    *,
    seed: int,
    unheard: bool = True,
    train: Iterable[Sample] = (),
    tell: Tell = lambda what, done, total: None,
    precision: str = "auto",
) -> Evaluated:
    """Answers all samples, and once more each without its own media unless `unheard` is false. Baselines that need no
    model may look at the samples of training (`train`); `precision` is that of the pass for the calibration."""

    def ask(what: str, change: Change) -> tuple[Any, ...]:
        return answer(engine, listener, samples, options, seed, lambda done: tell(what, done, len(samples)), change)

    before = Counter(listener.counts)
    rows = ask("held-out", lambda sample: sample)
    media = {name: listener.counts[name] - before[name] for name in RENDERED}
    without = baselines.unheard(samples, seed) if unheard else {}
    found = metric(options.metric).evaluated(
        rows,
        {name: ask(name, change) for name, change in without.items()},
        samples,
        {"clips": sum(len(sample.media) for sample in samples), **media},
        train,
    )
    if not options.calibration or not isinstance(found, Evaluation):
        return found
    sure: list[Sureness] = []
    size = max(1, options.batch // max(len(sample.choices) or 1 for sample in samples))  # so many replies at once
    for start in range(0, len(samples), size):
        part = slice(start, start + size)
        with listener.arithmetic(precision):
            sure += sureness(listener, samples[part], found.outcomes[part])
        tell("calibration", len(sure), len(samples))
    rows = zip(found.outcomes, sure, strict=True)
    return replace(
        found, sure=tuple(sure), outcomes=tuple(replace(row, confidence=one.confidence) for row, one in rows)
    )


def answer(
    engine: Engine,
    listener: Listener,
    samples: Sequence[Sample],
    options: Evaluate,
    seed: int,
    tell: Callable[[int], None] = lambda done: None,
    change: Change = lambda sample: sample,
) -> tuple[Any, ...]:
    """The metric's row for each sample, in order; `change` gives one other media when it is asked."""
    measured = metric(options.metric)
    measured.check(samples)
    replies: list[Rollout] = []
    for start in range(0, len(samples), options.batch):
        part = samples[start : start + options.batch]
        prompts = listener.prompts([change(sample) for sample in part])
        rolled = engine.roll(prompts, 1, options.sampling, derive(seed, "evaluate", start))
        replies += [rollout for (rollout,) in rolled]
        tell(len(replies))
    return measured.judge(samples, replies)


@torch.no_grad()
def sureness(listener: Listener, samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> list[Sureness]:
    """How sure the listener is of the answer in each outcome, among the options of its sample: every option is written
    where the answer stands, behind the outcome's own reasoning, and all of them run against one prefix."""
    model = listener.model
    training = model.training
    model.eval()
    endings = [_endings(listener, *pair) for pair in zip(samples, outcomes, strict=True)]
    asked = {place: ending for place, ending in enumerate(endings) if not isinstance(ending, str)}
    found = {place: Sureness(None, outcomes[place].correct, str(endings[place])) for place in range(len(samples))}
    if asked:
        logps = iter(_logps(listener, listener.prompts([samples[place] for place in asked]), [*asked.values()]))
        for place in asked:
            chosen = samples[place].choices.index(outcomes[place].parsed.answer or "")
            found[place] = Sureness(share(next(logps), chosen), outcomes[place].correct)
    model.train(training)
    return [found[place] for place in range(len(samples))]


def _endings(listener: Listener, sample: Sample, outcome: Outcome) -> list[tuple[int, ...]] | str:
    """The reply with each option in the place of its answer, as ids; or why there are none."""
    if not sample.choices:
        return "no_choices"
    if outcome.parsed.answer is None:
        return outcome.parsed.problem or "no_answer"
    try:
        texts = [listener.form.render(one, outcome.parsed.thought, choices=sample.choices) for one in sample.choices]
        return [listener.target(sample, text) for text in texts]
    except RenderError:
        return "not_rendered"


def _logps(
    listener: Listener, prompts: Sequence[Prompt], endings: Sequence[Sequence[tuple[int, ...]]]
) -> Iterator[list[float]]:
    """Log-probabilities of the endings of each prompt, from where they begin to differ."""
    where, device = [place for place, some in enumerate(endings) for _ in some], listener.device
    flat = [ids for some in endings for ids in some]
    longest = max(map(len, flat))
    words = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in flat], device=device)
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in flat], device=device)
    prefix = listener.prefill(prompts, "calibration")
    hidden = listener.reply(prefix, torch.tensor(where, device=device), words, mask)
    begin = 0
    for some in endings:  # the head sees one question at a time, and nothing that its options share
        rows, begin = slice(begin, begin + len(some)), begin + len(some)
        shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*some, strict=False)))
        told = listener.logits(hidden[rows, shared:]).log_softmax(-1).gather(2, words[rows, shared:, None])[..., 0]
        yield (told * mask[rows, shared:]).sum(1).tolist()


def listed(samples: Samples, limit: int | None) -> list[Sample]:
    """The held-out samples, or `limit` of them, evenly spaced: files list one class after another."""
    if samples.size is None:
        raise ValueError("held-out samples must be finite")
    count = samples.size if limit is None else min(limit, samples.size)
    return [samples[place * samples.size // count] for place in range(count)]
