"""The one loop: collect groups, assign credit, learn from the credit, write everything down.

Step n takes its samples, its learning rate and the seed of every generator from its number alone, so a stage that was
killed goes on from its newest checkpoint to the same weights, bit for bit on a CPU. The order of writing makes that so:

    rollouts/step-n.jsonl   before anything is learnt from them; a killed step finds them there
    metrics.jsonl           one row when the step is done
    checkpoints/step-n+1    last; rows of later steps are cut off when a run resumes from it
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from auscult.core.errors import DataError, RunError
from auscult.core.runs import Run, truncate_jsonl
from auscult.core.seeds import derive
from auscult.core.types import Credit, Group, Rollout
from auscult.data.source import Samples, order
from auscult.models.fingerprint import fingerprint
from auscult.models.listener import Listener, Prompt
from auscult.rewards.rubric import Rubric, statistics
from auscult.rollouts.engine import Engine
from auscult.rollouts.store import read_groups, write_groups
from auscult.train import checkpoint
from auscult.train.algorithm import Algorithm, Request
from auscult.train.learner import Learner, Lesson
from auscult.train.options import Train

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
    """What samples rollouts from a listener."""
    samples: Samples
    """What is trained on."""
    seed: int
    """Of the order of samples and of sampling."""


def train(stage: Stage, watch: Watch) -> Listener:
    """Runs the stage to its end, from its newest checkpoint when there is one; the trained listener."""
    folder = stage.run.path / "checkpoints"
    point = checkpoint.newest(folder)
    listener = stage.load(stage.start if point is None else point[1] / "model")
    reference = _reference(stage)
    algorithm = stage.algorithm
    peak = stage.options.learning_rate if algorithm.learning_rate is None else algorithm.learning_rate
    steps = algorithm.steps * algorithm.objective.passes
    learner = Learner(listener, stage.options, peak, steps, algorithm.final_rate)
    engine = stage.engine(listener)
    first = 0
    if point is not None:
        first = point[0]
        checkpoint.restore(point[1], learner)
    truncate_jsonl(stage.run.path / "metrics.jsonl", keep=lambda row: row["step"] < first)
    for step in range(first, algorithm.steps):
        began = time.perf_counter()
        figures = _step(stage, step, learner, engine, reference)
        figures["seconds"] = time.perf_counter() - began
        row = stage.run.log(step, figures)
        if (step + 1) % stage.options.save_every == 0 or step + 1 == algorithm.steps:
            checkpoint.save(folder, step + 1, learner)
        watch(step, row)
    return listener


def _step(stage: Stage, step: int, learner: Learner, engine: Engine, reference: Listener | None) -> dict[str, float]:
    algorithm = stage.algorithm
    seed_globals(derive(stage.seed, "collect", step))
    samples = order(stage.samples, step * algorithm.prompts, algorithm.prompts, derive(stage.seed, "order"))
    prompts = [learner.listener.prompt(sample) for sample in samples]
    if algorithm.request:
        groups = _rollouts(stage, step, learner.listener, prompts, engine, algorithm.request)
        figures = {**statistics(groups), **_lengths(groups)}
    else:
        groups = [demonstrate(learner.listener, prompt) for prompt in prompts]
        figures = {"reply_tokens": float(sum(len(group.rollouts[0].reply_ids) for group in groups))}
    lessons = teach(prompts, groups, algorithm.credits)
    if not lessons:
        raise RunError(
            f"step {step}: no rollout could be scored, so there is nothing to learn; look at the rewards of the run"
        )
    # Collecting may have been skipped, with all that it draws and counts.
    seed_globals(derive(stage.seed, "learn", step))
    heard = Counter(learner.listener.counts)
    for number in range(algorithm.objective.passes):
        found = learner.step(lessons, algorithm.objective, reference)
        if number == 0:
            _agree(found, step, stage.options)
            figures |= found
    media = learner.listener.counts - heard
    return figures | {f"media/{name}": count for name, count in media.items()}


def seed_globals(seed: int) -> None:
    """Seeds the generators that nobody hands around: dropout draws from torch's, a user's reward may draw from any."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the legacy global generator is the one that rewards may use
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]


def _rollouts(
    stage: Stage, step: int, listener: Listener, prompts: Sequence[Prompt], engine: Engine, request: Request
) -> list[Group]:
    path = stage.run.path / "rollouts" / f"step-{step:06d}.jsonl"
    found = read_groups(path, [prompt.sample for prompt in prompts], fingerprint(listener.model))
    if found is not None:
        return found
    rubric = Rubric.from_config(request.rewards)
    rolled = engine.roll(prompts, request.group, request.sampling, derive(stage.seed, "rollouts", step))
    groups = [
        Group(prompt.sample, rollouts, rubric.score(prompt.sample, rollouts))
        for prompt, rollouts in zip(prompts, rolled, strict=True)
    ]
    write_groups(path, groups)
    return groups


def demonstrate(listener: Listener, prompt: Prompt) -> Group:
    """The demonstration of a sample as a group of one: its answer and thought in the run's form."""
    sample = prompt.sample
    if not sample.answers:
        raise DataError(f"sample {sample.id} has no answer to demonstrate; give it one, or train on rewards")
    text = listener.form.render(sample.answers[0], sample.thought, choices=sample.choices)
    rollout = Rollout(
        prompt_ids=prompt.ids,
        reply_ids=listener.target(sample, text),
        logps=None,
        text=text,
        stop="demonstration",
        policy="demonstration",
        parsed=listener.form.parse(text, sample.choices),
    )
    return Group(sample, (rollout,), ())


def teach(prompts: Sequence[Prompt], groups: Sequence[Group], credits: Callable[[Group], list[Credit]]) -> list[Lesson]:
    """Credits with the prompts they belong to. Refuses a group that does not answer its prompt."""
    lessons: list[Lesson] = []
    for prompt, group in zip(prompts, groups, strict=True):
        for credit in credits(group):
            if credit.sample.id != prompt.sample.id or credit.rollout.prompt_ids != prompt.ids:
                raise RunError(f"a rollout of sample {credit.sample.id} was credited to sample {prompt.sample.id}")
            lessons.append(Lesson(prompt, credit.rollout, credit.advantage))
    return lessons


def _reference(stage: Stage) -> Listener | None:
    """A frozen copy of the policy that the stage began with, when its divergence counts."""
    if not stage.algorithm.objective.kl:
        return None
    reference = stage.load(stage.start)
    reference.model.eval().requires_grad_(False)
    return reference


def _lengths(groups: Sequence[Group]) -> dict[str, float]:
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
