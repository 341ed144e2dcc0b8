"""An engine answers held-out samples: rows, the metric's figures with intervals, and the baselines beside them.

What a reply is measured by is the recipe's `evaluate.metric`, a file in `metrics/`; here it is only asked for. The
baselines are the same questions with other media: those of another sample, and silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from auscult.core.seeds import derive
from auscult.core.types import Rollout, Sample
from auscult.data.source import Samples
from auscult.evaluate.baselines import shuffled, silenced
from auscult.evaluate.metric import Evaluated, metric
from auscult.evaluate.options import Evaluate
from auscult.models.listener import RENDERED, Listener
from auscult.rollouts.engine import Engine

Tell = Callable[[str, int, int], None]
"""Told what is evaluated, how many rows are done, and of how many."""
Change = Callable[[Sample], Sample]
"""Gives a sample other media; applied when it is asked, for silence for all of them would fill the memory."""


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
) -> Evaluated:
    """Answers all samples, and once more each without its own media unless `unheard` is false. Baselines that need no
    model may look at the samples of training (`train`)."""

    def ask(what: str, change: Change) -> tuple[Any, ...]:
        return answer(engine, listener, samples, options, seed, lambda done: tell(what, done, len(samples)), change)

    before = Counter(listener.counts)
    rows = ask("held-out", lambda sample: sample)
    media = {name: listener.counts[name] - before[name] for name in RENDERED}
    donors = {sample.id: sample for sample in shuffled(samples, seed)}
    without: dict[str, Change] = {"shuffled": lambda sample: donors[sample.id], "silence": silenced} if unheard else {}
    return metric(options.metric).evaluated(
        rows,
        {name: ask(name, change) for name, change in without.items()},
        samples,
        {"clips": sum(len(sample.media) for sample in samples), **media},
        train,
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


def listed(samples: Samples, limit: int | None) -> list[Sample]:
    """The held-out samples, or `limit` of them, evenly spaced: files list one class after another."""
    if samples.size is None:
        raise ValueError("held-out samples must be finite")
    count = samples.size if limit is None else min(limit, samples.size)
    return [samples[place * samples.size // count] for place in range(count)]
