"""Rewards that shape a reply: each pays for what it says, and for nothing less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.core.errors import ConfigError
from auscult.core.forms import form as answer_form
from auscult.core.types import Rollout, Sample, Turn
from auscult.rewards.balance import balance
from auscult.rewards.brevity import brevity
from auscult.rewards.decisive import decisive
from auscult.rewards.evidence import evidence
from auscult.rewards.repetition import repetition
from auscult.rewards.rubric import Rubric, available, flat_parts
from auscult.rewards.thinking import thinking
from auscult.rewards.token_f1 import token_f1

PETS = ("cat", "dog", "cow")
PET = Sample("pets/1", (Turn("user", ("Which one?",)),), ("dog",), PETS)
REPORT = {
    "Findings": "Left basal opacity with small pleural effusion. Heart size normal.",
    "Impression": "Pneumonia in the left lower lobe.",
    "why": "Opacity in the left lower lobe suggests pneumonia",
}
CHEST = Sample(
    "cxr/1",
    (Turn("user", ("What does the chest film show? Indication: fever, heart failure.",)),),
    ("pneumonia",),
    ("no finding", "pneumonia", "fracture"),
    tags=REPORT,
)


def replied(sample: Sample, text: str, shape: str = "think") -> Rollout:
    parsed = answer_form(shape).parse(text, sample.choices)
    return Rollout((1,), (2, 3), None, text, "end", "policy", parsed)


def thought(sample: Sample, text: str, answer: str) -> Rollout:
    return replied(sample, f"<think>{text}</think><answer>{answer}</answer>")


def graded(reward: Callable[..., float | None], sample: Sample, text: str, **options: object) -> float | None:
    return reward(sample, replied(sample, text, "label"), **options)


def test_all_of_them_are_found_by_name() -> None:
    shipped = {"balance", "brevity", "cer", "decisive", "evidence", "repetition", "thinking", "token_f1", "wer"}
    assert shipped <= set(available())
    assert {"audit", "transcripts", "words"}.isdisjoint(available())


# -- thinking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [(0, 0.0), (1, 0.0), (10, 0.0), (11, 0.1), (15, 0.5), (20, 1.0), (25, 1.0), (26, 0.4), (29, 0.1), (30, 0.0)],
)
def test_thinking_is_paid_around_its_target(words: int, expected: float) -> None:
    assert thinking(PET, thought(PET, "well " * words, "dog")) == pytest.approx(expected)


def test_thinking_is_paid_only_with_a_right_answer_and_never_when_it_is_empty() -> None:
    assert thinking(PET, thought(PET, "well " * 25, "cat")) == 0.0
    assert thinking(PET, replied(PET, f"<think>{'well ' * 25}")) == 0.0
    for blank in ("", " \n" * 500, "... - - ... " * 25):
        assert thinking(PET, thought(PET, blank, "dog"), target=1) == 0.0
    assert thinking(PET, replied(PET, "<answer>dog</answer>"), target=5, delta=1.0) == 0.0
    assert thinking(Sample("x", PET.turns, (), PETS), thought(PET, "well", "dog")) is None


def test_thinking_refuses_options_that_mean_nothing() -> None:
    for options in ({"target": 0}, {"alpha": 0.0}, {"delta": -0.1}):
        rubric = Rubric.from_config({"thinking": {"weight": 1.0, "kwargs": options}})
        with pytest.raises(ConfigError, match="set target >= 1"):
            rubric.score(PET, (thought(PET, "x", "dog"),))


# -- repetition, brevity, decisive -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0.0),
        ("one two", 0.0),
        ("one two three four", 0.0),
        ("one two three one two three", -0.25),
        ("so " * 12, -0.9),
        ("So, so. SO! so", -0.5),
        ("<answer>dog</answer>" * 5, -2 / 3),
        ("狗狗狗狗", -0.5),
    ],
)
def test_repetition(text: str, expected: float) -> None:
    assert graded(repetition, PET, text) == pytest.approx(expected)


@given(st.text(max_size=80), st.integers(1, 5))
def test_repetition_is_a_share_and_saying_all_twice_never_repeats_less(text: str, size: int) -> None:
    once = graded(repetition, PET, text, size=size)
    twice = graded(repetition, PET, f"{text} {text}", size=size)
    assert once is not None
    assert twice is not None
    assert -1 < twice <= once <= 0


def test_repetition_wants_a_size() -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        graded(repetition, PET, "x", size=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("dog", 1.0), ("cat", 1.0), ("dog" + " " * 500, 1.0), ("B - " + "it barks " * 50, 0.0), ("A B", 0.0), ("", 0.0)],
)
def test_brevity_is_paid_for_a_readable_answer_only(text: str, expected: float) -> None:
    assert graded(brevity, PET, text) == expected
    assert graded(brevity, PET, text, limit=2) == 0.0


def test_a_decisive_reply_has_one_answer() -> None:
    texts = ("dog", "cat", "B", "dog or cat", "maybe a horse", "")
    assert [graded(decisive, PET, text) for text in texts] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


# -- balance ---------------------------------------------------------------------------------------------------------


def test_balance_pays_every_constant_answer_the_same() -> None:
    shares = {"cat": 70, "dog": 20, "cow": 10}
    golds = [Sample(f"{pet}/{i}", PET.turns, (pet,), PETS) for pet, count in shares.items() for i in range(count)]
    paid = [sum(graded(balance, gold, answer, shares=shares) or 0.0 for gold in golds) for answer in PETS]
    assert paid == pytest.approx([10.0, 10.0, 10.0])
    assert graded(balance, PET, "A", shares=shares) == 0.0
    assert graded(balance, PET, "The answer is a dog.", shares=shares) == 0.5


def test_balance_refuses_shares_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="no share of 'dog'"):
        graded(balance, PET, "dog", shares={"cat": 1})
    with pytest.raises(ConfigError, match="above 0"):
        graded(balance, PET, "dog", shares={"cat": 1, "dog": 0})
    assert graded(balance, Sample("x", PET.turns, (), PETS), "dog", shares={"cat": 1}) is None


# -- evidence and F1 -------------------------------------------------------------------------------------------------

SOURCE = ["Findings", "Impression"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("left basal opacity", 1.0),
        ("opacity", 1 / 3),
        ("Opacity, opacity: OPACITY", 1 / 3),
        ("left basal opacity effusion lobe", 1.0),
        ("mediastinal shift nodule left basal opacity", 0.5),
        (
            "What does the chest film show? Indication: fever, heart failure.",
            0.0,
        ),  # the prompt, whose heart is evidence
        ("pneumonia in the and with", 0.0),  # an option, and words that say nothing
        ("", 0.0),
    ],
)
def test_evidence_is_what_the_prompt_did_not_show(text: str, expected: float) -> None:
    assert evidence(CHEST, thought(CHEST, text, "pneumonia"), source=SOURCE) == pytest.approx(expected)


def test_evidence_needs_an_answer_and_a_source() -> None:
    assert evidence(CHEST, thought(CHEST, "left basal opacity", "A, B"), source=SOURCE) == 0.0
    assert evidence(CHEST, thought(CHEST, "left basal opacity", "B"), source=["Report"]) is None
    assert evidence(CHEST, thought(CHEST, "basal opacity effusion", "B"), source="Findings") == 1.0
    shown = Sample("x", (Turn("user", tuple(REPORT.values())),), ("pneumonia",), CHEST.choices, tags=REPORT)
    assert evidence(shown, thought(shown, "left basal opacity", "B"), source=SOURCE) is None
    with pytest.raises(ConfigError, match="1 or more"):
        evidence(CHEST, thought(CHEST, "x", "B"), source=SOURCE, enough=0)


@pytest.mark.parametrize(
    ("gold", "text", "expected"),
    [
        ("a dog barks", "A dog barks.", 1.0),
        ("a dog barks", "the dog", 2 / 3),
        ("dog", "dog dog dog", 0.5),
        ("dog", "cat", 0.0),
        ("dog", "", 0.0),
        ("the", "the", None),
        ("", "dog", None),
    ],
)
def test_token_f1(gold: str, text: str, expected: float | None) -> None:
    sample = Sample("open", PET.turns, (gold,))
    assert graded(token_f1, sample, text) == (None if expected is None else pytest.approx(expected))


def test_token_f1_takes_the_best_gold_and_no_list_of_options() -> None:
    assert graded(token_f1, Sample("open", PET.turns, ("a cat", "a dog barks")), "dog barks") == 1.0
    assert graded(token_f1, PET, "cat, dog, cow") == 0.0


def test_token_f1_with_an_explanation_reads_what_is_outside_of_the_thinking() -> None:
    text = "<start_working_out>left lower lobe<end_working_out><SOLUTION>B - opacity in the left lower lobe</SOLUTION>"
    said = token_f1(CHEST, replied(CHEST, text, "solution"), explanation="why")
    assert said == pytest.approx(2 * 5 / (6 + 7))
    hidden = text.replace("opacity in the left lower lobe", "it is")
    assert token_f1(CHEST, replied(CHEST, hidden, "solution"), explanation="why") == 0.0
    assert token_f1(CHEST, replied(CHEST, text, "solution"), explanation="reason") is None


# -- parts that teach nothing ----------------------------------------------------------------------------------------


def test_parts_that_never_differed_within_a_group_are_named() -> None:
    rows = [
        {"step": 0, "reward/choice/flat_groups": 0.5, "reward/form/flat_groups": 1.0, "reward/total/flat_groups": 1.0},
        {"step": 1, "reward/choice/flat_groups": 1.0, "reward/form/flat_groups": 1.0, "reward/total/flat_groups": 1.0},
        {"step": 2, "loss": 0.1},
    ]
    assert flat_parts(rows) == ["form"]
    assert flat_parts(rows[2:]) == []


def test_the_shaping_rewards_take_their_options_from_a_recipe() -> None:
    rubric = Rubric.from_config(
        {
            "choice": 1.0,
            "thinking": {"weight": 0.5, "kwargs": {"target": 2}},
            "evidence": {"weight": 0.2, "kwargs": {"source": SOURCE}},
            "token_f1": {"weight": 0.6, "kwargs": {"explanation": "why"}},
            "confidence": {"weight": 1.0, "function": "decisive"},
        }
    )
    score = rubric.score(CHEST, (thought(CHEST, "basal opacity", "B"),))[0]
    assert score.parts == {
        "choice": 1.0,
        "thinking": 1.0,
        "evidence": pytest.approx(2 / 3),
        "token_f1": 0.0,
        "confidence": 1.0,
    }
