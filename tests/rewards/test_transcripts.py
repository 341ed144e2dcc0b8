"""Error rates of transcripts: edits against a plain table, corpus rates against their definition, WER and CER as
rewards."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.core.errors import ConfigError
from auscult.core.forms import form
from auscult.core.types import Rollout, Sample, Turn
from auscult.rewards.cer import cer
from auscult.rewards.transcripts import ErrorRate, edits, error_rate
from auscult.rewards.wer import wer

SAID = "Ask not what your country can do for you"


def said(text: str, *golds: str) -> tuple[Sample, Rollout]:
    sample = Sample("jfk", (Turn("user", ("What is said?",)),), golds)
    return sample, Rollout((1,), (2,), None, text, "end", "policy", form("label").parse(text))


def by_table(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein's table, row by row."""
    row = list(range(len(hypothesis) + 1))
    for i, one in enumerate(reference, start=1):
        above, row = row, [i]
        for j, other in enumerate(hypothesis, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (one != other)))
    return row[-1]


@given(st.text("abc", max_size=12), st.text("abcd", max_size=12))
def test_edits_are_those_of_the_table(reference: str, hypothesis: str) -> None:
    assert edits(reference, hypothesis) == by_table(reference, hypothesis)


@given(st.text("abc", min_size=60, max_size=70), st.text("abc", min_size=60, max_size=70))
def test_edits_have_no_direction_and_do_not_end_with_a_machine_word(one: str, other: str) -> None:
    assert edits(one, other) == edits(other, one) == by_table(one, other)


@pytest.mark.parametrize(
    ("text", "golds", "expected"),
    [
        (SAID, (SAID,), 1.0),
        ("ask not, what your COUNTRY can do for you!", (SAID,), 1.0),
        ("ask not what your country can do", (SAID,), 7 / 9),
        ("ask not what your country can do for you too", (SAID,), 8 / 9),
        ("ask what not your country can do for you", (SAID,), 7 / 9),
        ("nothing of it", (SAID,), 0.0),
        (SAID * 40, (SAID,), 0.0),
        ("", (SAID,), 0.0),
        ("don’t", ("don't",), 1.0),
        ("dont", ("don't",), 0.0),
        ("two", ("one two", "two"), 1.0),
        ("two", ("...", ""), None),
        ("two", (), None),
    ],
)
def test_wer(text: str, golds: tuple[str, ...], expected: float | None) -> None:
    assert wer(*said(text, *golds)) == (None if expected is None else pytest.approx(expected))


def test_cer_counts_characters_and_spaces() -> None:
    assert cer(*said("a dog", "a dig")) == pytest.approx(0.8)
    assert cer(*said("adog", "a dog")) == pytest.approx(0.8)
    assert cer(*said("猫が鳴く", "犬が鳴く")) == pytest.approx(0.75)
    assert cer(*said("x" * 30, "a dog")) == 0.0


def test_the_normaliser_has_a_name() -> None:
    pair = said("Ask not", "ask not!")
    assert wer(*pair) == wer(*pair, normaliser="plain") == 1.0
    assert wer(*pair, normaliser="raw") == 0.0
    assert wer(*said("Ｄｏｇ  barks", "dog barks")) == 1.0
    with pytest.raises(ConfigError, match="choose one of raw, plain"):
        wer(*pair, normaliser="whisper")


def test_a_corpus_rate_is_all_edits_over_all_words() -> None:
    pairs = [
        ("one two three four five six seven eight nine", "one two three four five six seven eight"),
        ("ten", "hen"),
    ]
    found = error_rate(pairs, "word")
    assert found == ErrorRate(edits=2, length=10)
    assert found.rate == 0.2  # the mean of the rates is 0.56
    assert error_rate([("one", "one two three four"), ("", "five")], "word").rate == 4.0
    assert error_rate([("ab c", "abc")], "character") == ErrorRate(1, 4)
    assert error_rate([("", "one")], "word").rate is None
    assert error_rate([], "word").rate is None


def test_a_reply_that_never_ends_is_graded_at_once() -> None:
    began = time.process_time()
    assert wer(*said("ask " * 200_000, SAID)) == 0.0
    assert edits("ab" * 2000, "ba" * 2000) == 2
    assert time.process_time() - began < 5
