"""What is said around a question: whole, in order, and nothing that a benchmark keeps to itself."""

import pytest

from auscult.core.errors import ConfigError, RenderError
from auscult.core.types import Audio, Sample, Turn
from auscult.models.wording import Wording, messages, prompts

CLIP = Audio("a.wav")
SAMPLE = Sample("1", (Turn("user", (CLIP, "What?")),), ("dog",), ("dog", "cat"), tags={"category": "animals"})
OPTIONS = "(A) dog\n(B) cat"


def content(wording, sample=SAMPLE):
    return messages(sample, wording)[-1]["content"]


def test_the_baseline_is_question_options_instruction():
    assert content(Wording(form="label")) == [CLIP, f"What?\n{OPTIONS}\nReply with the answer only."]
    assert content(Wording(instruction=False)) == [CLIP, f"What?\n{OPTIONS}"]
    assert content(Wording(instruction=False, choices=False)) == [CLIP, "What?"]


def test_a_question_before_its_clip_keeps_its_place():
    sample = Sample("1", (Turn("user", ("What?", CLIP)),), ("dog",), ("dog", "cat"))
    assert content(Wording(instruction=False), sample) == ["What?", CLIP, OPTIONS]
    before = content(Wording(instruction=False, prompt="expert"), sample)
    assert (before[0].endswith("\n\nWhat?"), before[1:]) == (True, [CLIP, OPTIONS])


@pytest.mark.parametrize("prompt", prompts())
def test_every_prompt_says_question_options_and_instruction_once_and_fills_all_its_places(prompt):
    wording = Wording(prompt=prompt, reveal_tags=("category",) if prompt == "category" else ())
    (clip, text) = content(wording)
    assert clip is CLIP
    for part in ("What?", OPTIONS, "<answer> and </answer>."):
        assert text.count(part) == 1
    assert "{" not in text
    assert text == text.strip()


def test_a_tag_reaches_a_prompt_only_where_that_is_allowed():
    with pytest.raises(ValueError, match=r"tag `category`.*reveal_tags"):
        Wording(prompt="category")
    assert '"animals"' in content(Wording(prompt="category", reveal_tags=("category",)))[1]
    assert not any("animals" in content(Wording(prompt=name))[1] for name in set(prompts()) - {"category"})
    with pytest.raises(RenderError, match="has no tag `category`"):
        content(Wording(prompt="category", reveal_tags=("category",)), Sample("1", SAMPLE.turns, ()))


def test_what_a_sample_says_is_never_a_place_to_fill():
    sample = Sample("1", (Turn("user", (CLIP, "{choices} {instruction}?")),), (), ("{question}", "b"))
    assert content(Wording(instruction=False), sample) == [CLIP, "{choices} {instruction}?\n(A) {question}\n(B) b"]


def test_options_beyond_the_alphabet_have_no_letter():
    sample = Sample("1", (Turn("user", ("What?",)),), (), tuple(f"option {n}" for n in range(28)))
    (text,) = content(Wording(instruction=False), sample)
    assert text.splitlines()[-3:] == ["(Z) option 25", "option 26", "option 27"]


def test_a_prompt_of_ones_own_and_what_is_none(tmp_path):
    (tmp_path / "mine.txt").write_text("Listen twice.\n{question}\n{choices}\n")
    assert content(Wording(prompt=str(tmp_path / "mine.txt"))) == [CLIP, f"Listen twice.\nWhat?\n{OPTIONS}"]
    (tmp_path / "none.txt").write_text("Listen.")
    with pytest.raises(ValueError, match=r"must hold \{question\} once"):
        Wording(prompt=str(tmp_path / "none.txt"))
    with pytest.raises(ConfigError, match="did you mean 'structured'"):
        Wording(prompt="structure")
