"""Rubrics: names become functions, weights count once, scores belong to their rollouts, figures tell what teaches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import AuscultError, ConfigError
from auscult.core.forms import form
from auscult.core.types import Group, Rollout, Sample, Score, Turn
from auscult.rewards.imported import RewardError
from auscult.rewards.rubric import Part, Rubric, available, statistics

PETS = ("cat", "dog", "cow")
SAMPLE = Sample("pets/1", (Turn("user", ("Which one?",)),), ("dog",), PETS, tags={"task": "pets"})


def replied(text: str, sample: Sample = SAMPLE) -> Rollout:
    return Rollout((1,), (2, 3), None, text, "end", "policy", form("think").parse(text, sample.choices))


def answered(*answers: str) -> tuple[Rollout, ...]:
    return tuple(replied(f"<think>x</think><answer>{answer}</answer>") for answer in answers)


def one(values: Sequence[float | None], name: str = "length", weight: float = 1.0) -> Rubric:
    """A rubric of one part with given values."""
    return Rubric((Part(name, weight, lambda sample, rollouts: list(values)),))


HERE = str(Path(__file__).parent / "user_rewards.py")


def test_every_file_with_a_function_of_its_name_is_a_reward() -> None:
    assert {"choice", "exact", "number", "form"} <= set(available())
    assert {"rubric", "imported", "__init__"}.isdisjoint(available())


def test_weights_are_applied_once() -> None:
    rubric = Rubric.from_config({"choice": 3.0, "form": {"weight": 0.5}})
    right, wrong, stray = rubric.score(SAMPLE, (*answered("dog", "cat"), replied("<answer>dog</answer>")))
    assert right == Score({"choice": 1.0, "form": 1.0}, 3.5)
    assert wrong == Score({"choice": 0.0, "form": 1.0}, 0.5)
    assert stray == Score({"choice": 1.0, "form": 0.0}, 3.0)


def test_an_ungraded_part_makes_the_total_ungraded() -> None:
    rubric = Rubric.from_config({"choice": 0.0, "form": 1.0})
    unknown = Sample("pets/2", SAMPLE.turns, (), PETS)
    assert rubric.score(unknown, answered("dog")) == (Score({"choice": None, "form": 1.0}, None),)


def test_options_reach_the_function() -> None:
    rubric = Rubric.from_config({"number": {"weight": 1, "kwargs": {"tolerance": 2}}})
    sample = Sample("n", SAMPLE.turns, ("5",))
    replies = tuple(replied(f"<think></think><answer>{value}</answer>", sample) for value in (5, 7, 8))
    assert [score.total for score in rubric.score(sample, replies)] == [1.0, 1.0, 0.0]


@given(st.permutations(("dog", "cat", "cow", "B", "A, B", "")))
@settings(deadline=None)
def test_scores_belong_to_their_rollouts(answers: list[str]) -> None:
    rubric = Rubric.from_config({"choice": 1.0, "long": {"weight": 0.1, "function": f"{HERE}:longer"}})
    rollouts = answered(*answers)
    scores = rubric.score(SAMPLE, rollouts)
    assert [score.parts["choice"] for score in scores] == [float(answer in ("dog", "B")) for answer in answers]
    assert [score.parts["long"] for score in scores] == [float(len(rollout.text)) for rollout in rollouts]


def test_scores_rotated_by_one_are_noticed() -> None:
    def belong(scores: Sequence[Score], rollouts: Sequence[Rollout]) -> bool:
        return all(
            score.parts["choice"] == float(rollout.parsed.answer == "dog")
            for score, rollout in zip(scores, rollouts, strict=True)
        )

    rollouts = answered("dog", "cat", "cow")
    scores = Rubric.from_config({"choice": 1.0}).score(SAMPLE, rollouts)
    assert belong(scores, rollouts)
    assert not belong(scores[1:] + scores[:1], rollouts)


def test_a_function_by_import_path_and_by_file() -> None:
    rollouts = answered("dog", "cat")
    lengths = [float(len(rollout.text)) for rollout in rollouts]
    by_file = Rubric.from_config({f"{HERE}:longer": 1.0})
    assert [score.parts for score in by_file.score(SAMPLE, rollouts)] == [{"longer": length} for length in lengths]
    named = Rubric.from_config({"long": {"weight": 1, "function": f"{HERE}:longer", "kwargs": {"scale": 2}}})
    assert [score.parts["long"] for score in named.score(SAMPLE, rollouts)] == [2 * length for length in lengths]
    by_module = Rubric.from_config({"auscult.rewards.choice:choice": 1.0})
    assert [score.total for score in by_module.score(SAMPLE, rollouts)] == [1.0, 0.0]


def test_a_relative_file_and_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "calls = []\n"
        "def first(sample, rollout):\n    calls.append(1)\n    return 0.0\n"
        "def second(sample, rollout):\n    return float(len(calls))\n"
    )
    monkeypatch.chdir(tmp_path)
    rubric = Rubric.from_config({"./mine.py:first": 1.0, "./mine.py:second": 1.0})
    assert rubric.score(SAMPLE, answered("dog", "cat"))[0].parts == {"first": 0.0, "second": 2.0}


def test_a_function_with_trls_signature_sees_a_group_at_once() -> None:
    rollouts = answered("dog", "cat", "B. dog")
    scores = Rubric.from_config({f"{HERE}:echo": 1.0}).score(SAMPLE, rollouts)
    assert [score.total for score in scores] == [len(rollouts[0].text), None, len(rollouts[2].text)]
    rubric = Rubric.from_config({"narrow": {"weight": 1, "function": f"{HERE}:narrow", "kwargs": {"factor": 2.0}}})
    assert [score.total for score in rubric.score(SAMPLE, rollouts)] == [2 * len(reply.text) for reply in rollouts]


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ({"choise": 1.0}, "did you mean 'choice'"),
        ({"zzzz": 1.0}, "there are balance"),
        ({"rubric": 1.0}, "there is no reward 'rubric'"),
        ({}, "at least one reward"),
        ({"choice": "1"}, "give it a number"),
        ({"choice": True}, "give it a number"),
        ({"choice": float("nan")}, "finite"),
        ({"choice": {}}, "has the weight None"),
        ({"choice": {"wieght": 1.0}}, "did you mean 'weight'"),
        ({"choice": {"weight": 1.0, "kwargs": {"x": 1}}}, "no option 'x'"),
        ({"choice": {"weight": 1.0, "kwargs": [1]}}, "mapping"),
        ({"number": {"weight": 1.0, "kwargs": {"tolerence": 1}}}, "did you mean 'tolerance'"),
        ({"total": {"weight": 1.0, "function": "choice"}}, "is taken"),
        ({"choice": 1.0, "auscult.rewards.choice:choice": 1.0}, "is taken"),
        ({"no_such_package.x:f": 1.0}, "cannot be imported"),
        ({"auscult.rewards.choice:choise": 1.0}, "did you mean 'choice'"),
        ({"./no_such.py:f": 1.0}, "there is no file"),
        ({":f": 1.0}, "is no import path"),
        ({f"{HERE}:later": 1.0}, "async"),
        ({f"{HERE}:alone": 1.0}, "cannot be called as"),
        ({f"{HERE}:wants_more": 1.0}, "wants the column 'transcript'"),
        ({f"{HERE}:narrow": 1.0}, "wants the column 'factor'"),
        ({f"{HERE}:NO_FUNCTION": 1.0}, "has no function 'NO_FUNCTION'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(rewards: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rubric.from_config(rewards)  # pyright: ignore[reportArgumentType]


def test_a_file_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=r"broken\.py failed to load: ZeroDivisionError"):
        Rubric.from_config({f"{tmp_path}/broken.py:f": 1.0})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"broken cannot be imported \(ZeroDivisionError"):
        Rubric.from_config({"broken:f": 1.0})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"function": f"{HERE}:breaks"}, "KeyError: 'gold'"),
        ({"function": f"{HERE}:breaks_all"}, "ValueError: no judge"),
        *(
            ({"function": f"{HERE}:fault", "kwargs": {"kind": kind}}, "finite number")
            for kind in ("nan", "infinite", "text", "listed")
        ),
        ({"function": f"{HERE}:short"}, "2 completions .* returned 1 values"),
        ({"function": f"{HERE}:scalar"}, "returned a float; make it return a list with one number or None per"),
        ({"function": f"{HERE}:mixed"}, "finite number"),
    ],
)
def test_a_function_that_fails_is_named_with_its_sample(entry: dict[str, object], message: str) -> None:
    rubric = Rubric.from_config({"mine": {"weight": 1.0, **entry}})
    with pytest.raises(RewardError, match="reward 'mine'") as caught:
        rubric.score(SAMPLE, answered("dog", "cat"))
    assert "'pets/1'" in str(caught.value)
    assert caught.match(message)
    assert isinstance(caught.value, AuscultError)


def test_a_part_with_too_few_values_is_refused() -> None:
    with pytest.raises(RewardError, match="gave 1 values for the 2 rollouts"):
        one([1.0]).score(SAMPLE, answered("dog", "cat"))


def scored(*groups: Sequence[float | None], name: str = "length") -> list[Group]:
    made: list[Group] = []
    for values in groups:
        rollouts = answered(*itertools.repeat("dog", len(values)))
        made.append(Group(SAMPLE, rollouts, one(values, name, weight=2.0).score(SAMPLE, rollouts)))
    return made


def test_statistics() -> None:
    figures = statistics(scored([0.0, 1.0], [1.0, 1.0], [0.5, None], [None, None]))
    assert figures == {
        "reward/length/mean": pytest.approx(0.7),
        "reward/length/std": pytest.approx(0.4),
        "reward/length/ungraded": 3.0,
        "reward/length/flat_groups": 0.75,
        "reward/total/mean": pytest.approx(1.4),
        "reward/total/std": pytest.approx(0.8),
        "reward/total/ungraded": 3.0,
        "reward/total/flat_groups": 0.75,
        "reward/ungraded": 3.0,
    }


def test_a_constant_part_is_reported_as_teaching_nothing() -> None:
    rubric = Rubric.from_config({"choice": 1.0, "form": 0.1})
    groups = [Group(SAMPLE, rollouts, rubric.score(SAMPLE, rollouts)) for rollouts in [answered("dog", "cat")] * 3]
    figures = statistics(groups)
    assert figures["reward/form/flat_groups"] == 1.0
    assert figures["reward/choice/flat_groups"] == 0.0
    assert figures["reward/total/flat_groups"] == 0.0


def test_flatness_is_within_groups_not_between_them() -> None:
    figures = statistics(scored([0.0, 0.0], [1.0, 1.0]))
    assert figures["reward/length/std"] == 0.5
    assert figures["reward/length/flat_groups"] == 1.0


def test_statistics_without_grades_have_no_mean() -> None:
    figures = statistics(scored([None, None]))
    assert figures["reward/ungraded"] == 2.0
    assert "reward/length/mean" not in figures
    assert statistics([Group(SAMPLE, answered("dog"), ())]) == {}
