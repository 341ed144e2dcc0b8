"""Groups that teach nothing are replaced from the stream: what is drawn, what is dropped, and what a kill may cost."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from auscult.core.errors import RunError
from auscult.core.runs import Run, read_jsonl
from auscult.core.seeds import derive, rng
from auscult.core.types import Audio, Sample, Turn
from auscult.data.source import order
from auscult.models.families import graft
from auscult.models.wording import Wording
from auscult.rollouts.local import LocalEngine
from auscult.train import loop
from auscult.train.algorithms import cispo, dapo, dr_grpo, grpo, gspo
from auscult.train.options import Train

OPTIONS = Train(learning_rate=1e-3, warmup=2, precision="float32")
SEED = 3


@dataclass(frozen=True)
class Clips:
    """Finitely many short clips of noise, so that epochs end while a stage runs."""

    size: int = 7

    def __getitem__(self, index: int) -> Sample:
        wave = rng(index, "draws clip").standard_normal(2400 + 400 * index).astype(np.float32) * 0.1
        return Sample(f"clip-{index}", (Turn("user", (Audio.of(wave, 16_000), "How many sounds?")),), (str(index),))


REWARDS = """
import random

def odd(sample, rollout):
    # Replies to even clips are all worth the same; a draw of its own, as users' rewards may make.
    noise = 0.01 * random.random()
    return 0.3 if int(sample.id[5:]) % 2 == 0 else len(set(rollout.reply_ids)) / 20 + noise

def one(sample, rollout):
    return random.random() if sample.id == "clip-1" else 0.1

def none(sample, rollout):
    return 0.1

def unknown(sample, rollout):
    return None
"""


@pytest.fixture(scope="module")
def rewards(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rewards") / "draws_rewards.py"
    path.write_text(REWARDS)
    return path


@pytest.fixture
def dynamic(rewards):
    """DAPO whose reward does not tell replies to even clips apart."""
    return dapo.Algorithm(
        steps=3, prompts=3, group=3, max_tokens=6, mask_cut=False, max_batches=6, rewards={f"{rewards}:odd": 1.0}
    )


class Silent(LocalEngine):
    """A real engine that tells no log-probabilities, as some servers do."""

    def roll(self, *arguments):
        return [tuple(replace(one, logps=None) for one in group) for group in super().roll(*arguments)]


class Off(LocalEngine):
    """A real engine whose arithmetic is not the learner's."""

    def roll(self, *arguments):
        groups = super().roll(*arguments)
        return [tuple(replace(one, logps=tuple(v - 0.03 for v in one.logps)) for one in group) for group in groups]


class Killed(BaseException):
    """What a kill looks like from inside: no handler of ordinary errors sees it."""


def run(
    folder: Path, start: Path, algorithm, options: Train = OPTIONS, kill_after: int | None = None, engine=LocalEngine
):
    """Runs a stage, or what is left of it; the final weights."""
    stage = loop.Stage(
        run=Run.open(folder, {"test": "draws"}, "test"),
        algorithm=algorithm,
        options=options,
        start=start,
        load=lambda path: graft.Model().load(path, Wording(instruction=False, choices=False)),
        engine=partial(engine, batch=6),
        samples=Clips(),
        seed=SEED,
    )
    seen = 0

    def watch(step: int, row: Mapping[str, object]) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_after:
            raise Killed

    try:
        listener = loop.train(stage, watch)
        return {name: value.clone() for name, value in listener.model.state_dict().items()}
    finally:
        stage.run.close()


def metrics(folder: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_jsonl(folder / "metrics.jsonl").rows]


def drawn(folder: Path, step: int) -> list[list[dict]]:
    """The groups of each draw of a step, as they stand on disk."""
    first = folder / "rollouts" / f"step-{step:06d}.jsonl"
    later = sorted((folder / "rollouts").glob(f"step-{step:06d}-draw-*.jsonl"))
    return [read_jsonl(path).rows for path in [first, *later]]


def flat(row: dict) -> bool:
    return len({score["total"] for score in row["scores"]}) == 1


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_the_stream_goes_on_where_the_step_before_ended_and_every_drop_is_counted(tmp_path, checkpoint, dynamic):
    run(tmp_path, checkpoint, dynamic)
    taken = 0
    for row in metrics(tmp_path):
        draws = drawn(tmp_path, row["step"])
        groups = [group for draw in draws for group in draw]
        assert row["draws"] == len(draws)
        assert row["dropped_groups"] == sum(map(flat, groups)) == len(groups) - dynamic.prompts
        assert row["missing_groups"] == row["uncredited"] == 0
        missing = dynamic.prompts
        for draw in draws:  # each draw takes what is missing, no more
            assert len(draw) == missing
            missing -= sum(not flat(group) for group in draw)
        assert missing == 0
        stream = order(Clips(), taken, len(groups), derive(SEED, "order"))
        assert [group["id"] for group in groups] == [sample.id for sample in stream]
        taken += len(groups)
        assert row["samples"] == taken
    assert any(row["draws"] > 1 for row in metrics(tmp_path))


def test_dropped_groups_stay_in_the_figures_of_rewards_and_lengths(tmp_path, checkpoint, dynamic):
    run(tmp_path, checkpoint, dynamic)
    for row in metrics(tmp_path):
        groups = [group for draw in drawn(tmp_path, row["step"]) for group in draw]
        totals = [score["total"] for group in groups for score in group["scores"]]
        lengths = [len(rollout["reply_ids"]) for group in groups for rollout in group["rollouts"]]
        assert row["reward/total/mean"] == pytest.approx(sum(totals) / len(totals))
        assert row["reward/total/flat_groups"] == pytest.approx(row["dropped_groups"] / len(groups))
        assert row["length/mean"] == pytest.approx(sum(lengths) / len(lengths))


def test_without_dynamic_sampling_every_group_is_kept(tmp_path, checkpoint, dynamic):
    run(tmp_path, checkpoint, replace(dynamic, max_batches=0))
    rows = metrics(tmp_path)
    assert [row["samples"] for row in rows] == [3, 6, 9]
    assert not [row for row in rows if "dropped_groups" in row]


@pytest.mark.parametrize("place", ["write_groups", "teach", "Learner.learn", "checkpoint.save"])
def test_killed_at_any_draw_it_ends_the_same_and_samples_nothing_twice(
    tmp_path, checkpoint, dynamic, monkeypatch, place
):
    whole = run(tmp_path / "whole", checkpoint, dynamic)
    holder = loop
    for part in place.split(".")[:-1]:
        holder = getattr(holder, part)
    name = place.rpartition(".")[2]
    real, roll = getattr(holder, name), LocalEngine.roll
    number = total = 0
    while True:
        number += 1
        folder, calls = tmp_path / f"killed-{number}", 0

        def kill(*arguments, stop=number):
            nonlocal calls
            calls += 1
            if calls == stop:
                raise Killed
            return real(*arguments)

        rolled: list[int] = []

        def rolls(self, *arguments, seen=rolled):
            seen.append(len(arguments[0]))
            return roll(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(LocalEngine, "roll", rolls)
            with monkeypatch.context() as inner:
                inner.setattr(holder, name, kill)
                try:
                    run(folder, checkpoint, dynamic)
                except Killed:
                    pass
                else:
                    break  # every call there is has been killed at
            random.seed(99)  # a new process begins with generators of its own
            assert same(run(folder, checkpoint, dynamic), whole)
        assert metrics(folder) == metrics(tmp_path / "whole")
        total += 1
        once = sum(len(draw) for step in range(dynamic.steps) for draw in drawn(tmp_path / "whole", step))
        again = 0 if place != "write_groups" else rolled[calls - 1]  # the draw whose file was not written yet
        assert sum(rolled) == once + again
    assert total >= dynamic.steps


def test_a_stream_position_made_of_the_step_alone_is_noticed(tmp_path, checkpoint, dynamic, monkeypatch):
    """The planted defect: a resumed stage that takes step * prompts for its place in the stream."""
    whole = run(tmp_path / "whole", checkpoint, dynamic)
    restore = loop.checkpoint.restore

    def forgetful(path, learner):
        at = restore(path, learner)
        return replace(at, taken=at.step * dynamic.prompts)

    with pytest.raises(Killed):
        run(tmp_path / "killed", checkpoint, dynamic, kill_after=2)
    monkeypatch.setattr(loop.checkpoint, "restore", forgetful)
    assert not same(run(tmp_path / "killed", checkpoint, dynamic), whole)


def test_a_step_that_finds_too_few_groups_learns_from_what_there_is_and_says_so(tmp_path, checkpoint, dynamic, rewards):
    few = replace(dynamic, steps=2, max_batches=3, rewards={f"{rewards}:one": 1.0})
    run(tmp_path, checkpoint, few)
    empty = 0
    for row in metrics(tmp_path):
        groups = [group for draw in drawn(tmp_path, row["step"]) for group in draw]
        kept = sum(not flat(group) for group in groups)
        assert kept < few.prompts
        assert row["missing_groups"] == few.prompts - kept
        assert row["draws"] == 3
        assert ("loss" in row) is (kept > 0)
        empty = 0 if kept else empty + 1
        assert row["empty_steps"] == empty


@pytest.mark.parametrize("draws", [0, 2])
def test_steps_in_a_row_that_teach_nothing_end_the_run_also_over_a_kill(tmp_path, checkpoint, dynamic, rewards, draws):
    nothing = replace(dynamic, steps=9, max_batches=draws, rewards={f"{rewards}:none": 1.0})
    patient = replace(OPTIONS, empty_steps=4)
    with pytest.raises(Killed):
        run(tmp_path, checkpoint, nothing, patient, kill_after=2)
    with pytest.raises(RunError, match=r"step 3: in 4 steps in a row .*; .* look at .*rollouts"):
        run(tmp_path, checkpoint, nothing, patient)
    assert [row["empty_steps"] for row in metrics(tmp_path)] == [1, 2, 3]


def test_a_step_that_taught_something_begins_the_count_anew(tmp_path, checkpoint, dynamic, rewards):
    rare = replace(dynamic, steps=9, prompts=1, max_batches=1, rewards={f"{rewards}:one": 1.0})
    run(tmp_path, checkpoint, rare, replace(OPTIONS, empty_steps=7))
    counts = [row["empty_steps"] for row in metrics(tmp_path)]
    ids = [drawn(tmp_path, step)[0][0]["id"] for step in range(rare.steps)]
    last = [step for step, name in enumerate(ids) if name == "clip-1"]
    assert last
    assert counts == [step - max((s for s in last if s <= step), default=-1) for step in range(rare.steps)]


def test_what_nothing_could_score_ends_the_run_at_once(tmp_path, checkpoint, dynamic, rewards):
    with pytest.raises(RunError, match="no rollout could be scored"):
        run(tmp_path, checkpoint, replace(dynamic, rewards={f"{rewards}:unknown": 1.0}))


def test_cut_replies_teach_nothing_and_are_counted(tmp_path, checkpoint, dynamic):
    masked = replace(dynamic, max_batches=0, mask_cut=True, max_tokens=24)
    run(tmp_path, checkpoint, masked)
    counts = []
    for row in metrics(tmp_path):
        stops = [rollout["stop"] for group in drawn(tmp_path, row["step"])[0] for rollout in group["rollouts"]]
        assert row["uncredited"] == stops.count("length")
        assert row["length/cut_share"] == pytest.approx(stops.count("length") / len(stops))
        counts.append(row["uncredited"])
    assert any(counts)


# -- engines that are not the learner ----------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [grpo, dr_grpo, dapo, gspo, cispo])
def test_every_algorithm_goes_on_after_a_kill_with_two_passes_and_recomputed_log_probabilities(
    tmp_path, checkpoint, rewards, algorithm
):
    made = algorithm.Algorithm(
        steps=3, prompts=2, group=3, max_tokens=5, passes=2, old="learner", rewards={f"{rewards}:odd": 1.0}
    )
    whole = run(tmp_path / "whole", checkpoint, made)
    with pytest.raises(Killed):
        run(tmp_path / "killed", checkpoint, made, kill_after=1)
    assert same(run(tmp_path / "killed", checkpoint, made), whole)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")


def test_an_engine_without_log_probabilities_trains_on_the_learners_own_and_it_is_logged(tmp_path, checkpoint, dynamic):
    run(tmp_path / "told", checkpoint, dynamic)
    run(tmp_path / "silent", checkpoint, dynamic, engine=Silent)
    first, other = metrics(tmp_path / "silent")[0], metrics(tmp_path / "told")[0]
    assert first["loss"] == pytest.approx(other["loss"], abs=1e-6)
    assert first["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
    for row, other in zip(metrics(tmp_path / "silent"), metrics(tmp_path / "told"), strict=True):
        assert row["logps_recomputed"] == 1
        assert other["logps_recomputed"] == 0
        assert not [key for key in row if key.startswith("agreement")]


def test_importance_weights_make_up_for_an_engine_that_is_off(tmp_path, checkpoint, dynamic):
    run(tmp_path, checkpoint, replace(dynamic, old="learner", cap=1.01), engine=Off)
    for row in metrics(tmp_path):
        assert row["agreement/abs_diff"] == pytest.approx(0.03, abs=1e-4)
        assert row["importance/mean"] == pytest.approx(1.01)  # exp(0.03), truncated
        assert row["importance/truncated"] == 1


@pytest.mark.parametrize("old", ["rollout", "learner"])
def test_lost_agreement_stops_the_run_whoever_is_believed(tmp_path, checkpoint, dynamic, old):
    with pytest.raises(RunError, match="learner and rollouts disagree"):
        run(tmp_path, checkpoint, replace(dynamic, old=old), replace(OPTIONS, agreement=0.02), engine=Off)
