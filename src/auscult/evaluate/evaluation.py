"""An engine answers held-out samples: outcomes, accuracies with intervals, and the baselines beside them.

Every row counts: a reply without a readable answer is wrong, and why it has none is counted. The answer is read by
the run's form, the same object that wrote the demonstrations and that the rewards read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from auscult.core.errors import DataError
from auscult.core.seeds import derive
from auscult.core.types import Outcome, Rollout, Sample
from auscult.data.source import Samples
from auscult.evaluate.baselines import guesses, shuffled, silenced
from auscult.evaluate.options import Evaluate
from auscult.evaluate.results import Evaluation
from auscult.models.listener import RENDERED, Listener
from auscult.rewards.choice import choice
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
    tell: Tell = lambda what, done, total: None,
) -> Evaluation:
    """Answers all samples, and once more each without its own media unless `unheard` is false."""

    def ask(what: str, change: Change) -> tuple[Outcome, ...]:
        return answer(engine, listener, samples, options, seed, lambda done: tell(what, done, len(samples)), change)

    before = Counter(listener.counts)
    outcomes = ask("held-out", lambda sample: sample)
    media = {name: listener.counts[name] - before[name] for name in RENDERED}
    donors = {sample.id: sample for sample in shuffled(samples, seed)}
    without: dict[str, Change] = {"shuffled": lambda sample: donors[sample.id], "silence": silenced} if unheard else {}
    return Evaluation(
        outcomes,
        {name: ask(name, change) for name, change in without.items()},
        guesses(samples),
        {"clips": sum(len(sample.media) for sample in samples), **media},
    )


def answer(
    engine: Engine,
    listener: Listener,
    samples: Sequence[Sample],
    options: Evaluate,
    seed: int,
    tell: Callable[[int], None] = lambda done: None,
    change: Change = lambda sample: sample,
) -> tuple[Outcome, ...]:
    """One outcome for each sample, in order; `change` gives one other media when it is asked."""
    outcomes: list[Outcome] = []
    for start in range(0, len(samples), options.batch):
        part = samples[start : start + options.batch]
        prompts = [listener.prompt(change(sample)) for sample in part]
        rolled = engine.roll(prompts, 1, options.sampling, derive(seed, "evaluate", start))
        outcomes += [outcome(sample, rollouts[0]) for sample, rollouts in zip(part, rolled, strict=True)]
        tell(len(outcomes))
    return tuple(outcomes)


def outcome(sample: Sample, rollout: Rollout) -> Outcome:
    """The rollout judged by the grader that also rewards. Raises DataError where there is no gold answer."""
    grade = choice(sample, rollout)
    if grade is None:
        raise DataError(f"sample {sample.id} has no answer among its options and cannot be graded; mend or remove it")
    return Outcome(
        id=sample.id,
        input=sample.question,
        target=sample.answers[0],
        reply=rollout.text,
        parsed=rollout.parsed,
        correct=grade == 1.0,
        group=sample.group or sample.id,
        tags=sample.tags,
    )


def listed(samples: Samples, limit: int | None) -> list[Sample]:
    """The held-out samples, or `limit` of them, evenly spaced: files list one class after another."""
    if samples.size is None:
        raise ValueError("held-out samples must be finite")
    count = samples.size if limit is None else min(limit, samples.size)
    return [samples[place * samples.size // count] for place in range(count)]
