"""Forms: what they render reads back, what they parse cannot be tricked, and no reply is too long for them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.answer import read_answer, same_answer
from auscult.core.errors import ConfigError, RenderError
from auscult.core.forms import FORMS, form

PETS = ("cat", "dog", "cow")
OPEN, NO, SEVERAL, NOT, EMPTY = "!unclosed_thinking", "!no_answer", "!several_answers", "!not_a_choice", "!empty"

# form, reply, answer or problem, well formed
REPLIES = (
    ("think", "<think>it barks</think><answer>dog</answer>", "dog", True),
    ("think", "<think>it barks</think>\n\n<answer>\nB\n</answer>\n", "dog", True),
    ("think", "<think></think><answer>dog</answer>", "dog", True),
    ("think", "<think>two\nlines</think><answer>B) dog</answer>", "dog", True),
    ("think", "<think>x</think><answer>horse</answer>", NOT, True),
    ("think", "<think>x</think><answer>cat, dog</answer>", SEVERAL, True),
    ("think", "<answer>dog</answer>", "dog", False),
    ("think", "<think>x</think><answer>dog</answer> I am sure", "dog", False),
    ("think", "Well. <think>x</think><answer>dog</answer>", "dog", False),
    ("think", "<think>x</think> so <answer>dog</answer>", "dog", False),
    ("think", "<THINK>x</THINK><Answer>dog</Answer>", "dog", False),
    ("think", "<think>x</think><answer>cat</answer><answer>dog</answer>", "dog", False),
    ("think", "<think>x</think><answer>dog</answer><answer>cow", "dog", False),
    ("think", "<think>x</think><answer>cat<answer>dog</answer></answer>", "dog", False),
    ("think", "<think>x</think><answer>dog</answer></answer>", "dog", False),
    ("think", "<think><answer>cat</answer></think><answer>dog</answer>", "dog", False),
    ("think", "<think>a</think><think>b</think><answer>dog</answer>", "dog", False),
    ("think", "<think><think>a</think><answer>dog</answer>", "dog", False),
    ("think", "<answer>dog</answer><think>x</think>", "dog", False),
    ("think", "<answer>cat</answer></think><answer>dog</answer>", "dog", False),
    ("think", "it barks</think><answer>dog</answer>", "dog", False),
    ("think", "<think>a<think>b</think><answer>cat</answer>c</think><answer>dog</answer>", "dog", False),
    ("think", "<think>x</think><answer></answer>", EMPTY, False),
    ("think", "<think>x</think><answer> \n </answer>", EMPTY, False),
    ("think", "<think>x</think><answer>dog", NO, False),
    ("think", "<think>x</think>dog</answer>", NO, False),
    ("think", "<think>x</think></answer>dog<answer>", NO, False),
    ("think", "<think>x</think>dog", NO, False),
    ("think", "dog", NO, False),
    ("think", "<answer>d<think>x</think>og</answer>", NO, False),
    ("think", "<answer>dog</answer></think>", NO, False),
    ("think", "<think><answer>dog</answer></think>", NO, False),
    ("think", "<think>it barks <answer>dog</answer>", OPEN, False),
    ("think", "<think>it barks", OPEN, False),
    ("think", "<think>x</think><answer>dog</answer><think>but", OPEN, False),
    ("think", "", EMPTY, False),
    ("think", " \n", EMPTY, False),
    ("solution", "<start_working_out>x<end_working_out><SOLUTION>B - dog</SOLUTION>", "dog", True),
    (
        "solution",
        "<start_working_out>\nx\n<end_working_out>\n<SOLUTION>\nB - dog\n</SOLUTION>",
        "dog",
        True,
    ),
    ("solution", "<start_working_out>x<end_working_out><SOLUTION>B - cat</SOLUTION>", SEVERAL, True),
    ("solution", "<start_working_out>x<end_working_out><SOLUTION>A dog</SOLUTION>", "dog", True),
    ("solution", "<start_working_out>x<end_working_out><answer>dog</answer>", NO, False),
    ("solution", "<start_working_out>x<SOLUTION>B - dog</SOLUTION>", OPEN, False),
    ("solution", "<think>x<end_working_out><SOLUTION>dog</SOLUTION>", "dog", False),
    ("answer_line", "It barks.\nANSWER: dog", "dog", True),
    ("answer_line", "ANSWER: dog", "dog", True),
    ("answer_line", "It barks.\n\nAnswer: B\n", "dog", False),
    ("answer_line", "It barks.\n**ANSWER: B**", "dog", False),
    ("answer_line", "It barks.\n**ANSWER:** B", "dog", False),
    ("answer_line", "It barks.\n**ANSWER**: B", "dog", False),
    ("answer_line", "ANSWER: cat\nno\nANSWER: dog", "dog", False),
    ("answer_line", "ANSWER: dog\nbecause it barks", NOT, False),
    ("answer_line", "ANSWER: dog\nNo, the answer is cat.", SEVERAL, False),
    ("answer_line", "ANSWER: dog\n<think>no</think>\ncat", SEVERAL, False),
    ("answer_line", "ANSWER: dog\n\nB. dog\n", "dog", False),
    ("answer_line", "It barks.\nAnswer:\n\nB", "dog", False),
    ("answer_line", "It barks.\n**Answer:**\n\n**B. dog**", "dog", False),
    ("answer_line", "The ANSWER: dog", NO, False),
    ("answer_line", "dog", NO, False),
    ("answer_line", "ANSWER:", EMPTY, False),
    ("answer_line", "<think>ANSWER: cat</think>ANSWER: dog", "dog", False),
    ("answer_line", "<think>ANSWER: cat", OPEN, False),
    (
        "semantic",
        "<think>x</think>\n<semantic_elements>bark</semantic_elements>\n<answer>dog</answer>",
        "dog",
        True,
    ),
    ("semantic", "<think>x</think>\n<answer>dog</answer>", "dog", True),
    ("semantic", "<semantic_elements>bark</semantic_elements><think>x</think><answer>dog</answer>", "dog", False),
    ("semantic", "<think>x</think><semantic_elements>bark<answer>dog</answer>", "dog", False),
    ("semantic", "<think>x</think><answer>dog</answer><semantic_elements>b</semantic_elements>", "dog", False),
    ("label", "dog", "dog", True),
    ("label", "B", "dog", True),
    ("label", "a", "cat", True),
    ("label", "horse", NOT, True),
    ("label", "I hear a dog", NOT, True),
    ("label", "B\nit barks", NOT, False),
    ("label", "<think>x</think>dog", "dog", False),
    ("label", "<think>cat, dog", OPEN, False),
    ("label", "\n", EMPTY, False),
)


@pytest.mark.parametrize(("name", "reply", "expected", "well_formed"), REPLIES)
def test_a_reply_by_hand(name: str, reply: str, expected: str, well_formed: bool) -> None:
    parsed = form(name).parse(reply, PETS)
    assert (parsed.answer or f"!{parsed.problem}", parsed.well_formed) == (expected, well_formed)


def test_thoughts_are_what_stands_in_their_place() -> None:
    assert form("think").parse("<think> a\nb </think><answer>dog</answer>").thought == "a\nb"
    assert form("think").parse("<think>a</think><think>b</think><answer>dog</answer>").thought == "a\nb"
    assert form("think").parse("<think>cut").thought == "cut"
    assert form("think").parse("from the prompt</think><answer>dog</answer>").thought == "from the prompt"
    assert form("think").parse("<think> </think><answer>dog</answer>").thought is None
    assert form("answer_line").parse("It barks.\nANSWER: dog").thought == "It barks."
    assert form("label").parse("dog").thought is None


def test_rendered_targets() -> None:
    given = ("dog", "it barks", "- bark", PETS)
    assert {name: shape.render(*given) for name, shape in FORMS.items()} == {
        "think": "<think>it barks</think><answer>dog</answer>",
        "solution": "<start_working_out>it barks<end_working_out><SOLUTION>B - dog</SOLUTION>",
        "answer_line": "it barks\nANSWER: dog",
        "semantic": "<think>it barks</think>\n<semantic_elements>- bark</semantic_elements>\n<answer>dog</answer>",
        "label": "dog",
    }


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30).filter(lambda text: not set(text) & {"<", ":"})
answers = texts.filter(lambda text: read_answer(text).answer is not None and "\\" not in text)
every_form = pytest.mark.parametrize("name", FORMS)


@every_form
@given(answer=answers, thought=st.none() | texts, semantic=st.none() | texts)
@settings(deadline=None)
def test_what_is_rendered_reads_back(name: str, answer: str, thought: str | None, semantic: str | None) -> None:
    parsed = form(name).parse(form(name).render(answer, thought, semantic))
    assert parsed.answer is not None
    assert same_answer(parsed.answer, answer)
    assert parsed.well_formed
    if name != "label":
        assert parsed.thought == ((thought or "").strip() or None)


@every_form
@given(choices=st.lists(answers, min_size=1, max_size=5), data=st.data(), thought=st.none() | texts)
@settings(deadline=None)
def test_a_rendered_option_reads_back_as_itself(
    name: str, choices: list[str], data: st.DataObject, thought: str | None
) -> None:
    answer = data.draw(st.sampled_from(choices))
    parsed = form(name).parse(form(name).render(answer, thought, choices=choices), choices)
    assert parsed.answer is not None
    assert parsed.answer.split() == answer.split()
    assert parsed.well_formed


pieces = st.sampled_from([*(tag for shape in FORMS.values() for tag in shape.tags()), "dog", "cat", "B", " ", "\n"])


@every_form
@given(st.lists(pieces, max_size=12).map("".join))
@settings(deadline=None)
def test_whatever_is_written_is_an_option_or_a_named_problem(name: str, reply: str) -> None:
    parsed = form(name).parse(reply, PETS)
    assert (parsed.answer is None) == (parsed.problem is not None)
    assert parsed.answer in (None, *PETS)
    if parsed.well_formed and name != "answer_line":  # where the tag is one only at the beginning of a line
        assert all(reply.count(tag) <= 1 for tag in form(name).tags())


@pytest.mark.parametrize("held", ["a </think> b", "<answer>", "</ANSWER>", "<think>"])
def test_a_text_that_holds_a_tag_is_refused(held: str) -> None:
    with pytest.raises(RenderError, match="would not read back"):
        form("think").render("dog", held)
    with pytest.raises(RenderError, match="would not read back"):
        form("semantic").render("dog", "x", held)


def test_a_thought_with_an_answer_line_is_refused_where_that_is_the_tag() -> None:
    with pytest.raises(RenderError, match="take it out"):
        form("answer_line").render("dog", "so\nAnswer: dog")
    assert form("answer_line").parse(form("answer_line").render("dog", "the answer: dog")).well_formed
    assert form("think").parse(form("think").render("dog", "so\nAnswer: dog")).well_formed


@every_form
def test_a_blank_answer_is_refused(name: str) -> None:
    with pytest.raises(RenderError, match="reads as no answer"):
        form(name).render(" \n", "thought")


@every_form
def test_instructions_name_the_tags(name: str) -> None:
    shape = form(name)
    assert all(tag in shape.instruction for tag in shape.tags())
    assert shape.name == name


def test_an_unknown_form_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'think'"):
        form("thnik")
    with pytest.raises(ConfigError, match="choose one of think, "):
        form("zzz")


FLOODS = (
    *("<think>", "</think>", "<think></think>", "<answer>", "</answer>", "<answer></answer>", "<think><answer>"),
    *(
        "<answer>B</answer>",
        "<SOLUTION>",
        "<start_working_out>",
        "<semantic_elements>",
        "ANSWER:",
        "ANSWER:\n",
        "<",
        "\n",
    ),
    *(" ", "**", "\t*", "<think", "</", "<think></answer>"),
)


@pytest.mark.parametrize("flood", FLOODS)
def test_a_megabyte_of_tags_is_parsed_in_linear_time(flood: str) -> None:
    text = flood * (2**20 // len(flood))
    for shape in FORMS.values():
        for reply in (text, f"<think>{text}</think><answer>dog</answer>"):
            began = time.process_time()
            shape.parse(reply, PETS)
            assert time.process_time() - began < 2, f"{shape.name}: a scan that is not linear takes minutes"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("ANSWER: a dog\nI am sure", "a dog"),
        ("ANSWER:\n\na dog\nI am sure", "a dog"),
        ("**ANSWER:**\n\na dog\n", "a dog"),
        ("**ANSWER:** a dog\nI am sure", "a dog"),
        ("ANSWER: \n", None),
    ],
)
def test_an_open_answer_ends_with_its_line(reply, answer):
    assert form("answer_line").parse(reply).answer == answer


@pytest.mark.parametrize(
    ("name", "reply", "answer"),
    [
        ("label", ' "A *title*." \n', ' "A *title*." \n'),
        ("label", '<think>so</think>\n\n"It is 5."', '"It is 5."'),
        ("think", '<think>so</think><answer>\n"It is 5."\n</answer>', '"It is 5."'),
        ("answer_line", 'so\nANSWER: "It is 5."', '"It is 5."'),
        ("label", '""', '""'),
        ("label", r"\boxed{1} \boxed{2}", r"\boxed{1} \boxed{2}"),
    ],
)
def test_a_verbatim_answer_keeps_its_wrapping(name, reply, answer):
    assert form(name).parse(reply, verbatim=True).answer == answer


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("label", " "),
        ("label", "<think>so"),
        ("label", "<think>so</think> "),
        ("think", "5"),
        ("think", "<answer> </answer>"),
    ],
)
def test_a_verbatim_answer_that_is_not_there_has_the_same_problem(name, reply):
    verbatim = form(name).parse(reply, verbatim=True)
    assert (verbatim.answer, verbatim.problem) == (None, form(name).parse(reply).problem)
