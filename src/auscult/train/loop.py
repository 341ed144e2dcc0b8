"""The one loop: collect groups, assign credit, learn from the credit, write everything down.

Step n takes the seed of every generator from its number, and its samples and learning rate from the position that the
checkpoint before it holds, so a stage that was killed goes on from its newest checkpoint to the same weights, bit for
bit on a CPU. The order of writing makes that so:

    rollouts/step-n.jsonl           before anything is learnt from them; a killed step finds them there
    rollouts/step-n-draw-m.jsonl    the m-th draw that replaced groups which taught nothing, likewise
    metrics.jsonl                   one row when the step is done
    checkpoints/step-n+1            last; rows of later steps are cut off when a run resumes from it

Several processes (`processes.py`) walk through it together: each draws the same samples and sees the same groups, and
process 0 writes.

Groups that are replaced (`Request.max_batches`) stay in these files and in the figures of the rewards: what a reader
sees of rewards and lengths is everything that was sampled.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from auscult.core.errors import DataError, RunError
from auscult.core.runs import Run, atomic_folder, truncate_jsonl
from auscult.core.seeds import derive
from auscult.core.types import Credit, Group, Rollout, Sample, Score
from auscult.data.source import Samples, order
from auscult.models.fingerprint import fingerprint
from auscult.models.listener import RENDERED, Listener, Prompt
from auscult.rewards.rubric import Rubric, statistics
from auscult.rollouts.engine import Engine
from auscult.rollouts.store import read_groups, write_groups
from auscult.train import checkpoint
from auscult.train.algorithm import Algorithm, Request
from auscult.train.checkpoint import Position
from auscult.train.learner import Learner, Lesson, Reference
from auscult.train.options import Train
from auscult.train.processes import ALONE, Processes, Together
from auscult.train.sharding import shard, whole, whole_state

BEST = "best"
"""Folder of the weights of the best check, beside the checkpoints."""
Watch = Callable[[int, Mapping[str, object]], None]
"""Told the step and its figures after each step."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything a stage is made of."""

    run: Run
    """Its folder."""
    algorithm: Algorithm
    """What turns groups into credits."""
    options: Train
    """What all stages share."""
    start: Path
    """Checkpoint that the stage begins with."""
    load: Callable[[Path], Listener]
    """Opens a checkpoint."""
    engine: Callable[[Listener], Engine]
    """What samples rollouts from a listener; one on each process."""
    samples: Samples
    """What is trained on."""
    seed: int
    """Of the order of samples and of sampling."""
    check: Callable[[Listener], float] | None = None
    """How well a listener does on held-out samples (more is better), where the options ask for checks; every process
    asks for it."""
    figure: str = "accuracy"
    """What a check measures, as the metrics call it."""
    processes: Processes = ALONE
    """Who runs the stage."""
    demonstrations: Callable[[Sample], Group] | None = None
    """What an algorithm that samples nothing learns from; None is the sample's own answers."""


def train(stage: Stage, watch: Watch) -> Listener:
    """Runs the stage to its end, from its newest checkpoint when there is one; the listener that the options keep."""
    folder = stage.run.path / "checkpoints"
    options = stage.options
    processes = stage.processes
    point = processes.first(lambda: checkpoint.newest(folder))
    listener = stage.load(stage.start if point is None else point[1] / "model")
    if processes.shard:
        shard(listener, processes.count)
    reference = _reference(stage, listener)
    algorithm = stage.algorithm
    peak = stage.options.learning_rate if algorithm.learning_rate is None else algorithm.learning_rate
    steps = algorithm.steps * algorithm.objective.passes
    learner = Learner(listener, stage.options, peak, steps, algorithm.final_rate, processes)
    engine = Together(stage.engine(listener), processes)
    at = Position() if point is None else checkpoint.restore(point[1], learner)
    processes.first(lambda: checkpoint.prune(folder, options.keep_last))
    processes.first(lambda: truncate_jsonl(stage.run.path / "metrics.jsonl", keep=lambda row: row["step"] < at.step))
    while at.step < algorithm.steps and not (options.patience and at.misses >= options.patience):
        began = time.perf_counter()
        step = at.step
        figures, at = _step(stage, at, learner, engine, reference)
        last = at.step == algorithm.steps
        due = options.check_every and (last or at.step % options.check_every == 0)
        if due and stage.check:
            with whole(listener):
                found = figures[f"heldout/{stage.figure}"] = processes.gather(stage.check(listener))[0]
            at = _checked(stage, at, found, listener)
        figures["seconds"] = time.perf_counter() - began
        row = stage.run.log(step, figures)
        if last or due or at.step % options.save_every == 0:
            checkpoint.save(folder, at, learner, options.keep_last)
        watch(step, row)
    if options.keep == "best":
        listener = stage.load(folder / BEST)
    elif processes.shard:
        listener = stage.load(folder / f"step-{at.step}" / "model")
    processes.gather("loaded")  # before somebody clears the checkpoints away
    return listener


def _checked(stage: Stage, at: Position, score: float, listener: Listener) -> Position:
    """The position with what a check found; the weights of the best one are kept aside."""
    if at.best is not None and score <= at.best + stage.options.min_delta:
        return replace(at, misses=at.misses + 1)
    if stage.options.keep == "best":
        weights = whole_state(listener)
        stage.processes.first(partial(_set_aside, listener, weights, stage.run.path / "checkpoints" / BEST))
    return replace(at, best=score, misses=0)


def _set_aside(listener: Listener, weights: Mapping[str, torch.Tensor] | None, path: Path) -> None:
    with atomic_folder(path) as aside:
        listener.save(aside, weights)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step has collected."""

    lessons: list[Lesson]
    """What there is to learn."""
    taken: int
    """Samples it took from the stream."""
    figures: dict[str, float]
    """What there is to say of it."""


def _step(
    stage: Stage, at: Position, learner: Learner, engine: Engine, reference: Reference | None
) -> tuple[dict[str, float], Position]:
    algorithm, step, counts = stage.algorithm, at.step, learner.listener.counts
    heard = Counter(counts)
    if algorithm.request:
        batch = _rolled(stage, at, learner.listener, engine, algorithm.request)
    else:
        batch = _demonstrated(stage, at, learner.listener)
    # Rollouts may be there already, with all that they draw and count; prompts are rendered by every process anew.
    media = Counter({name: counts[name] - heard[name] for name in RENDERED if counts[name] > heard[name]})
    taught = any(lesson.advantage for lesson in batch.lessons)
    after = replace(at, step=step + 1, taken=at.taken + batch.taken, empty=0 if taught else at.empty + 1)
    if after.empty >= stage.options.empty_steps:
        raise RunError(
            f"step {step}: in {after.empty} steps in a row (train.empty_steps) no reply was better than another one to "
            f"its prompt; the prompts are too easy or too hard, or the rewards do not tell replies apart: look at "
            f"{stage.run.path / 'rollouts'}"
        )
    figures = {**batch.figures, "samples": float(after.taken), "empty_steps": float(after.empty)}
    rank = stage.processes.rank
    seed_globals(derive(stage.seed, "learn", step, *([rank] if rank else [])))  # each drops out for itself
    heard = Counter(counts)
    if batch.lessons:
        figures |= learner.learn(batch.lessons, algorithm.objective, reference)
        _agree(figures, step, stage.options)
    media = sum(stage.processes.gather(counts - heard), media)
    return figures | {f"media/{name}": count for name, count in media.items()}, after


def seed_globals(seed: int) -> None:
    """Seeds the generators that nobody hands around: dropout draws from torch's, a user's reward may draw from any."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the legacy global generator is the one that rewards may use
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]


def _demonstrated(stage: Stage, at: Position, listener: Listener) -> Batch:
    prompts = stream(stage, listener, (at.step,), at.taken, stage.algorithm.prompts)
    if stage.demonstrations is None:
        groups = [demonstrate(listener, prompt, stage.algorithm.targets(prompt.sample)) for prompt in prompts]
    else:
        groups = [stage.demonstrations(prompt.sample) for prompt in prompts]
    lengths = [len(rollout.reply_ids) for group in groups for rollout in group.rollouts]
    lessons = teach(prompts, groups, stage.algorithm.credits)
    return Batch(lessons, len(prompts), {"reply_tokens": float(sum(lengths))})


def _rolled(stage: Stage, at: Position, listener: Listener, engine: Engine, request: Request) -> Batch:
    """Scored rollouts as lessons, drawn until `prompts` groups teach something where the request says so. A draw takes
    as many prompts as are missing, so nothing that teaches is thrown away."""
    credits, missing = stage.algorithm.credits, stage.algorithm.prompts
    drawn: list[Group] = []
    lessons: list[Lesson] = []
    draws = kept_rollouts = 0
    while missing and draws < max(1, request.max_batches):
        address = (at.step, draws) if draws else (at.step,)
        prompts = stream(stage, listener, address, at.taken + len(drawn), missing)
        groups = draw(stage, listener, address, prompts, engine, request)
        pairs = [
            (prompt, group)
            for prompt, group in zip(prompts, groups, strict=True)
            if not request.max_batches or any(credit.advantage for credit in credits(group))
        ]
        lessons += teach([prompt for prompt, _ in pairs], [group for _, group in pairs], credits)
        kept_rollouts += sum(len(group.rollouts) for _, group in pairs)
        missing -= len(pairs)
        draws += 1
        drawn += groups
    if all(score.total is None for group in drawn for score in group.scores):
        raise RunError(
            f"step {at.step}: no rollout could be scored, so there is nothing to learn; look at the rewards of the run"
        )
    figures = {**statistics(drawn), **lengths_of(drawn), "uncredited": float(kept_rollouts - len(lessons))}
    if request.max_batches:
        dropped = len(drawn) - stage.algorithm.prompts + missing
        figures |= {"draws": float(draws), "dropped_groups": float(dropped), "missing_groups": float(missing)}
    return Batch(lessons, len(drawn), figures)


def stream(stage: Stage, listener: Listener, address: tuple[int, ...], start: int, count: int) -> list[Prompt]:
    """`count` samples of the stream from number `start`, rendered. Seeds the generators for the draw at `address`."""
    seed_globals(derive(stage.seed, "collect", *address))
    return listener.prompts(order(stage.samples, start, count, derive(stage.seed, "order")))


def draw(
    stage: Stage,
    listener: Listener,
    address: tuple[int, ...],
    prompts: Sequence[Prompt],
    engine: Engine,
    request: Request,
) -> list[Group]:
    """The draw at `address`, which is (step) or (step, number of the draw), scored; from the disk when it is there."""
    name = "-draw-".join([f"{address[0]:06d}", *map(str, address[1:])])
    path = stage.run.path / "rollouts" / f"step-{name}.jsonl"
    samples = [prompt.sample for prompt in prompts]
    with whole(listener):
        policy = fingerprint(listener.model)
        found = stage.processes.first(lambda: _told(read_groups(path, samples, policy) or []))
        if not found:
            rolled = engine.roll(prompts, request.group, request.sampling, derive(stage.seed, "rollouts", *address))
            found = stage.processes.first(lambda: _told(_scored(path, samples, rolled, request)))
    return [Group(sample, rollouts, scores) for sample, (rollouts, scores) in zip(samples, found, strict=True)]


def _scored(
    path: Path, samples: Sequence[Sample], rolled: Sequence[tuple[Rollout, ...]], request: Request
) -> list[Group]:
    rubric = Rubric.from_config(request.rewards)
    groups = [
        Group(sample, rollouts, rubric.score(sample, rollouts))
        for sample, rollouts in zip(samples, rolled, strict=True)
    ]
    write_groups(path, groups)
    return groups


def _told(groups: Sequence[Group]) -> list[tuple[tuple[Rollout, ...], tuple[Score, ...]]]:
    """What one process tells another of groups: all but their samples, which hold media and which all have."""
    return [(group.rollouts, group.scores) for group in groups]


def demonstrate(listener: Listener, prompt: Prompt, answers: Sequence[str] | None = None) -> Group:
    """The demonstration of a sample as a group: each of its `answers`, by default the first, with its thought, in the
    run's form. Raises DataError for a sample without an answer."""
    answers = prompt.sample.answers[:1] if answers is None else answers
    if not answers:
        raise DataError(f"sample {prompt.sample.id} has no answer to demonstrate; give it one, or train on rewards")
    return Group(prompt.sample, tuple(_demonstrated_by(answer, listener, prompt) for answer in answers), ())


def _demonstrated_by(answer: str, listener: Listener, prompt: Prompt) -> Rollout:
    sample = prompt.sample
    text = listener.form.render(answer, sample.thought, choices=sample.choices)
    return Rollout(
        prompt_ids=prompt.ids,
        reply_ids=listener.target(sample, text),
        logps=None,
        text=text,
        stop="demonstration",
        policy="demonstration",
        parsed=listener.form.parse(text, sample.choices),
    )


def teach(prompts: Sequence[Prompt], groups: Sequence[Group], credits: Callable[[Group], list[Credit]]) -> list[Lesson]:
    """Credits with the prompts they belong to. Refuses a group that does not answer its prompt."""
    lessons: list[Lesson] = []
    for prompt, group in zip(prompts, groups, strict=True):
        for credit in credits(group):
            if credit.sample.id != prompt.sample.id or credit.rollout.prompt_ids != prompt.ids:
                raise RunError(f"a rollout of sample {credit.sample.id} was credited to sample {prompt.sample.id}")
            lessons.append(Lesson(prompt, credit.rollout, credit.advantage))
    return lessons


def _reference(stage: Stage, listener: Listener) -> Reference | None:
    """The policy that the stage began with, when its divergence counts."""
    if not stage.algorithm.objective.kl:
        return None
    return Reference.of(listener, stage.load(stage.start))


def lengths_of(groups: Sequence[Group]) -> dict[str, float]:
    """How long sampled replies are, how many were cut off, and how many their form cannot read."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    lengths = [len(rollout.reply_ids) for rollout in rollouts]
    return {
        "reply_tokens": float(sum(lengths)),
        "length/mean": sum(lengths) / len(lengths),
        "length/cut_share": sum(rollout.stop == "length" for rollout in rollouts) / len(rollouts),
        "unparsed_share": sum(rollout.parsed.answer is None for rollout in rollouts) / len(rollouts),
    }


def _agree(figures: Mapping[str, float], step: int, options: Train) -> None:
    """Before the first update the learner must see what the rollouts saw: media, masks and positions included."""
    apart = figures.get("agreement/abs_diff", 0.0)
    if not apart <= options.agreement:
        raise RunError(
            f"step {step}: learner and rollouts disagree by {apart:.3g} in mean |log-prob| (limit train.agreement = "
            f"{options.agreement}); they do not see the same prompt, or precision differs too much between them"
        )
