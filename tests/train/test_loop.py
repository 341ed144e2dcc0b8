"""The one loop: killed anywhere, it goes on to the same weights, bit for bit; and it notices when it is lied to."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.core.errors import RunError
from auscult.core.runs import Run, read_jsonl
from auscult.core.seeds import rng
from auscult.core.types import Audio, Credit, Group, Sample, Turn
from auscult.models.families import graft
from auscult.models.wording import Wording
from auscult.rollouts.local import LocalEngine
from auscult.train import checkpoint as checkpoints
from auscult.train import loop
from auscult.train.algorithms import grpo, sft
from auscult.train.learner import Learner
from auscult.train.options import Train

WORDING = Wording(instruction=False, choices=False)
OPTIONS = Train(learning_rate=1e-3, warmup=2, precision="float32")
BYTES = replace(OPTIONS, optimizer="adamw8bit", save_every=2)


@dataclass(frozen=True)
class Clips:
    """Finitely many short clips of noise, so that epochs end while a stage runs."""

    size: int = 5

    def __getitem__(self, index: int) -> Sample:
        wave = rng(index, "loop clip").standard_normal(3200 + 800 * index).astype(np.float32) * 0.1
        turn = Turn("user", (Audio.of(wave, 16_000), "How many sounds?"))
        return Sample(f"clip-{index}", (turn,), (str(index),), thought="low tone, click")


def opened(path: Path):
    return graft.Model().load(path, WORDING)


LETTERS = """
import random

def letters(sample, rollout):
    # Variance under any policy, and a draw of its own: users' rewards may use global generators.
    return len(set(rollout.text)) / 20 + 0.01 * random.random()
"""
REWARD = Path(tempfile.mkdtemp()) / "letters.py"
REWARD.write_text(LETTERS)
GRPO = grpo.Algorithm(steps=4, prompts=3, group=3, max_tokens=6, passes=2, kl=0.05, rewards={f"{REWARD}:letters": 1.0})
SFT = sft.Algorithm(steps=5, prompts=3)


class Killed(BaseException):
    """What a kill looks like from inside: no handler of ordinary errors sees it."""


def stage(folder: Path, start: Path, algorithm, options: Train = OPTIONS) -> loop.Stage:
    return loop.Stage(
        run=Run.open(folder, {"algorithm": type(algorithm).__module__}, "test"),
        algorithm=algorithm,
        options=options,
        start=start,
        load=opened,
        engine=partial(LocalEngine, batch=6),
        samples=Clips(),
        seed=3,
    )


def run(folder: Path, start: Path, algorithm, options: Train = OPTIONS, kill_after: int | None = None):
    """Runs a stage in `folder`, killed after so many lines of this package's code when asked to; the final weights."""
    random.seed(0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    made = stage(folder, start, algorithm, options)
    seen = 0

    def watch(step: int, row: Mapping[str, object]) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_after:
            raise Killed

    try:
        listener = loop.train(made, watch)
        return {name: value.clone() for name, value in listener.model.state_dict().items()}
    finally:
        made.run.close()


def metrics(folder: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_jsonl(folder / "metrics.jsonl").rows]


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("algorithm", [SFT, GRPO], ids=["sft", "grpo"])
@pytest.mark.parametrize("options", [OPTIONS, BYTES], ids=["every", "every other, 8 bits"])
def test_killed_between_steps_it_ends_with_the_same_weights_and_metrics(tmp_path, checkpoint, algorithm, options):
    whole = run(tmp_path / "whole", checkpoint, algorithm, options)
    for step in range(1, algorithm.steps):
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(Killed):
            run(folder, checkpoint, algorithm, options, kill_after=step)
        random.seed(99)  # a new process begins with generators of its own
        assert same(run_again(folder, checkpoint, algorithm, options), whole)
        assert metrics(folder) == metrics(tmp_path / "whole")


def run_again(folder, start, algorithm, options=OPTIONS):
    made = stage(folder, start, algorithm, options)
    try:
        return {
            name: value.clone() for name, value in loop.train(made, lambda step, row: None).model.state_dict().items()
        }
    finally:
        made.run.close()


@pytest.mark.parametrize("place", ["write_groups", "teach"])
def test_killed_inside_a_step_it_goes_on_with_the_rollouts_in_hand(tmp_path, checkpoint, monkeypatch, place):
    whole = run(tmp_path / "whole", checkpoint, GRPO)
    real, calls = getattr(loop, place), 0

    def kill(*arguments):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, place, kill)
        with pytest.raises(Killed):
            run(tmp_path / "killed", checkpoint, GRPO)
    if place == "teach":  # the rollouts of step 2 are on disk: sampling them again would be a waste
        rolled = []
        roll = LocalEngine.roll
        monkeypatch.setattr(LocalEngine, "roll", lambda self, *a: rolled.append(1) or roll(self, *a))
        assert same(run_again(tmp_path / "killed", checkpoint, GRPO), whole)
        assert len(rolled) == GRPO.steps - 3
    else:
        assert same(run_again(tmp_path / "killed", checkpoint, GRPO), whole)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")


def with_dropout(path: Path, folder: Path) -> Path:
    listener = opened(path)
    listener.config.encoder_dropout = 0.2
    listener.save(folder)
    return folder


def test_generators_that_did_not_go_on_would_be_noticed(tmp_path, checkpoint, monkeypatch):
    """Dropout draws from torch's global generator: seeded by the step the weights agree, left as it is they do not."""
    start = with_dropout(checkpoint, tmp_path / "start")
    whole = run(tmp_path / "whole", start, SFT)
    for planted in (False, True):
        folder = tmp_path / f"killed-{planted}"
        with pytest.raises(Killed):
            run(folder, start, SFT, kill_after=2)
        torch.manual_seed(12345)
        with monkeypatch.context() as patch:
            if planted:
                patch.setattr(loop, "seed_globals", lambda seed: None)
            assert same(run_again(folder, start, SFT), whole) is not planted


def test_the_newest_checkpoint_is_kept_and_the_older_ones_go(tmp_path, checkpoint):
    run(tmp_path / "run", checkpoint, SFT)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-5"]
    point = checkpoints.newest(tmp_path / "run" / "checkpoints")
    assert point is not None
    step, folder = point
    assert step == 5
    assert json.loads((folder / "state.json").read_text())["updates"] == 5


def test_a_stage_killed_before_older_checkpoints_went_removes_them_when_it_goes_on(tmp_path, checkpoint, monkeypatch):
    def killed(*arguments):
        raise Killed

    monkeypatch.setattr(checkpoints, "prune", lambda folder, keep: killed() if (folder / "step-5").exists() else None)
    with pytest.raises(Killed):
        run(tmp_path / "run", checkpoint, SFT)
    monkeypatch.undo()
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 5
    run_again(tmp_path / "run", checkpoint, SFT)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-5"]


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit"])
def test_optimiser_state_survives_a_round_trip_bit_for_bit(tmp_path, checkpoint, kind):
    options = replace(OPTIONS, optimizer=kind)
    listener = opened(checkpoint)
    learner = Learner(listener, options, 1e-3, 10)
    prompt = listener.prompt(replace(Clips()[1], turns=(Turn("user", ("How many?",)),)))  # the encoder learns nothing
    lessons = loop.teach([prompt], [loop.demonstrate(listener, prompt)], SFT.credits)
    learner.learn(lessons, SFT.objective)
    path = checkpoints.save(tmp_path, checkpoints.Position(1), learner)
    again = Learner(opened(path / "model"), options, 1e-3, 10)
    assert checkpoints.restore(path, again) == checkpoints.Position(1)
    assert again.done == 1
    states = [learner.optimizer.state[parameter] for parameter in learner.parameters.values()]
    assert {} in states
    assert any("qmap1" in state for state in states) == (kind == "adamw8bit")
    for name, state in zip(learner.parameters, states, strict=True):
        back = again.optimizer.state[again.parameters[name]]
        assert state.keys() == back.keys()
        for key, value in state.items():
            assert type(value) is type(back[key])
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(back[key])), (name, key)
            assert torch.as_tensor(value).dtype == torch.as_tensor(back[key]).dtype
    assert not [file for file in path.rglob("*") if file.suffix in (".pt", ".bin", ".pkl")]
    other = replace(OPTIONS, optimizer={"adamw": "adamw8bit", "adamw8bit": "adamw"}[kind])
    with pytest.raises(RunError, match="model or optimiser were changed"):
        checkpoints.restore(path, Learner(opened(path / "model"), other, 1e-3, 10))


# -- what the loop refuses ---------------------------------------------------------------------------------------------


def test_a_learner_that_hears_other_audio_than_the_rollouts_is_stopped(tmp_path, checkpoint, monkeypatch):
    """Audio of two prompts in a batch swapped, in the loss only: the agreement of log-probabilities is lost."""
    family = type(opened(checkpoint))
    whole = family._encode

    def swapped(self, kind, items):
        rows = whole(self, kind, items)
        mixed = torch.cat(rows).flip(0).split([len(one) for one in rows])
        return list(mixed) if torch.is_grad_enabled() else rows

    monkeypatch.setattr(family, "_encode", swapped)
    sharp = replace(OPTIONS, agreement=1e-4)
    with pytest.raises(RunError, match="learner and rollouts disagree"):
        run(tmp_path / "run", checkpoint, replace(GRPO, kl=0.0, passes=1), sharp)


def test_learner_and_rollouts_agree_to_float_precision(tmp_path, checkpoint):
    run(tmp_path / "run", checkpoint, GRPO)
    rows = metrics(tmp_path / "run")
    assert all(row["agreement/abs_diff"] < 1e-5 for row in rows)
    assert all(row["agreement/correlation"] > 0.9999 for row in rows)


def test_encoder_passes_of_the_loss_are_the_distinct_clips(tmp_path, checkpoint):
    """2 passes over 3 prompts, of which two are the same clip where an epoch ends within the batch; in each pass the
    policy hears them, and the reference, whose encoder is another."""
    run(tmp_path / "run", checkpoint, GRPO)
    for row in metrics(tmp_path / "run"):
        rolled = read_jsonl(tmp_path / "run" / "rollouts" / f"step-{row['step']:06d}.jsonl").rows
        assert row["media/encoder_clips"] == 4 * len({one["id"] for one in rolled})
        assert row["media/clips"] == 4 * len(rolled)


@pytest.mark.parametrize("algorithm", [SFT, GRPO], ids=["sft", "grpo"])
def test_silent_clips_that_a_step_met_are_told_even_when_its_rollouts_were_there(tmp_path, checkpoint, algorithm):
    """One clip of five, so one of fifteen in a row is met three times; each step's figures name it."""

    @dataclass(frozen=True)
    class Muted(Clips):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            turn = Turn("user", (Audio.of(np.zeros(4000, np.float32), 16_000), "How many sounds?"))
            return replace(sample, turns=(turn,)) if index == 2 else sample

    algorithm = replace(algorithm, steps=5)
    made = replace(stage(tmp_path / "run", checkpoint, algorithm), samples=Muted())
    with made.run:
        loop.train(made, lambda *_: None)
    told = [row.get("media/silent_clips", 0) for row in metrics(tmp_path / "run")]
    assert sum(told) == 3
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    made = replace(stage(tmp_path / "run", checkpoint, algorithm), samples=Muted())
    with made.run:
        loop.train(made, lambda *_: None)
    assert [row.get("media/silent_clips", 0) for row in metrics(tmp_path / "run")] == told


def test_a_rollout_credited_to_another_prompt_is_refused(checkpoint):
    listener = opened(checkpoint)
    prompts = [listener.prompt(Clips()[index]) for index in range(2)]
    groups = [loop.demonstrate(listener, prompt) for prompt in prompts]
    with pytest.raises(RunError, match="credited"):
        loop.teach(prompts, list(reversed(groups)), SFT.credits)

    def rotated(group: Group) -> list[Credit]:
        return [Credit(groups[0].sample, groups[0].rollouts[0], 1.0)]

    with pytest.raises(RunError, match="credited"):
        loop.teach(prompts, groups, rotated)


def test_rollouts_of_another_policy_or_other_samples_are_not_taken(tmp_path, checkpoint):
    run(tmp_path / "run", checkpoint, GRPO)
    path = tmp_path / "run" / "rollouts" / "step-000000.jsonl"
    rows = read_jsonl(path).rows
    samples = [Clips()[int(row["id"].removeprefix("clip-"))] for row in rows]
    policy = rows[0]["rollouts"][0]["policy"]
    found = loop.read_groups(path, samples, policy)
    assert found is not None
    assert [group.sample.id for group in found] == [row["id"] for row in rows]
    assert loop.read_groups(path, samples, "another") is None
    assert loop.read_groups(path, list(reversed(samples)), policy) is None
