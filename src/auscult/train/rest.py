"""Iterations of reinforced self-training: sample a data set, filter it, imitate what is left, keep the result or not.

Iteration n begins with the policy that the one before it left, and is a run folder of its own in the stage's:

    heldout/POLICY.jsonl                what the policy of that fingerprint answered to the held-out samples
    iteration-n/rollouts/step-*.jsonl   `sample_batch` prompts each with their scored replies, written as they are done
    iteration-n/metrics.jsonl           the training on what was kept: the one loop, whose demonstrations are replies
    iteration-n/model/                  what came of it; removed when it is rolled back
    iteration-n/manifest.json           who sampled, how much was right, kept and learnt, the comparison, the decision
    iteration-n/done

All replies of an iteration are its first policy's, so any batch of them can be sampled again, and training has an
optimiser and checkpoints of its own: killed in either phase, the same command ends with the same bytes on a CPU.
Several processes share the rollouts, the training and the held-out samples of an iteration; process 0 writes.

The decision looks at the held-out samples. So the accuracy that is kept is a little flattered, and a model that is
rolled back is gone: the next iteration, if there is one, starts from the weights of before, bit for bit.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from auscult.core.errors import RunError
from auscult.core.runs import Run, atomic_folder, truncate_jsonl, write_json
from auscult.core.seeds import derive
from auscult.core.types import Credit, Group
from auscult.data.source import Listed
from auscult.models.fingerprint import fingerprint
from auscult.models.listener import Listener
from auscult.rewards.rubric import statistics
from auscult.train import loop
from auscult.train.algorithms.rest import BANDS, JUDGED, KINDS, Algorithm, Improvement, band
from auscult.train.processes import Together

KEPT, ROLLED_BACK, NOTHING_KEPT = "kept", "rolled back", "nothing to learn"
"""How an iteration ends."""


@dataclass(frozen=True, kw_only=True)
class Heldout:
    """How two policies are compared."""

    answer: Callable[[Listener, Path], Sequence[Any]]
    """What a listener answers to the held-out samples: written to a file, or read from it when it is there. All
    processes ask together."""
    compare: Callable[[Sequence[Any], Sequence[Any]], Mapping[str, Any]]
    """Figures of two policies, among them `before` and `after`, each with its `figure`, and their `difference`."""
    figure: str = "accuracy"
    """What they are compared by."""


@dataclass(frozen=True, kw_only=True)
class SelfTraining:
    """Everything a stage of iterations is made of."""

    stage: loop.Stage
    """Its folder, its first policy and its samples."""
    algorithm: Algorithm
    """Its options; those of the stage that speak of checks within a training are passed over."""
    heldout: Heldout
    """What decides."""
    command: str
    """What the user typed."""
    tell: Callable[[str, int, int, Mapping[str, Any]], None]
    """Told what is being done, how far it is, of how much, and the latest figures."""


@dataclass(frozen=True, slots=True)
class Grown:
    """What a policy said."""

    policy: str
    """Its fingerprint."""
    groups: list[Group]
    """One for each sample."""
    failed: int
    """Replies that were asked for and never came."""
    outcomes: Sequence[Any]
    """What it answers to the held-out samples."""


def train(work: SelfTraining) -> Path:
    """Runs the iterations that are left; folder of the model that stands in the end."""
    run, policy = work.stage.run, work.stage.start
    processes = work.stage.processes
    processes.first(lambda: truncate_jsonl(run.path / "metrics.jsonl", keep=lambda row: False))  # the manifests know it
    for number in range(1, work.algorithm.steps + 1):
        folder = run.path / f"iteration-{number}"
        found = _iteration(work, number, policy, folder)
        run.log(number, found["figures"])
        work.tell(f"{run.path.name}: iterations", number, work.algorithm.steps, found["figures"])
        if found["decision"] == KEPT:
            policy = folder / "model"
        elif found["decision"] == NOTHING_KEPT or work.algorithm.after_drop == "stop":
            break
    return policy


def _iteration(work: SelfTraining, number: int, start: Path, folder: Path) -> dict[str, Any]:
    """The manifest of an iteration, run to its end first when it has not been."""
    processes, path = work.stage.processes, folder / "manifest.json"
    with processes.open(folder, {"iteration": number, **work.stage.run.config}, work.command) as run:
        if not run.finished:
            lived = _lived(work, number, start, run)
            processes.first(lambda: write_json(path, lived))
            run.finish()
    manifest = processes.first(lambda: json.loads(path.read_text()))
    if manifest["decision"] == ROLLED_BACK and processes.rank == 0:
        shutil.rmtree(folder / "model", ignore_errors=True)
    return manifest


def _lived(work: SelfTraining, number: int, start: Path, run: Run) -> dict[str, Any]:
    algorithm, stage, processes = work.algorithm, work.stage, work.stage.processes
    grown = _grow(work, number, start, run)
    kept = {group.sample.id: credits for group in grown.groups if (credits := algorithm.credits(group))}
    manifest = _sampled(algorithm, grown, kept)
    peak = algorithm.peak(number, stage.options.learning_rate)
    manifest |= {"iteration": number, "learning_rate": peak, "trained": None, "heldout": None}
    if not kept:
        if number == 1:
            raise RunError(
                f"{run.path}: nothing to learn from {len(grown.groups)} prompts ({_said(manifest['prompts'])}; replies "
                f"{_said(manifest['replies'])}); begin with a model that is right now and then, or change the filter"
            )
        return {**manifest, "decision": NOTHING_KEPT, "figures": _figures(manifest, grown, work.heldout.figure)}
    model = run.path / "model"
    if not processes.first(model.exists):
        _improve(work, number, start, run, [group for group in grown.groups if group.sample.id in kept], kept, peak)
    if processes.rank == 0:  # what it holds is in model/, but for the optimiser
        shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
    listener = stage.load(model)
    manifest["trained"] = fingerprint(listener.model)
    if manifest["trained"] == grown.policy:
        raise RunError(
            f"{run.path}: training left the policy {grown.policy} as it was; raise the learning rate, or train more "
            "parts of the model"
        )
    manifest["heldout"] = work.heldout.compare(grown.outcomes, _answers(work, listener))
    fell = manifest["heldout"]["difference"] < -algorithm.max_drop
    return {
        **manifest,
        "decision": ROLLED_BACK if fell else KEPT,
        "figures": _figures(manifest, grown, work.heldout.figure),
    }


def _grow(work: SelfTraining, number: int, start: Path, run: Run) -> Grown:
    """Replies of the policy in `start` to the iteration's prompts, batch by batch; from the disk what is there."""
    algorithm, stage = work.algorithm, replace(work.stage, run=run)
    listener = stage.load(start)
    outcomes = _answers(work, listener)
    engine = Together(stage.engine(listener), stage.processes)
    count = min(algorithm.prompts, stage.samples.size or algorithm.prompts)
    batches = math.ceil(count / algorithm.sample_batch)
    groups: dict[str, Group] = {}
    for batch in range(batches):
        begin, address = batch * algorithm.sample_batch, ((number - 1) * batches + batch,)
        taken = min(algorithm.sample_batch, count - begin)
        prompts = loop.stream(stage, listener, address, (number - 1) * count + begin, taken)
        for group in loop.draw(stage, listener, address, prompts, engine, algorithm.request):
            groups[group.sample.id] = _joined(groups.get(group.sample.id), group)
        work.tell(f"{work.stage.run.path.name} {number}: sample", batch + 1, batches, {})
    found = list(groups.values())
    failed = count * algorithm.group - sum(len(group.rollouts) for group in found)
    if not any(kind in JUDGED for group in found for kind in algorithm.kinds(group)):
        raise RunError(
            f"{run.path}: none of the {count * algorithm.group} replies asked for could be judged ({failed} failed); "
            f"look at its rollouts and at the rewards"
        )
    return Grown(fingerprint(listener.model), found, failed, outcomes)


def _joined(earlier: Group | None, group: Group) -> Group:
    """A sample that is met twice, where an epoch ends within an iteration, has one group with all its replies."""
    if earlier is None:
        return group
    return Group(group.sample, earlier.rollouts + group.rollouts, earlier.scores + group.scores)


def _improve(
    work: SelfTraining,
    number: int,
    start: Path,
    run: Run,
    groups: Sequence[Group],
    kept: Mapping[str, Sequence[Credit]],
    peak: float,
) -> None:
    """Trains on the kept replies with the one loop, from its newest checkpoint if there is one; writes model/."""
    algorithm = work.algorithm
    count = algorithm.epochs * len(kept)
    steps = math.ceil(count / algorithm.train_batch)
    prompts = math.ceil(count / steps)  # even steps: fewer samples than there are steps are met once too often
    improvement = Improvement(steps=steps, prompts=prompts, final_rate=algorithm.final_rate, kept=kept)
    stage = replace(
        work.stage,
        run=run,
        algorithm=improvement,
        options=replace(work.stage.options, learning_rate=peak, check_every=0, keep="last", patience=0),
        start=start,
        samples=Listed(tuple(group.sample for group in groups)),
        seed=derive(work.stage.seed, "improve", number),
        check=None,
        demonstrations=improvement.demonstrations,
    )
    what = f"{work.stage.run.path.name} {number}: train"
    listener = loop.train(stage, lambda step, row: work.tell(what, step + 1, steps, row))
    stage.processes.first(lambda: _save(listener, run.path / "model"))


def _save(listener: Listener, path: Path) -> None:
    with atomic_folder(path) as aside:
        listener.save(aside)


def _answers(work: SelfTraining, listener: Listener) -> Sequence[Any]:
    """What the listener's policy answers to the held-out samples, asked once."""
    path = work.stage.run.path / "heldout" / f"{fingerprint(listener.model)}.jsonl"
    return work.heldout.answer(listener, path)


def _sampled(algorithm: Algorithm, grown: Grown, kept: Mapping[str, Sequence[Credit]]) -> dict[str, Any]:
    """What the manifest says of sampling and filtering. Every prompt is in one band, every reply is of one kind."""
    bands = {group.sample.id: band(algorithm.rate(group)) for group in grown.groups}
    kinds = Counter(kind for group in grown.groups for kind in algorithm.kinds(group))
    kinds["failed"] = grown.failed
    rates = [rate for group in grown.groups if (rate := algorithm.rate(group)) is not None]
    taken: dict[str, list[Sequence[Credit]]] = {}
    for id, credits in kept.items():
        taken.setdefault(bands[id], []).append(credits)
    counts = Counter(bands.values())
    return {
        "policy": grown.policy,
        "prompts": {name: counts[name] for name in BANDS},
        "replies": {name: kinds[name] for name in KINDS},
        "pass_rate": fmean(rates),
        "filter": algorithm.filter,
        "kept": {name: _of(taken[name]) for name in BANDS if name in taken},
    }


def _of(prompts: Sequence[Sequence[Credit]]) -> dict[str, float]:
    """What is kept of a band: its prompts, their replies, and how much these count together."""
    credits = [credit for credits in prompts for credit in credits]
    weight = math.fsum(credit.advantage for credit in credits)
    return {"prompts": len(prompts), "replies": len(credits), "weight": weight}


def _figures(manifest: Mapping[str, Any], grown: Grown, figure: str) -> dict[str, float]:
    """The iteration as a row of metrics."""
    total, asked = sum(manifest["prompts"].values()), sum(manifest["replies"].values())
    figures = {f"pass/{name}": count / total for name, count in manifest["prompts"].items()}
    figures |= {f"replies/{name}": count / asked for name, count in manifest["replies"].items()}
    figures |= {"pass_rate": manifest["pass_rate"], "lr": manifest["learning_rate"]}
    for what in ("prompts", "replies", "weight"):
        figures[f"kept/{what}"] = float(sum(band[what] for band in manifest["kept"].values()))
    if (compared := manifest["heldout"]) is not None:
        figures[f"heldout/{figure}"] = compared["after"][figure]
        figures |= {"heldout_before": compared["before"][figure], "heldout_difference": compared["difference"]}
    return {**figures, **statistics(grown.groups), **loop.lengths_of(grown.groups)}


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
