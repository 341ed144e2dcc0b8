"""Reinforced self-training: the filter against its definition, and a stage that is killed, rolled back and resumed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auscult.core.errors import RunError
from auscult.core.runs import Run, append_jsonl, read_jsonl
from auscult.core.types import Credit, Group, Outcome, Parsed, Rollout, Sample, Score
from auscult.evaluate import evaluation
from auscult.evaluate.options import Evaluate
from auscult.evaluate.outcomes import proportion
from auscult.models.families import graft
from auscult.models.fingerprint import fingerprint
from auscult.models.listener import Listener
from auscult.models.wording import Wording
from auscult.rollouts.local import LocalEngine
from auscult.train import checkpoint as checkpoints
from auscult.train import loop, rest
from auscult.train.algorithms import sft
from auscult.train.algorithms.rest import BANDS, Algorithm, Improvement, Weights, band
from auscult.train.options import Train

# -- the filter --------------------------------------------------------------------------------------------------------

TEXTS = {"right": "7", "wrong": "8", "unparsed": "hm", "empty": " \n", "ungraded": "9"}


def reply(kind: str, number: int = 0, form: float = 0.0) -> tuple[Rollout, Score]:
    """A reply of a kind and its score; `form` is a second part of the rubric, which only ranks."""
    parsed = Parsed(TEXTS[kind]) if kind in ("right", "wrong", "ungraded") else Parsed(None, "no_answer")
    rollout = Rollout((1,), (number + 2,), (-1.0,), TEXTS[kind], "end", "policy", parsed)
    choice = None if kind == "ungraded" else float(kind == "right")
    return rollout, Score({"choice": choice, "form": form}, None if choice is None else choice + form)


def group_of(*kinds: str, forms: tuple[float, ...] = ()) -> Group:
    pairs = [reply(kind, number, (forms or (0.0,) * len(kinds))[number]) for number, kind in enumerate(kinds)]
    return Group(Sample("s", (), ()), tuple(one for one, _ in pairs), tuple(score for _, score in pairs))


@given(st.floats(0, 1))
def test_every_rate_is_in_one_band_and_a_higher_rate_in_no_lower_one(rate):
    order = BANDS[:5]
    assert band(rate) in order
    assert band(rate) == {0.0: "unsolved", 1.0: "solved"}.get(rate, band(rate))
    assert (band(rate) == "unsolved", band(rate) == "solved") == (rate == 0, rate == 1)
    assert order.index(band(rate)) <= order.index(band(min(1.0, rate * 1.1 + 1e-9)))


@given(st.integers(1, 64), st.data())
def test_bands_are_by_rate_whatever_the_size_of_the_group(size, data):
    right = data.draw(st.integers(0, size))
    found = band(Algorithm().rate(group_of(*["right"] * right, *["wrong"] * (size - right))))
    hundred = 100 * right / size
    assert found == (
        "unsolved" if right == 0 else "solved" if right == size
        else "hard" if hundred <= 25 else "middle" if hundred <= 75 else "easy"
    )  # fmt: skip


KINDS_SAID = st.lists(st.sampled_from(sorted(TEXTS)), min_size=1, max_size=20)


@given(KINDS_SAID)
def test_what_said_nothing_or_could_not_be_judged_makes_no_prompt_harder(kinds):
    judged = [kind for kind in kinds if kind in ("right", "wrong", "unparsed")]
    algorithm = Algorithm()
    assert algorithm.kinds(group_of(*kinds)) == kinds
    assert algorithm.rate(group_of(*kinds)) == (algorithm.rate(group_of(*judged)) if judged else None)
    assert (band(algorithm.rate(group_of(*kinds))) == "unanswered") == (not judged)


@given(KINDS_SAID, st.sampled_from(["all", "best", "top_k", "learning_zone"]), st.integers(1, 5))
def test_only_right_replies_are_kept_and_as_many_as_the_filter_says(kinds, chosen, k):
    algorithm = Algorithm(filter=chosen, top_k=k)
    group = group_of(*kinds)
    credits = algorithm.credits(group)
    right = kinds.count("right")
    assert {credit.rollout.text for credit in credits} <= {"7"}
    assert len({credit.rollout.reply_ids for credit in credits}) == len(credits)
    if chosen == "learning_zone":
        weight = {"hard": 1.0, "middle": 0.5, "easy": 0.25}.get(band(algorithm.rate(group)), 0.0)
        assert [credit.advantage for credit in credits] == [weight] * (right if weight else 0)
    else:
        assert len(credits) == {"all": right, "best": min(right, 1), "top_k": min(right, k)}[chosen]
        assert all(credit.advantage == 1.0 for credit in credits)


def test_the_best_is_the_one_with_the_highest_total_and_the_first_drawn_of_equals():
    group = group_of("right", "right", "wrong", "right", forms=(0.0, 0.1, 1.0, 0.1))
    assert [c.rollout.reply_ids for c in Algorithm(filter="best").credits(group)] == [(3,)]
    assert [c.rollout.reply_ids for c in Algorithm(filter="top_k", top_k=2).credits(group)] == [(3,), (5,)]


@pytest.mark.parametrize(
    "options",
    [
        {"correct": "exact"},
        {"decay": ()},
        {"decay": (1.0, 0.0)},
        {"temperature": 0.0},
        {"max_drop": -0.1},
        {"top_k": 0},
        {"sample_batch": 0},
    ],
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match=r"set|name one"):
        Algorithm(**options)
    with pytest.raises(ValueError, match="set numbers"):
        Weights(hard=0.0, middle=0.0, easy=0.0)


def test_learning_rates_fall_as_listed_and_the_last_one_holds():
    assert [Algorithm().peak(number, 1.0) for number in (1, 2, 3, 4)] == [2e-5, 1e-5, 5e-6, 5e-6]
    assert Algorithm(learning_rate=None, decay=(0.5,)).peak(7, 0.1) == 0.05


# -- the stage ---------------------------------------------------------------------------------------------------------

WORDING = Wording(instruction=False, choices=False)
OPTIONS = Train(learning_rate=1e-3, warmup=0, precision="float32")
REWARDS = """
def lucky(sample, rollout):
    # Whatever the policy, clip 0 is solved, and each further clip is harder than the one before it.
    return float(sum(rollout.reply_ids) % (1 + int(sample.id.removeprefix("clip-"))) == 0)
"""


@dataclass(frozen=True)
class Clips:
    """Finitely many short clips, so that epochs end while a stage runs."""

    make: Callable[..., Sample]
    size: int = 5

    def __getitem__(self, index: int) -> Sample:
        return self.make(index, seconds=0.2 + 0.05 * index)


@dataclass
class Judge:
    """Answers with the policy's first greedy reply; the accuracy of each policy in turn is given beforehand."""

    accuracies: list[float]
    asked: list[str] = field(default_factory=list)

    def answer(self, listener: Listener, path: Path) -> list[Outcome]:
        if not path.exists():
            append_jsonl(path, {"accuracy": self.accuracies[len(list(path.parent.glob("*")))]})
            self.asked.append(path.stem)
        right = read_jsonl(path).rows[0]["accuracy"] * 10
        return [Outcome(str(n), "", "", "", Parsed("1"), n < right, str(n), {}) for n in range(10)]

    def compare(self, before, after) -> dict[str, Any]:
        shares = [sum(outcome.correct for outcome in outcomes) / 10 for outcomes in (before, after)]
        return {
            "before": {"accuracy": shares[0]},
            "after": {"accuracy": shares[1]},
            "difference": shares[1] - shares[0],
        }


class Killed(BaseException):
    """What a kill looks like from inside: no handler of ordinary errors sees it."""


@pytest.fixture
def setting(tmp_path, checkpoint, heard):
    """Makes the work of a stage in a folder: `setting(folder, accuracies of the policies, options...)`."""
    reward = tmp_path / "lucky.py"
    reward.write_text(REWARDS)

    def make(folder: Path, accuracies=(0.5, 0.6, 0.7, 0.8), tell=lambda *said: None, **options) -> rest.SelfTraining:
        defaults = {"steps": 2, "prompts": 4, "group": 3, "max_tokens": 6, "sample_batch": 2, "train_batch": 2}
        defaults |= {"learning_rate": 1e-3, "epochs": 2, "temperature": 1.0, "top_p": 0.9, "filter": "all"}
        rewards = {f"{reward}:lucky": 1.0}
        algorithm = Algorithm(**{**defaults, "rewards": rewards, "correct": "lucky", **options})
        stage = loop.Stage(
            run=Run.open(folder, {"stage": "rest"}, "test"),
            algorithm=algorithm,
            options=OPTIONS,
            start=checkpoint,
            load=lambda path: graft.Model().load(path, WORDING),
            engine=partial(LocalEngine, batch=6),
            samples=Clips(heard),
            seed=3,
        )
        judge = Judge(list(accuracies))
        heldout = rest.Heldout(answer=judge.answer, compare=judge.compare)
        return rest.SelfTraining(stage=stage, algorithm=algorithm, heldout=heldout, command="test", tell=tell)

    return make


def trained(work: rest.SelfTraining) -> Path:
    random.seed(0)
    try:
        return rest.train(work)
    finally:
        work.stage.run.close()


def manifest(folder: Path, number: int) -> dict[str, Any]:
    return json.loads((folder / f"iteration-{number}" / "manifest.json").read_text())


TIMES = ("environment.json", "done", "lock")


def found(folder: Path) -> Mapping[str, object]:
    """Every byte that a stage left, times aside."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in TIMES]
    kept: dict[str, object] = {}
    for path in files:
        name = str(path.relative_to(folder))
        if path.name == "metrics.jsonl":
            kept[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in read_jsonl(path).rows]
        else:
            kept[name] = path.read_bytes()
    return kept


def test_each_iteration_samples_from_the_policy_that_the_one_before_it_left(tmp_path, setting, checkpoint):
    model = trained(setting(tmp_path / "run"))
    first, second = manifest(tmp_path / "run", 1), manifest(tmp_path / "run", 2)
    assert first["policy"] == fingerprint(graft.Model().load(checkpoint, WORDING).model)
    assert len({first["policy"], first["trained"], second["trained"]}) == 3
    assert second["policy"] == first["trained"]
    assert second["trained"] == fingerprint(graft.Model().load(model, WORDING).model)
    for number, told in ((1, first), (2, second)):
        rows = [
            rollout
            for path in (tmp_path / "run" / f"iteration-{number}" / "rollouts").iterdir()
            for row in read_jsonl(path).rows
            for rollout in row["rollouts"]
        ]
        assert {row["policy"] for row in rows} == {told["policy"]}
        assert len(rows) == sum(told["replies"].values()) == 12
        assert told["learning_rate"] == 1e-3 * (1.0, 0.5)[number - 1]
    assert [row["step"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl").rows] == [1, 2]


@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [
        (loop, "write_groups", (1, 2, 4)),  # inside sampling: before a batch is on the disk
        (loop, "stream", (2, 4, 7)),  # inside sampling, and inside training: a step's prompts
        (checkpoints, "save", (1, 3)),
        (rest, "_answers", (2, 3)),  # after training, before the decision
        (rest, "write_json", (1, 2)),
    ],
)
def test_killed_anywhere_it_ends_with_the_same_bytes(tmp_path, setting, monkeypatch, module, name, calls):
    model = trained(setting(tmp_path / "whole"))
    whole = found(tmp_path / "whole")
    for number in calls:
        folder = tmp_path / f"killed-{number}"
        real, met = getattr(module, name), 0

        def kill(*arguments, real=real, number=number):
            nonlocal met
            met += 1
            if met == number:
                raise Killed
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, kill)
            with pytest.raises(Killed):
                trained(setting(folder))
        torch.manual_seed(99)  # a new process begins with generators of its own
        assert trained(setting(folder)).name == model.name
        assert found(folder) == whole


def test_what_is_sampled_is_not_sampled_again(tmp_path, setting, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", lambda *a: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            trained(setting(tmp_path / "run", steps=1))
    rolled = []
    roll = LocalEngine.roll
    monkeypatch.setattr(LocalEngine, "roll", lambda self, *a: rolled.append(1) or roll(self, *a))
    trained(setting(tmp_path / "run", steps=1))
    assert not rolled


def test_a_score_that_falls_rolls_back_to_the_model_of_before_bit_for_bit(tmp_path, setting, checkpoint):
    assert trained(setting(tmp_path / "one", (0.5, 0.4))) == checkpoint
    assert manifest(tmp_path / "one", 1)["decision"] == "rolled back"
    assert not (tmp_path / "one" / "iteration-1" / "model").exists()
    assert not (tmp_path / "one" / "iteration-2").exists()

    model = trained(setting(tmp_path / "two", (0.5, 0.6, 0.4)))
    assert model == tmp_path / "two" / "iteration-1" / "model"
    kept = trained(setting(tmp_path / "alone", steps=1))
    assert (model / "model.safetensors").read_bytes() == (kept / "model.safetensors").read_bytes()


def test_a_learning_rate_that_ruins_the_model_is_rolled_back(tmp_path, setting, heard):
    """Nothing planted but the rate: real demonstrations, real answers. The original lost points and went on."""
    clips = Clips(heard)
    taught, lesson = setting(tmp_path / "sft").stage, sft.Algorithm(steps=60, prompts=5, learning_rate=0.02)
    sound = loop.train(replace(taught, algorithm=lesson), lambda step, row: None)
    taught.run.close()
    sound.save(tmp_path / "sound")
    asked = [clips[index] for index in range(clips.size)]

    def answer(listener: Listener, path: Path) -> tuple[Outcome, ...]:
        return evaluation.answer(LocalEngine(listener), listener, asked, Evaluate(max_tokens=40), 0)

    def compare(before, after) -> dict[str, Any]:
        was, now = (proportion(outcomes) for outcomes in (before, after))
        return {"before": was, "after": now, "difference": now["accuracy"] - was["accuracy"]}

    work = setting(tmp_path / "rest", rewards={"choice": 1.0}, correct="choice", max_tokens=40, learning_rate=5.0)
    stage = replace(work.stage, start=tmp_path / "sound")
    work = replace(work, stage=stage, heldout=rest.Heldout(answer=answer, compare=compare))
    assert trained(work) == tmp_path / "sound"
    heldout = manifest(tmp_path / "rest", 1)["heldout"]
    assert (heldout["before"]["accuracy"], heldout["after"]["accuracy"]) == (1.0, 0.0)


def test_a_fall_may_be_allowed_or_be_followed_by_another_iteration(tmp_path, setting, checkpoint):
    trained(setting(tmp_path / "allowed", (0.5, 0.4, 0.4), max_drop=0.11))
    assert [manifest(tmp_path / "allowed", number)["decision"] for number in (1, 2)] == ["kept", "kept"]

    model = trained(setting(tmp_path / "on", (0.5, 0.4, 0.6), after_drop="go_on"))
    first, second = manifest(tmp_path / "on", 1), manifest(tmp_path / "on", 2)
    assert (first["decision"], second["decision"]) == ("rolled back", "kept")
    assert first["policy"] == second["policy"] != second["trained"]
    assert model.parent.name == "iteration-2"


def test_weights_reach_the_weights_of_the_model(tmp_path, setting, monkeypatch):
    """A trainer that took every kept reply as equal would end with another model, and this test would see it."""
    weights = {"hard": 1.0, "middle": 0.1, "easy": 3.0, "solved": 1.0}
    zone = {"filter": "learning_zone", "weights": Weights(**weights), "steps": 1, "prompts": 5, "group": 4}
    weighted = trained(setting(tmp_path / "weighted", **zone))
    told = manifest(tmp_path / "weighted", 1)["kept"]
    assert len(told) > 1, "the test needs kept prompts in several bands"
    for name, of in told.items():
        assert of["weight"] == pytest.approx(weights[name] * of["replies"])
    real = Improvement.credits

    def forgetful(self, group: Group) -> list[Credit]:
        return [replace(credit, advantage=1.0) for credit in real(self, group)]

    monkeypatch.setattr(Improvement, "credits", forgetful)
    equal = trained(setting(tmp_path / "equal", **zone))
    assert (weighted / "model.safetensors").read_bytes() != (equal / "model.safetensors").read_bytes()


def test_replies_that_never_came_are_counted_as_failed_and_not_as_wrong(tmp_path, setting, monkeypatch):
    roll = LocalEngine.roll
    monkeypatch.setattr(LocalEngine, "roll", lambda self, *a: [group[1:] for group in roll(self, *a)])
    trained(setting(tmp_path / "run", steps=1, filter="all"))
    told = manifest(tmp_path / "run", 1)
    assert told["replies"]["failed"] == 4
    assert sum(told["replies"].values()) == 12


def rolled_out(folder: Path, number: int) -> list[tuple[str, list[str]]]:
    """Id and replies of each prompt that an iteration sampled, in order."""
    files = sorted((folder / f"iteration-{number}" / "rollouts").iterdir())
    rows = [row for path in files for row in read_jsonl(path).rows]
    return [(row["id"], [rollout["text"] for rollout in row["rollouts"]]) for row in rows]


def test_iterations_walk_on_through_the_samples(tmp_path, setting):
    trained(setting(tmp_path / "run", prompts=2))
    ids = [id for number in (1, 2) for id, _ in rolled_out(tmp_path / "run", number)]
    assert len(set(ids)) == len(ids) == 4


def test_the_same_policy_and_prompts_are_sampled_anew(tmp_path, setting):
    trained(setting(tmp_path / "run", (0.5, 0.4, 0.4), prompts=5, sample_batch=5, after_drop="go_on"))
    first, second = (dict(rolled_out(tmp_path / "run", number)) for number in (1, 2))
    assert manifest(tmp_path / "run", 1)["policy"] == manifest(tmp_path / "run", 2)["policy"]
    assert first.keys() == second.keys()
    assert all(first[id] != second[id] for id in first)


def test_a_sample_that_is_met_twice_has_one_group_with_all_its_replies(tmp_path, setting):
    """4 of 5 clips an iteration: from the second one on, an epoch ends within it."""
    trained(setting(tmp_path / "run", prompts=4, steps=3))
    twice = 0
    for number in (1, 2, 3):
        told, ids = manifest(tmp_path / "run", number), [id for id, _ in rolled_out(tmp_path / "run", number)]
        assert len(ids) == 4
        assert sum(told["prompts"].values()) == len(set(ids))
        assert sum(told["replies"].values()) == 12
        twice += len(set(ids)) < 4
    assert twice, "the test needs a clip that is met twice"


def test_it_never_takes_more_prompts_than_there_are(tmp_path, setting):
    trained(setting(tmp_path / "run", prompts=1000, steps=1))
    assert sum(manifest(tmp_path / "run", 1)["prompts"].values()) == 5


def test_nothing_right_is_an_error_that_says_what_was_sampled(tmp_path, setting):
    with pytest.raises(RunError, match=r"nothing to learn from 4 prompts \(.* unsolved.*begin with a model"):
        trained(setting(tmp_path / "run", threshold=2.0))


def test_a_later_iteration_without_anything_to_learn_ends_the_stage(tmp_path, setting, monkeypatch):
    real = Algorithm.credits
    second = []

    def solved(self, group: Group) -> list[Credit]:
        return [] if second else real(self, group)

    monkeypatch.setattr(Algorithm, "credits", solved)
    tell = lambda what, *said: second.append(1) if what == "run: iterations" else None  # noqa: E731
    model = trained(setting(tmp_path / "run", steps=3, tell=tell))
    assert model.parent.name == "iteration-1"
    assert manifest(tmp_path / "run", 2)["decision"] == "nothing to learn"
    assert not (tmp_path / "run" / "iteration-3").exists()


def test_training_that_leaves_the_policy_as_it_was_is_an_error(tmp_path, setting, monkeypatch, checkpoint):
    """The original's iterations never changed the policy, and nobody noticed."""

    def idle(work, number, start, run, *rest):
        shutil.copytree(start, run.path / "model")

    monkeypatch.setattr(rest, "_improve", idle)
    with pytest.raises(RunError, match="left the policy"):
        trained(setting(tmp_path / "run"))
