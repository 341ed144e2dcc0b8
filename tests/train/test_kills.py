"""kill -9 at twenty random points: the process really dies, and what it leaves on the disk is all there is to go on.

The stage is the hardest one there is: two passes, a reference, groups redrawn, three epochs, checks that keep the best
weights, checkpoints every other step. A point is any call of the passes, the optimiser, or the writing of files, so
kills fall inside a rollout batch, between micro-steps, inside a checkpoint, between its two renames.
"""

from __future__ import annotations

import json
import os
import random
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from bitsandbytes.optim import AdamW8bit

from auscult.core.runs import Run, read_jsonl
from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Turn
from auscult.models.families import graft
from auscult.models.graft_listener import GraftListener
from auscult.models.wording import Wording
from auscult.rollouts.local import LocalEngine
from auscult.train import loop
from auscult.train.algorithms import dapo
from auscult.train.options import Train

KILLS = 10
"""With each optimiser."""
OPTIONS = Train(
    learning_rate=1e-3,
    warmup=2,
    precision="float32",
    prompt_batch=2,
    reply_batch=3,
    save_every=2,
    keep_last=2,
    check_every=2,
    keep="best",
)
POINTS = (
    (GraftListener, "run_prompts"),
    (GraftListener, "run_replies"),
    (torch.optim.AdamW, "step"),
    (AdamW8bit, "step"),
    (Run, "log"),
    (Path, "rename"),
    (Path, "mkdir"),
    (os, "replace"),
    (os, "fsync"),
)


class Clips:
    """Five clips: an epoch ends inside of nearly every step."""

    size = 5

    def __getitem__(self, index: int) -> Sample:
        wave = rng(index, "kill clip").standard_normal(2400 + 400 * index).astype(np.float32) * 0.1
        return Sample(f"clip-{index}", (Turn("user", (Audio.of(wave, 16_000), "How many?")),), (str(index),))


def score(listener) -> float:
    """A check that is sometimes better than before: some digits of the weights."""
    return float(next(iter(listener.model.parameters())).detach().double().sum().abs() * 1e4 % 1)


def train(folder: Path, start: Path, rewards: Path, options: Train) -> None:
    algorithm = dapo.Algorithm(
        steps=6, prompts=3, group=3, max_tokens=6, passes=2, kl=0.05, max_batches=3, rewards={f"{rewards}:odd": 1.0}
    )
    with Run.open(folder / "run", {}, "test") as run:
        stage = loop.Stage(
            run=run,
            algorithm=algorithm,
            options=options,
            start=start,
            load=lambda path: graft.Model().load(path, Wording(instruction=False, choices=False)),
            engine=partial(LocalEngine, batch=6),
            samples=Clips(),
            seed=3,
            check=score,
        )
        loop.train(stage, lambda step, row: None).save(folder / "trained")


def child(folder: Path, start: Path, rewards: Path, options: Train, point: int | None) -> int:
    """Trains in a process of its own, which is killed at the `point`-th call; the points that it passed, or -1."""
    pid = os.fork()
    if pid:
        return int((folder / "points").read_text()) if os.waitpid(pid, 0)[1] == 0 else -1
    passed = 0

    def counted(whole):
        def call(*arguments, **options):
            nonlocal passed
            passed += 1
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(*arguments, **options)

        return call

    for owner, name in POINTS:
        setattr(owner, name, counted(getattr(owner, name)))
    try:
        train(folder, start, rewards, options)
        (folder / "points").write_text(str(passed))
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - a forked child must not go on as pytest
        (folder / "trouble").write_text(repr(error))
        os._exit(1)


def left(folder: Path) -> dict[str, object]:
    """All that a stage leaves behind, its times aside."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in (".safetensors", ".jsonl"))
    found: dict[str, object] = {str(p.relative_to(folder)): p.read_bytes() for p in files if p.name != "metrics.jsonl"}
    rows = read_jsonl(folder / "run" / "metrics.jsonl").rows
    found["metrics"] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    states = sorted((folder / "run" / "checkpoints").glob("*/state.json"))
    return found | {str(p.parent.name): json.loads(p.read_text()) for p in states}


@pytest.mark.long
@pytest.mark.parametrize("optimizer", ["adamw", "adamw8bit"])
def test_killed_at_twenty_random_points_it_ends_the_same(checkpoint, tmp_path, optimizer):
    options = replace(OPTIONS, optimizer=optimizer)
    rewards = tmp_path / "rewards.py"
    rewards.write_text(
        "import random\n"
        "def odd(sample, rollout):\n"
        "    even = int(sample.id[5:]) % 2 == 0\n"
        "    return 0.3 if even else len(set(rollout.reply_ids)) / 20 + 0.01 * random.random()\n"
    )
    (tmp_path / "whole").mkdir()
    points = child(tmp_path / "whole", checkpoint, rewards, options, None)
    assert points > 0, (tmp_path / "whole" / "trouble").read_text()
    expected = left(tmp_path / "whole")
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed, "of", points, "points")
    draw, kills, runs = random.Random(seed), 0, 0
    while kills < KILLS:
        folder = tmp_path / f"run-{runs}"
        folder.mkdir()
        while True:
            point = draw.randrange(1, points // 2) if kills < KILLS else None
            if child(folder, checkpoint, rewards, options, point) >= 0:
                break
            assert not (folder / "trouble").exists(), (folder / "trouble").read_text()
            kills += 1
        assert left(folder) == expected
        runs += 1
    assert kills == KILLS
