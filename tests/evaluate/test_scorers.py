"""Each rule on the cases that tell it from its neighbours, and from the defects that are easiest to make."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.core import forms
from auscult.core.errors import ConfigError, DataError
from auscult.core.types import Sample, Turn
from auscult.evaluate import scoring
from auscult.evaluate.scorers import choice as ours
from auscult.evaluate.scorers.string_match import string_match
from auscult.evaluate.verdict import Verdict
from auscult.rewards.choice import choice as reward


def item(*choices: str, answer: str | None = None) -> Sample:
    """A question; the first choice is right unless `answer` says otherwise."""
    gold = choices[0] if answer is None else answer
    return Sample("q", (Turn("user", ("What?",)),), (gold,), choices)


ANIMALS = item("dog", "a cat", "the dog and cat", "cow")


def published(prediction: str, answer: str, choices: list[str]) -> bool:
    """MMAU's rule as its README and script state it, a second time."""
    word = "".join(c if c.isalnum() or c == "_" else " " for c in prediction.lower()).split()
    bag = lambda text: {*"".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split()}  # noqa: E731
    right = bag(answer)
    wrong = {token for option in choices if bag(option) != right for token in bag(option) if token not in right}
    return bool(word) and all(token in word for token in right) and not any(token in wrong for token in word)


TEXT = st.lists(st.sampled_from(["dog", "Cat", "the", "A", "is", "1-2", "it's", ".", "from", "near", "to_far"])).map(
    " ".join
)


@given(TEXT, st.lists(TEXT.filter(bool), min_size=1, max_size=5), st.data())
def test_string_match_is_the_published_rule(reply: str, choices: list[str], data: st.DataObject):
    answer = data.draw(st.sampled_from(choices))
    assert string_match(reply, item(*choices, answer=answer)).correct == published(reply, answer, choices)


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("dog", True),
        ("It is a DOG!", False),  # "a" stands in "a cat": the union over the other options
        ("It is one dog", True),
        ("the dog", False),
        ("dogs", False),  # tokens, not substrings
        ("", False),
        ("?!", False),
        ("cow dog", False),
    ],
)
def test_string_match_by_hand(reply: str, right: bool):
    assert string_match(reply, ANIMALS).correct is right


def test_the_union_is_over_the_other_options_only():
    assert string_match("From near to far", item("From far to near", "From near to far")).correct  # the known hole
    assert not string_match("", item("-", "dog")).correct, "an empty prediction is wrong even for an answer of no token"
    assert string_match("dog", item("dog", "dog", "cow")).correct, "a repeated option takes nothing away"


def test_what_string_match_read():
    assert string_match("cow", ANIMALS).parsed.answer == "cow"
    assert string_match("mouse", ANIMALS).parsed.problem == "not_a_choice"
    assert string_match("mouse", item("dog", " ")).parsed.problem == "not_a_choice", "an empty option is never read"
    assert string_match(" ", ANIMALS).parsed.problem == "empty"
    assert string_match("x y", item("z", "x y", "y x")).parsed.problem == "several_answers"


@pytest.mark.parametrize(
    ("rule", "reply", "read"),
    [
        ("exact", " **Dog.** ", "Dog"),
        ("exact", "the answer is: dog", "dog"),
        ("exact", "<think>cow</think>dog", "dog"),
        ("letter", "A", "dog"),
        ("letter", " (B) ", "a cat"),
        ("letter", "D.", "cow"),
        ("letter", "b", None),
        ("letter", "A. dog", None),
        ("letter", "E", None),
        ("letter", "a dog", None),
        ("choice", "<think>B or D?</think><answer>D</answer>", "cow"),
        ("choice", "<answer>B</answer> no: <answer>A</answer>", "dog"),
        ("choice", "<start_working_out>x<end_working_out><SOLUTION>D - cow</SOLUTION>", "cow"),
        ("choice", "It barks.\nANSWER: dog", "dog"),
        ("choice", "(B) a cat", "a cat"),
        ("choice", "<think>dog", None),
        ("choice", "dog or cow", None),
        ("choice", "<answer>mouse</answer>\nANSWER: dog", None),  # what is tagged is the answer, readable or not
        ("choice", "A, B, C, D", None),
        ("vlmeval", "The answer must be C", "the dog and cat"),
        ("vlmeval", "must be C I am sure", "the dog and cat"),
        ("vlmeval", "dog and cow", None),
        ("vlmeval", "Z dog", None),
        ("vlmeval", "B, because it meows and purrs", None),  # the letter stands too early, no option's text in it
        ("vlmeval", "I think the answer is **b**, because of the loud barking in it", "a cat"),
        ("vlmeval", "surely the answer is a cow", "dog"),  # its known quirk
        ("vlmeval", "a cow moos", "cow"),
        ("vlmeval", "A or B", None),
        ("vlmeval", "Cannot determine the answer: A", None),
        ("vlmeval", "Z", None),
        ("vlmeval", "cow " * 20, None),  # more than twice as long as the options
        ("voicebench_mcq", "I would choose d", "cow"),
        ("voicebench_mcq", "B", "a cat"),
        ("voicebench_mcq", "<2> b", "a cat"),
        ("voicebench_mcq", "b) a cat", "a cat"),
        ("voicebench_mcq", "<2> C: both", "the dog and cat"),
        ("voicebench_mcq", "the answer is (b), not (a)", "a cat"),  # "is (~)" comes before "(~)"
        ("voicebench_mcq", "答案是c", "the dog and cat"),
        ("voicebench_mcq", "is: \n\n**d**", "cow"),
        ("voicebench_mcq", "cow", None),
    ],
)
def test_what_a_rule_reads(rule: str, reply: str, read: str | None):
    verdict = scoring.scorer(rule)(reply, ANIMALS)
    assert verdict.parsed.answer == read
    assert verdict.correct is (read is not None and read.casefold() == "dog")
    assert (verdict.parsed.problem is None) is (read is not None)


@pytest.mark.parametrize("rule", sorted({*scoring.SCORERS.names()} - {"ifeval"}))  # that has questions of its own
@given(reply=st.text(max_size=60))
def test_a_rule_says_the_same_twice_and_never_rewards_nothing(rule: str, reply: str):
    score: Callable[[str, Sample], Verdict] = scoring.scorer(rule)
    verdict = score(reply, ANIMALS)
    assert verdict == score(reply, ANIMALS)
    assert (verdict.parsed.answer is None) is (verdict.parsed.problem is not None)
    assert verdict.parsed.answer is not None or not verdict.correct
    assert not score("", ANIMALS).correct


def test_no_rule_draws():
    for name in scoring.SCORERS.names():
        source = Path(scoring.loaded(f"{scoring.SCORERS.package}.{name}").__file__ or "").read_text(encoding="utf-8")
        named = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(ast.parse(source))}
        assert not named & {"random", "rng", "shuffle", "default_rng", "get_close_matches", "difflib"}, name


def test_our_rule_is_the_reward_and_the_forms():
    assert ours.reward.choice is reward
    assert ours.form is forms.form


@pytest.mark.parametrize("rule", ["letter", "vlmeval", "voicebench_mcq"])
def test_rules_of_letters_refuse_an_open_question(rule: str):
    with pytest.raises(DataError, match="no options"):
        scoring.scorer(rule)("dog", item(answer="dog"))


def test_an_unknown_rule_is_named():
    with pytest.raises(ConfigError, match="did you mean 'string_match'"):
        scoring.scorer("string_matches")
