"""The rewards of this package, each on replies that a run's form has read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from auscult.core.forms import form as answer_form
from auscult.core.types import Rollout, Sample, Turn
from auscult.rewards.choice import choice
from auscult.rewards.exact import exact
from auscult.rewards.form import form
from auscult.rewards.number import number

PETS = ("cat", "dog", "cow")


def asked(*answers: str, choices: tuple[str, ...] = ()) -> Sample:
    return Sample("pets/1", (Turn("user", ("Which one?",)),), answers, choices)


def replied(sample: Sample, text: str, shape: str = "label") -> Rollout:
    parsed = answer_form(shape).parse(text, sample.choices)
    return Rollout((1,), (2, 3), (-0.1, -0.2), text, "end", "policy", parsed)


def graded(reward: Callable[..., float | None], sample: Sample, text: str, **options: object) -> float | None:
    return reward(sample, replied(sample, text), **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog", 1.0),
        ("B", 1.0),
        ("(B) dog", 1.0),
        ("The answer is a dog.", 1.0),
        ("cat", 0.0),
        ("A", 0.0),
        ("A dog", 1.0),
        ("B. cat", 0.0),
        ("cat, dog, cow", 0.0),
        ("(A) cat (B) dog (C) cow", 0.0),
        ("not a dog", 0.0),
        ("the dog or the cat", 0.0),
        ("", 0.0),
        ("B B B A", 0.0),
    ],
)
def test_choice(text: str, expected: float) -> None:
    assert graded(choice, asked("dog", choices=PETS), text) == expected


def test_choice_compares_each_sample_with_its_own_answers() -> None:
    assert graded(choice, asked("cow", "dog", choices=PETS), "dog") == 1.0
    assert graded(choice, asked("(B)", choices=PETS), "dog") == 1.0
    assert graded(choice, asked("dog", choices=("dog", "cat", "dog")), "C") == 1.0
    assert graded(choice, asked("Cm", choices=("Cm", "CM")), "CM") == 0.0
    assert graded(choice, asked("tone", choices=("tone", "low tone")), "low tone") == 0.0
    assert graded(choice, asked("From far to near", choices=("From far to near", "From near to far")), "B") == 0.0
    assert graded(choice, asked("dog"), "Dog.") == 1.0
    assert graded(choice, asked("dog"), "dogs") == 0.0


def test_choice_does_not_judge_what_nobody_knows() -> None:
    assert graded(choice, asked(choices=PETS), "dog") is None
    assert graded(choice, asked("horse", choices=PETS), "dog") is None
    assert graded(exact, asked(), "dog") is None
    assert graded(number, asked("many"), "5") is None


def test_exact() -> None:
    sample = asked("a dog barks", "barking dog")
    assert graded(exact, sample, "Barking dog.") == 1.0
    assert graded(exact, sample, "Answer: **A dog barks**") == 1.0
    assert graded(exact, sample, "a dog barks, barking dog") == 0.0
    assert graded(exact, sample, "a dog") == 0.0
    assert graded(exact, sample, "") == 0.0


@pytest.mark.parametrize(
    ("gold", "text", "expected"),
    [
        ("5", "5", 1.0),
        ("5", "5.0", 1.0),
        ("5", "5.", 1.0),
        ("5", "The answer is 5.", 1.0),
        ("5", r"\boxed{5}", 1.0),
        ("5", "+5", 1.0),
        ("-5", "\N{MINUS SIGN}5", 1.0),
        ("5", "-5", 0.0),
        ("1250", "1,250", 1.0),
        ("1250", "12,50", 0.0),
        ("0.001", "1e-3", 1.0),
        ("1,250 Hz", "1250 Hz", 1.0),
        ("1,250 Hz", "1250", 1.0),
        ("1,250 Hz", "1250 kHz", 0.0),
        ("3 mW", "3 MW", 0.0),
        ("40%", "40", 1.0),
        ("40", "40%", 0.0),
        ("2 m^2", "2 m²", 1.0),
        ("5", "5 6", 0.0),
        ("5", "5, 6", 0.0),
        ("5", "5-6", 0.0),
        ("5", "5 or 6", 0.0),
        ("5", "4 5", 0.0),
        ("5", "five", 0.0),
        ("5", "5/2", 0.0),
        ("5", "10:30", 0.0),
        ("102", "10²", 0.0),
        ("5", "", 0.0),
        ("5", "1e999999999", 0.0),
        ("5", "9" * 10_000, 0.0),
        ("5", "nan", 0.0),
    ],
)
def test_number(gold: str, text: str, expected: float) -> None:
    assert graded(number, asked(gold), text) == expected


def test_number_with_options() -> None:
    assert graded(number, asked("0.6"), "0.8", tolerance=0.2) == 1.0
    assert graded(number, asked("0.6"), "0.81", tolerance=0.2) == 0.0
    assert graded(number, asked("200"), "220", relative=0.1) == 1.0
    assert graded(number, asked("200"), "221", relative=0.1) == 0.0
    assert graded(number, asked("5"), "5 s", units=["s", "seconds"]) == 1.0
    assert graded(number, asked("5"), "5 m", units=["s", "seconds"]) == 0.0
    assert graded(number, asked("5", "7"), "7") == 1.0


def test_form() -> None:
    sample = asked("dog", choices=PETS)
    assert form(sample, replied(sample, "<think>x</think><answer>cat</answer>", "think")) == 1.0
    assert form(sample, replied(sample, "<answer>dog</answer>", "think")) == 0.0
    assert form(sample, replied(sample, "<think>x</think><answer></answer>", "think")) == 0.0
