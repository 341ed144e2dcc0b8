"""BLEU, ROUGE-L and CIDEr-D: equal to the official pipeline, and rewards that cannot be had cheaply."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import ConfigError
from auscult.core.types import Parsed, Rollout, Sample, Turn
from auscult.rewards.captioning import cider as captioning_cider
from auscult.rewards.captioning.bleu import Matches, References
from auscult.rewards.captioning.cider import Vector, cider_d
from auscult.rewards.captioning.frequencies import Frequencies, read_frequencies
from auscult.rewards.captioning.rouge import Reference, rouge_l
from auscult.rewards.captioning.tokens import tokenize
from auscult.rewards.rubric import Rubric

WORDS = ("a", "dog", "barks", "while", "rain", "falls", "man", "speaks", "then", "bird", "sings", "engine")
Caption = list[str]
captions = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14)
CORPUS = Frequencies.of(
    [
        [tokenize(text)]
        for text in ("a dog barks", "a dog barks while rain falls", "a man speaks", "rain falls", "a bird")
    ]
)


def cider(candidate: Sequence[str], references: Sequence[Sequence[str]], corpus: Frequencies = CORPUS) -> float:
    return cider_d(Vector.of(candidate, corpus), [Vector.of(one, corpus) for one in references])


def rouge(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    return rouge_l(candidate, [Reference.of(one) for one in references])


def bleu(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, ...]:
    return Matches.of(candidate, References.of(references)).bleu()


@given(captions, st.lists(captions, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_the_references_does_not_matter(candidate: Caption, references: list[Caption], random) -> None:
    shuffled = references.copy()
    random.shuffle(shuffled)
    assert bleu(candidate, shuffled) == bleu(candidate, references)
    assert rouge(candidate, shuffled) == rouge(candidate, references)
    assert cider(candidate, shuffled) == pytest.approx(cider(candidate, references), abs=1e-12)


@given(captions, captions)
def test_nothing_scores_higher_than_the_reference_itself(candidate: Caption, reference: Caption) -> None:
    best = bleu(reference, [reference])
    assert best[0] == pytest.approx(1.0)
    assert all(score <= top + 1e-9 for score, top in zip(bleu(candidate, [reference]), best, strict=True))
    assert rouge(reference, [reference]) == pytest.approx(1.0)
    assert rouge(candidate, [reference]) <= 1.0 + 1e-12
    assert cider(candidate, [reference]) <= cider(reference, [reference]) + 1e-9 <= 10.0 + 2e-9


@given(captions, captions)
def test_the_longest_common_subsequence_is_the_one_of_the_table(one: Caption, other: Caption) -> None:
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, left in enumerate(one, 1):
        for j, right in enumerate(other, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if left == right else max(table[i - 1][j], table[i][j - 1])
    assert Reference.of(other).common(one) == table[-1][-1]


@given(captions, st.lists(captions, min_size=1, max_size=5))
def test_cider_d_is_its_formula(candidate: Caption, references: list[Caption]) -> None:
    def weights(tokens: Caption, n: int) -> dict[tuple[str, ...], float]:
        grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
        return {g: grams.count(g) * (math.log(5) - math.log(max(1, CORPUS.counts.get(g, 0)))) for g in grams}

    def norm(vector: dict[tuple[str, ...], float]) -> float:
        return math.hypot(*vector.values())

    total = 0.0
    for reference in references:
        apart = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
        for n in range(1, 5):
            mine, theirs = weights(candidate, n), weights(reference, n)
            dot = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in mine.items() if gram in theirs)
            if norm(mine) and norm(theirs):
                total += dot / norm(mine) / norm(theirs) * math.exp(-(apart**2) / 72)
    assert cider(candidate, references) == pytest.approx(10 * total / 4 / len(references), abs=1e-9)


def test_repeating_a_word_of_the_reference_does_not_pay() -> None:
    """Fails when the clipping is left out."""
    reference = [tokenize("a dog barks while rain falls")]
    corpus = Frequencies.of([[["dog"]], [["a"]]])
    assert cider(["dog"] * 6, reference, corpus) < cider(["a", "dog", "barks"], reference, corpus) / 2


def test_a_caption_of_another_length_is_damped(monkeypatch: pytest.MonkeyPatch) -> None:
    candidate, reference = tokenize("a dog barks"), tokenize("a dog barks while rain falls then a bird sings")
    plain = cider(candidate, [reference])
    monkeypatch.setattr(captioning_cider, "SIGMA", 1e9)
    assert plain == pytest.approx(cider(candidate, [reference]) * math.exp(-(7**2) / 72))


def test_frequencies_of_the_batch_would_score_nothing() -> None:
    reference = tokenize("a dog barks")
    assert cider(reference, [reference], Frequencies.of([[reference]])) == 0.0
    assert cider(reference, [reference]) > 1.0


@pytest.mark.parametrize("metric", [lambda c, r: bleu(c, r)[3], rouge, cider])
@pytest.mark.parametrize("candidate", [[], ["unheard"]])
def test_nothing_in_common_is_worth_nothing(metric, candidate: Caption) -> None:
    assert metric(candidate, [["a", "dog"], ["rain"]]) == pytest.approx(0.0, abs=1e-3)
    assert metric(candidate, [[]]) == pytest.approx(0.0, abs=1e-3)


def test_the_example_of_aac_metrics() -> None:
    candidates = [tokenize("a man is speaking"), tokenize("rain falls")]
    references = [
        [
            tokenize("a man speaks."),
            tokenize("someone speaks."),
            tokenize("a man is speaking while a bird is chirping in the background"),
        ],
        [tokenize("rain is falling hard on a surface")],
    ]
    corpus = Frequencies.of(references)
    scores = [cider(one, many, corpus) for one, many in zip(candidates, references, strict=True)]
    assert scores == pytest.approx([1.3641, 0.5587], abs=5e-5)


# The rewards.


def asked(*answers: str) -> Sample:
    return Sample("clip", (Turn("user", ("What is heard?",)),), answers)


def replied(answer: str | None) -> Rollout:
    return Rollout((1,), (2,), None, answer or "", "end", "p", Parsed(answer, None if answer else "empty"))


@pytest.fixture
def df(tmp_path: Path) -> str:
    path = tmp_path / "df.json"
    CORPUS.write(path)
    return str(path)


def test_frequencies_are_read_as_they_were_written(df: str) -> None:
    read = read_frequencies(df)
    assert (read.documents, read.counts) == (CORPUS.documents, CORPUS.counts)
    assert read_frequencies(df) is read
    assert ("a", "dog") in read.counts
    assert ("bird",) not in read.counts, "one document weighs like none"


@given(st.lists(st.lists(captions, min_size=1, max_size=3), min_size=2, max_size=6))
@settings(max_examples=25)
def test_left_out_n_grams_change_no_weight(documents: list[list[Caption]]) -> None:
    kept = Frequencies.of(documents)
    for word in WORDS:
        count = sum(any(word in tokens for tokens in references) for references in documents)
        assert kept.idf.get((word,), kept.rare) == pytest.approx(math.log(len(documents)) - math.log(max(1, count)))


def test_the_rewards_are_the_metrics(df: str) -> None:
    sample = asked("A dog barks.", "A dog is barking while rain falls")
    rubric = Rubric.from_config(
        {
            "cider": {"weight": 1.0, "kwargs": {"df": df}},
            "bleu": {"weight": 0.5, "kwargs": {"n": 2}},
            "rouge": 0.25,
        }
    )
    replies = ["a dog barks", "rain", "a dog barks, barks and barks"]
    scores = rubric.score(sample, [replied(text) for text in replies])
    references = [tokenize(text) for text in sample.answers]
    for text, score in zip(replies, scores, strict=True):
        alone = rubric.score(sample, [replied(text)])[0]
        assert score == alone
        assert score.parts == pytest.approx(
            {
                "cider": cider(tokenize(text), references),
                "bleu": bleu(tokenize(text), references)[1],
                "rouge": rouge(tokenize(text), references),
            }
        )


def test_no_answer_is_worth_nothing_and_no_reference_is_not_judged(df: str) -> None:
    rubric = Rubric.from_config({"cider": {"weight": 1, "kwargs": {"df": df}}, "bleu": 1, "rouge": 1})
    assert rubric.score(asked("a dog"), [replied(None)])[0].parts == {"cider": 0.0, "bleu": 0.0, "rouge": 0.0}
    assert rubric.score(asked(), [replied("a dog")])[0].total is None


def test_a_changed_file_of_frequencies_is_read_again(df: str) -> None:
    first = read_frequencies(df)
    Path(df).unlink()
    Frequencies.of([[["a"]], [["a"]], [["b"]]]).write(df)
    assert read_frequencies(df).documents == 3 != first.documents


def test_what_is_missing_or_another_thing_is_refused_with_the_command(df: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"auscult captions df"):
        read_frequencies(tmp_path / "none.json")
    for damage in ({"tokenizer": "spaces"}, {"version": 0}, {"documents": 1}, {"counts": None}):
        Path(df).write_text(json.dumps({**json.loads(Path(df).read_text()), **damage}))
        with pytest.raises(ConfigError, match=r"auscult captions df"):
            read_frequencies(df)
        CORPUS.write(df)
    for text in ("[]", "{", ""):
        Path(df).write_text(text)
        with pytest.raises(ConfigError, match=r"auscult captions df"):
            read_frequencies(df)
    with pytest.raises(ConfigError, match="bleu"):
        Rubric.from_config({"bleu": {"weight": 1, "kwargs": {"n": 5}}}).score(asked("a"), [replied("a")])


def test_a_reward_from_training_references_ranks_real_captions(testdata: Path, tmp_path: Path) -> None:
    """A caption of the clip earns more than one of another clip, nearly always."""
    with (testdata / "text" / "audiocaps_val.csv").open(newline="") as file:
        clips: dict[str, list[str]] = {}
        for row in csv.DictReader(file):
            clips.setdefault(row["youtube_id"], []).append(row["caption"])
    tokens = {clip: [tokenize(text) for text in texts] for clip, texts in clips.items()}
    Frequencies.of(tokens.values()).write(tmp_path / "df.json")
    rubric = Rubric.from_config({"cider": {"weight": 1, "kwargs": {"df": str(tmp_path / "df.json")}}})
    names, better = list(clips)[:60], 0
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        own, stray = rubric.score(asked(*clips[name][1:]), [replied(clips[name][0]), replied(clips[other][0])])
        better += (own.total or 0) > (stray.total or 0)
    assert better >= 55
