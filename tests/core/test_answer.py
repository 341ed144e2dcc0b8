"""The reader of answers: cases by hand, the property that an option always reads back, and hostile replies."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import auscult
from auscult.core.answer import clean, normal, read_answer, same_answer
from auscult.core.forms import form
from auscult.evaluate.scorers.choice import reading

SEVERAL, NONE, EMPTY = "!several_answers", "!not_a_choice", "!empty"
PETS = ("cat", "dog", "cow", "hen")
TONES = ("tone", "low tone", "high tone")
WAYS = ("From far to near", "From near to far", "Stays near")
COUNTS = ("2", "3", "1", "10")
DEEP = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis")
NOTES = ("C", "A", "B")
CHORDS = ("Cm", "CM", "G7")
TWICE = ("dog", "cat", "dog")
TEMPI = ("120 bpm", "12 bpm", "-5 dB", "5 dB")
CASES = (
    # the option's own text
    (PETS, "dog", "dog"),
    (PETS, "Dog", "dog"),
    (PETS, "  DOG \n", "dog"),
    (PETS, "dog.", "dog"),
    (PETS, "dog...", "dog"),
    (PETS, "dog…", "dog"),
    (PETS, "dog。", "dog"),
    (PETS, '"dog"', "dog"),
    (PETS, "'dog.'", "dog"),
    (PETS, "“dog”", "dog"),
    (PETS, "«dog»", "dog"),
    (PETS, "「dog」", "dog"),
    (PETS, "**dog**", "dog"),
    (PETS, "*dog*", "dog"),
    (PETS, "__dog__", "dog"),
    (PETS, "_**dog**_", "dog"),
    (PETS, "`dog`", "dog"),
    (PETS, "```\ndog\n```", "dog"),
    (PETS, "- dog", "dog"),
    (PETS, "* dog", "dog"),
    (PETS, "# dog", "dog"),
    (PETS, "> dog", "dog"),
    (PETS, "<b>dog</b>", "dog"),
    (PETS, "<answer>dog</answer>", "dog"),
    (PETS, "$dog$", "dog"),
    (PETS, r"\text{dog}", "dog"),
    (PETS, r"$\mathrm{dog}$", "dog"),
    (PETS, r"\(dog\)", "dog"),
    (PETS, "d\u200bog\ufeff", "dog"),
    # its letter, alone
    (PETS, "B", "dog"),
    (PETS, "b", "dog"),
    (PETS, "A", "cat"),
    (PETS, "a", "cat"),
    (PETS, "(B)", "dog"),
    (PETS, "(b)", "dog"),
    (PETS, "[B]", "dog"),
    (PETS, "{B}", "dog"),
    (PETS, "B.", "dog"),
    (PETS, "B)", "dog"),
    (PETS, "B:", "dog"),
    (PETS, "(B).", "dog"),
    (PETS, "**B**", "dog"),
    (PETS, "**B.**", "dog"),
    (PETS, "$B$", "dog"),
    (PETS, "Option B", "dog"),
    (PETS, "option (b)", "dog"),
    (PETS, "Choice B.", "dog"),
    (PETS, "Answer B", "dog"),
    (PETS, "<b>B</b>", "dog"),
    (PETS, "E", NONE),
    (PETS, "(E)", NONE),
    (DEEP, "I", "ibis"),
    (DEEP, "(E)", "elk"),
    (DEEP, "Option H", "hen"),
    # letter and text that agree, or do not
    (PETS, "B. dog", "dog"),
    (PETS, "B) dog", "dog"),
    (PETS, "(B) dog", "dog"),
    (PETS, "(B) Dog.", "dog"),
    (PETS, "B: dog", "dog"),
    (PETS, "B - dog", "dog"),
    (PETS, "B – dog", "dog"),
    (PETS, "B — dog", "dog"),
    (PETS, "B dog", "dog"),
    (PETS, "b) dog", "dog"),
    (PETS, "[B] dog", "dog"),
    (PETS, "**B.** dog", "dog"),
    (PETS, "**B**: dog", "dog"),
    (PETS, 'B. "dog"', "dog"),
    (PETS, "Option B: dog", "dog"),
    (PETS, "B. A dog", "dog"),
    (PETS, "B. cat", SEVERAL),
    (PETS, "(A) dog", SEVERAL),
    (PETS, "A - dog", SEVERAL),
    (PETS, "B cat", SEVERAL),
    (PETS, "E. dog", NONE),
    (PETS, "B-dog", NONE),
    # letter and an explanation: no list of words tells it from a reply that takes its letter back
    (PETS, "B - it barks twice", NONE),
    (PETS, "(B) because of the barking", NONE),
    (PETS, "B. The dog barks", NONE),
    (PETS, "B. The dog chases a cat", SEVERAL),
    (PETS, "B. Or maybe C", SEVERAL),
    (PETS, "A. B", SEVERAL),
    (PETS, "B it barks", NONE),
    (PETS, "a - it meows", NONE),
    # the article
    (PETS, "a dog", "dog"),
    (PETS, "A dog", "dog"),
    (PETS, "A dog.", "dog"),
    (PETS, "The hen", "hen"),
    (PETS, "a horse", NONE),
    (PETS, "A horse barks", NONE),
    (PETS, "a barking dog", NONE),
    (("a tone", "the tone", "noise"), "tone", NONE),
    (("a tone", "the tone", "noise"), "The tone", "the tone"),
    # said in a sentence
    (PETS, "Answer: dog", "dog"),
    (PETS, "answer:dog", "dog"),
    (PETS, "**Answer:** dog", "dog"),
    (PETS, "**Answer**: B", "dog"),
    (PETS, "Final answer: (B) dog", "dog"),
    (PETS, "The answer is dog.", "dog"),
    (PETS, "The answer is: B", "dog"),
    (PETS, "The correct answer is (B) dog.", "dog"),
    (PETS, "So, the answer is **B**.", "dog"),
    (PETS, "Therefore the correct option is B.", "dog"),
    (PETS, "My answer is a dog", "dog"),
    (PETS, "Answer: A", "cat"),
    (PETS, "the answer is a", "cat"),
    (PETS, "I hear a dog.", NONE),
    (PETS, "dog, I think", NONE),
    (PETS, "It is not a dog", NONE),
    (PETS, "hotdog", NONE),
    (PETS, "dogs", NONE),
    (PETS, "The answer is", EMPTY),
    (PETS, "The answer isdog", NONE),
    # boxes
    (PETS, r"\boxed{B}", "dog"),
    (PETS, r"$\boxed{\text{dog}}$", "dog"),
    (PETS, r"We conclude \boxed{dog}.", "dog"),
    (PETS, r"\boxed{B} and again \boxed{b}", "dog"),
    (PETS, r"\boxed{B} or \boxed{C}", SEVERAL),
    (PETS, r"\boxed{\boxed{B}}", "dog"),
    (PETS, r"\boxed{B", NONE),
    (PETS, r"\boxed{}", EMPTY),
    # several
    (PETS, "cat, dog", SEVERAL),
    (PETS, "cat or dog", SEVERAL),
    (PETS, "cat and dog", SEVERAL),
    (PETS, "A, B", SEVERAL),
    (PETS, "A or B", SEVERAL),
    (PETS, "A/B", SEVERAL),
    (PETS, "(A) (B)", SEVERAL),
    (PETS, "(A) cat (B) dog (C) cow (D) hen", SEVERAL),
    (PETS, "A. cat\nB. dog\nC. cow\nD. hen", SEVERAL),
    (PETS, "A B C D A B C D", SEVERAL),
    (PETS, "cat dog cow hen", SEVERAL),
    (PETS, "Answer: A\nAnswer: B", SEVERAL),
    (PETS, "dog\ncat", SEVERAL),
    (PETS, "B, not A", SEVERAL),
    (PETS, "B\nB", "dog"),
    (PETS, "B\ndog", "dog"),
    (PETS, "dog, B", "dog"),
    (PETS, "Answer: B\nAnswer: dog", "dog"),
    # options that contain one another
    (TONES, "tone", "tone"),
    (TONES, "low tone", "low tone"),
    (TONES, "a low tone", "low tone"),
    (TONES, "B. low tone", "low tone"),
    (TONES, "A. low tone", SEVERAL),
    (TONES, "A. tone", "tone"),
    (TONES, "B. tone", SEVERAL),
    (TONES, "lower tone", NONE),
    (TONES, "very low tone", NONE),
    (TONES, "low tone or tone", SEVERAL),
    (TONES, "B - I hear a low tone here", NONE),
    (("tone", "tone burst"), "B - I hear a tone burst here", NONE),
    (WAYS, "From far to near", "From far to near"),
    (WAYS, "from near to far.", "From near to far"),
    (WAYS, "near to far", NONE),
    (WAYS, "far near from to", NONE),
    (WAYS, "B. From far to near", SEVERAL),
    # options that are numbers
    (COUNTS, "3", "3"),
    (COUNTS, "3.", "3"),
    (COUNTS, "B", "3"),
    (COUNTS, "B. 3", "3"),
    (COUNTS, "1", "1"),
    (COUNTS, "10", "10"),
    (COUNTS, "13", NONE),
    (COUNTS, "B. 2", SEVERAL),
    (COUNTS, "two", NONE),
    (TEMPI, "120 bpm", "120 bpm"),
    (TEMPI, "12 BPM", "12 bpm"),
    (TEMPI, "20 bpm", NONE),
    (TEMPI, "-5 dB", "-5 dB"),
    (TEMPI, "C. -5 dB", "-5 dB"),
    (TEMPI, "C -5 dB", "-5 dB"),
    (TEMPI, "D - 5 dB", "5 dB"),
    (("10²", "102"), "10²", "10²"),
    (("10²", "102"), "102", "102"),
    (("1½ s", "11/2 s"), "1½ s", "1½ s"),
    # options that are letters, that differ only in case, that are given twice, that look wrapped
    (NOTES, "A", "A"),
    (NOTES, "B", "B"),
    (NOTES, "A. C", "C"),
    (NOTES, "A.", "A"),
    (NOTES, "(A)", "C"),
    (NOTES, "A)", "C"),
    (NOTES, "Option A", "C"),
    (NOTES, "(C) B", "B"),
    (CHORDS, "Cm", "Cm"),
    (CHORDS, "**CM**", "CM"),
    (CHORDS, "cm", NONE),
    (CHORDS, "B", "CM"),
    (CHORDS, "A. Cm", "Cm"),
    (CHORDS, "A. cm", "Cm"),  # the letter tells them apart
    (CHORDS, "A. CM", NONE),
    (TWICE, "dog", "dog"),
    (TWICE, "A", "dog"),
    (TWICE, "C. dog", "dog"),
    (TWICE, "A, C", "dog"),
    (("Answer: 5", "5"), "Answer: 5", "Answer: 5"),
    (("Answer: 5", "5"), "5", "5"),
    (("red, green", "green", "red"), "red, green", "red, green"),
    (("red, green", "green", "red"), "green, red", SEVERAL),
    (("low and high", "low", "high"), "Low and high.", "low and high"),
    (("...", "dog"), "...", "..."),
    # other scripts
    (PETS, "Ｂ", "dog"),
    (PETS, "（Ｂ）", "dog"),
    (PETS, "Ｂ．ｄｏｇ", "dog"),
    (PETS, "B.dog", "dog"),
    (PETS, "Ｂ： dog", "dog"),
    (PETS, "Ⓑ", "dog"),
    (PETS, "\u0412", NONE),  # Cyrillic
    (PETS, "\u0410", NONE),  # Cyrillic
    (PETS, "\u0392", NONE),  # Greek
    (DEEP, "\u0131) it hops", NONE),  # Turkish
    (("狗", "猫", "牛"), "猫", "猫"),
    (("狗", "猫", "牛"), "猫。", "猫"),
    (("狗", "猫", "牛"), "B. 猫", "猫"),
    (("狗", "猫", "牛"), "（B）猫", "猫"),
    (("狗", "猫", "牛"), "答案是猫", NONE),
    (("café", "thé"), "cafe\u0301", "café"),
    (("Straße", "Weg"), "STRASSE", "Straße"),
    # nothing
    (PETS, "", EMPTY),
    (PETS, " \n\t", EMPTY),
    (PETS, '""', EMPTY),
    (PETS, "...", EMPTY),
    (PETS, "<b></b>", EMPTY),
    (PETS, "Answer:", EMPTY),
    (PETS, "?", NONE),
    (PETS, "none of the above", NONE),
    (PETS, "and", NONE),
    # headings and more ways of saying it
    (PETS, "### Final Answer\nB", "dog"),
    (PETS, "**Final Answer**\n\n(B) dog", "dog"),
    (PETS, "Final answer\n\ndog", "dog"),
    (PETS, "The correct answer is\nB", "dog"),
    (PETS, "Answer:\n\n**B. dog**", "dog"),
    (PETS, "Solution\nB\nC", SEVERAL),
    (PETS, "The final answer is $\\boxed{B}$.", "dog"),
    (PETS, "answer = B", "dog"),
    (PETS, "answer: [B]", "dog"),
    (PETS, "My choice: (b)", "dog"),
    (PETS, "Letter B", "dog"),
    (PETS, "The answer is Option B: dog", "dog"),
    (PETS, "Therefore, the answer is: (B) dog.", "dog"),
    (PETS, "The answer would be B", "dog"),
    (PETS, "It is B", NONE),
    (PETS, "I choose B", NONE),
    (PETS, "Thus, B", NONE),
    (PETS, "Correct: B", NONE),
    (PETS, "Q: Which? A: B", SEVERAL),
    (PETS, '{"answer": "B"}', NONE),
    (PETS, "B is the answer", NONE),
    (PETS, "the second option", NONE),
    (PETS, "option 2", NONE),
    (PETS, "2", NONE),
    (PETS, "ii", NONE),
    (PETS, "B!", "dog"),
    (PETS, "(B)!", "dog"),
    (PETS, "DOG!", "dog"),
    (PETS, "**Dog!**", "dog"),
    (PETS, "The answer is a dog!!", "dog"),
    (PETS, "B. dog!", "dog"),
    (PETS, "B！", "dog"),
    (PETS, "!", EMPTY),
    (PETS, "B?", NONE),
    (PETS, "B?!", NONE),
    (("Yes", "No"), "yes!", "Yes"),
    (("5", "120"), "5!", NONE),  # which is 120
    (("5", "5!"), "5!", "5!"),
    ((), "It barks!", "It barks"),
    ((), "5!", "5!"),
    ((), "5!.", "5!"),
    (PETS, "B;", "dog"),
    (PETS, "B...", "dog"),
    (PETS, "(B", "dog"),
    (PETS, "B))", "dog"),
    (PETS, "[[B]]", NONE),
    (PETS, "B.) dog", "dog"),
    (PETS, "(B.) dog", "dog"),
    (PETS, "(B): dog", "dog"),
    (PETS, "B)dog", "dog"),
    (PETS, "B = dog", NONE),
    (PETS, "B -> dog", NONE),
    (PETS, "dog, option B", "dog"),
    (PETS, "dog (B)", NONE),
    (PETS, "dog (A)", SEVERAL),
    (PETS, "AB", NONE),
    (PETS, "A & B", SEVERAL),
    (PETS, "A-D", SEVERAL),
    (PETS, "BB", NONE),
    # a letter that is named to be denied
    (PETS, "(B) is wrong", NONE),
    (PETS, "(B) is incorrect.", NONE),
    (PETS, "B - not this one", NONE),
    (PETS, "B: isn't right", NONE),
    (PETS, "B: isn’t right", NONE),
    (PETS, "(B) cannot be right", NONE),
    (PETS, "(B) can't be it", NONE),
    (PETS, "(B) doesn't fit", NONE),
    (PETS, "B. Ruled out", NONE),
    (PETS, "not B", NONE),
    (PETS, "The answer is not B", NONE),
    (PETS, "the answer isn't B", NONE),
    (PETS, "not (A), (B)", SEVERAL),
    (PETS, "(B) is right", NONE),
    (PETS, "B - no meowing is heard", NONE),
    (PETS, "B - no", NONE),
    (PETS, "B: rejected", NONE),
    (PETS, "B) impossible", NONE),
    (PETS, "B: unlikely", NONE),
    (PETS, "(B) seems unlikely", NONE),
    (PETS, "B. It can't be this one", NONE),
    (PETS, "B. I don't know", NONE),
    (PETS, "B. All of the above", NONE),
    (PETS, "B. Both", NONE),
    (PETS, "(B) and also others", NONE),
    (PETS, "B. dog? No.", NONE),
    (PETS, "B. dog is wrong", NONE),
    (PETS, "B. not a dog", NONE),
    (PETS, "B. dog (not a cat)", SEVERAL),
    # lines
    (PETS, "A\ndog", SEVERAL),  # a letter, not an article
    (PETS, "a\r\ndog", SEVERAL),
    (PETS, "A\ncat", "cat"),
    (PETS, "the\ndog", NONE),
    (PETS, "B\n\ndog\n\nB", "dog"),
    (PETS, "dog\nbarks", NONE),
    (PETS, "B\nbecause of the barking", NONE),
    (PETS, "1. cat\n2. dog", SEVERAL),
    (PETS, "- cat\n- dog", SEVERAL),
    (PETS, "dog.\ndog.", "dog"),
    # nested wrapping
    (PETS, "<answer><b>**B.**</b></answer>", "dog"),
    (PETS, '"**`dog`**"', "dog"),
    (PETS, "<answer>B", "dog"),
    (PETS, "B</s>", "dog"),
    (PETS, "<B>", EMPTY),
    (PETS, r"$\boxed{\textbf{(B)}}$", "dog"),
    (PETS, r"\boxed{\text{(B) dog}}", "dog"),
    (PETS, r"\boxed{\boxed{A} \boxed{B}}", SEVERAL),
    (PETS, r"\boxed{A} \boxed{cat}", "cat"),
    (PETS, r"\boxed{B} so \boxed{B. dog}", "dog"),
    (PETS, r"\boxed{A}\boxed{B}\boxed{C}\boxed{D}", SEVERAL),
    (PETS, r"\boxed{horse} \boxed{B}", SEVERAL),
    (PETS, "\\boxed{B} or \\bo\u200bxed{C}", SEVERAL),  # a box behind a mark that has no width
    (PETS, "boxed{B}", NONE),
    (PETS, "$$B$$", NONE),
    (PETS, r"\(B\)", "dog"),
    (PETS, '"B".', "dog"),
    (PETS, "„dog“", "dog"),
    (PETS, "~~B~~", NONE),
    # yes and no, notes, Roman numbers, options that hold "and", that carry letters, that are many, that are one
    (("Yes", "No"), "yes", "Yes"),
    (("Yes", "No"), "No.", "No"),
    (("Yes", "No"), "Y", NONE),
    (("Yes", "No"), "Yes, there is a dog", NONE),
    (("Yes", "No"), "yes and no", SEVERAL),
    (("Yes", "No"), "A. No", SEVERAL),
    (("True", "False"), "It is false", NONE),
    (("0", "1"), "0", "0"),
    (("0", "1"), "0.0", NONE),
    (("1.5 s", "15 s"), "1.5 s", "1.5 s"),
    (("1.5 s", "15 s"), "1.5", NONE),
    (("1,000", "1000"), "1000", "1000"),
    (("C major", "A minor"), "A minor", "A minor"),
    (("C major", "A minor"), "A", "C major"),
    (("C major", "A minor"), "C", NONE),
    (("A4", "B4"), "B4", "B4"),
    (("I", "II", "III"), "I", "I"),
    (("I", "II", "III"), "III", "III"),
    (("I", "II", "III"), "(B)", "II"),
    (("D", "C", "B", "A"), "A. D", "D"),
    (("D", "C", "B", "A"), "A. A", SEVERAL),
    (("a", "b"), "A", "a"),
    (("A and B", "B and C", "A"), "B and C", "B and C"),
    (("all of the above", "dog"), "All of the above.", "all of the above"),
    (("A. dog", "B. cat"), "B", "B. cat"),
    (("A. dog", "B. cat"), "B. cat", "B. cat"),
    (("A. dog", "B. cat"), "cat", NONE),
    (("(a) dog", "(b) cat"), "(b) cat", "(b) cat"),
    (("the dog", "a dog"), "dog", NONE),
    (("dog", "dog barking"), "A dog barking", "dog barking"),
    (("dog",), "A", "dog"),
    (("dog",), "B", NONE),
    (tuple(f"sound {number}" for number in range(30)), "Z", "sound 25"),
    (tuple(f"sound {number}" for number in range(30)), "AA", NONE),
    (tuple(f"sound {number}" for number in range(30)), "sound 29", "sound 29"),
    # from right to left, and more scripts
    (("شجرة", "كلب"), "كلب", "كلب"),
    (("شجرة", "كلب"), "\u202bكلب\u202c", "كلب"),
    (("شجرة", "كلب"), "B. كلب", "كلب"),
    (("شجرة", "كلب"), "A. كلب", SEVERAL),
    (("שלום", "כלב"), "(B) כלב", "כלב"),
    (("שלום", "כלב"), "\u2067כלב\u2069", "כלב"),
    (("שלום", "כלב"), "ב", NONE),
    (PETS, "\u202bB\u202c", "dog"),
    (PETS, "\u061cdog", "dog"),
    (PETS, "𝐁", "dog"),
    (PETS, "⒝", "dog"),
    (PETS, "Ｂ）ｄｏｇ", "dog"),
    (PETS, "d\u043eg", NONE),  # a Cyrillic o
    (PETS, "\u0432", NONE),  # Cyrillic
    (PETS, "①", NONE),
    (PETS, "🅱", NONE),
    (("狗", "猫", "牛"), "B：猫", "猫"),
    (("狗", "猫", "牛"), "「猫」", "猫"),
    (("狗", "猫", "牛"), "『B. 猫』", "猫"),
    (("狗", "猫", "牛"), "B. 狗", SEVERAL),
    (("狗", "猫", "牛"), "狗、猫", SEVERAL),
    (("狗", "猫", "牛"), "狗，猫", SEVERAL),
    (("狗", "狗叫"), "狗叫", "狗叫"),
    (("ドッグ", "キャット"), "ｷｬｯﾄ", "キャット"),
    (("개", "고양이"), "고양이", "고양이"),
    (("дог", "кот"), "Кот.", "кот"),
    (("дог", "кот"), "\u0410", NONE),  # Cyrillic
    (("ΔΩ", "ΣΔ"), "σδ", "ΣΔ"),
    (("café", "cafe"), "cafe", "cafe"),
    (("ﬁre", "water"), "fire", "ﬁre"),
    (("😀", "🐶"), "🐶", "🐶"),
    (("😀", "🐶"), "B", "🐶"),
    # huge
    (PETS, "dog " * 50_000, NONE),
    (PETS, "dog\n" * 50_000, "dog"),
    (PETS, "A B C D " * 50_000, SEVERAL),
    (PETS, " " * 500_000 + "B", "dog"),
    (PETS, r"\boxed{B}" * 50_000, "dog"),
    (PETS, "".join(rf"\boxed{{{number}}}" for number in range(10_000)), SEVERAL),
    # without choices
    ((), "  dog barking. ", "dog barking"),
    ((), "**Answer:** `dog barking`", "dog barking"),
    ((), '"dog" and "cat"', '"dog" and "cat"'),
    ((), "(B)", "B"),
    ((), "(5, 3)", "(5, 3)"),
    ((), "-5", "-5"),
    ((), "- 5", "- 5"),
    ((), "3 < 4 and 5 > 2", "3 < 4 and 5 > 2"),
    ((), "2**3 and 4**5", "2**3 and 4**5"),
    ((), "snake_case_name", "snake_case_name"),
    ((), r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    ((), r"\boxed{1} \boxed{2}", SEVERAL),
    ((), "a dog", "a dog"),
    ((), "", EMPTY),
    ((), "**  **", EMPTY),
    ((), "**a** and **b**", "a and b"),
    ((), "*a* and *b*.", "a and b"),
    ((), "** a (*1) **", "a (*1)"),
)


@pytest.mark.parametrize(("choices", "text", "expected"), CASES)
def test_a_case_by_hand(choices: tuple[str, ...], text: str, expected: str) -> None:
    read = read_answer(text, choices)
    assert (read.answer or f"!{read.problem}") == expected
    assert (read.answer is None) == (read.problem is not None)


def test_the_table_is_long_enough() -> None:
    assert len(CASES) == len({(choices, text) for choices, text, _ in CASES}) >= 300


ORDINARY = (
    """
{letter} | ({letter}) | {letter}. | {letter}) | [{letter}] | {letter}: | **{letter}** | **({letter})** | {letter}!
{text} | {text}. | {text}! | "{text}" | **{text}** | `{text}` | - {text} | A {text}. | The {text}
{letter}. {text} | {letter}) {text} | ({letter}) {text} | {letter} - {text} | {letter}: {text} | {letter} {text}
({letter}) {text}. | **{letter}. {text}** | **{letter}.** {text} | **{letter}**: {text} | {letter}. A {text}.
Option {letter} | Option {letter}: {text} | option ({letter}) | Choice {letter}. | Letter {letter} | ({letter}) - {text}
Answer: {letter} | Answer: {text} | Answer: ({letter}) {text} | **Answer:** {letter}. {text} | Final answer: {letter}
The answer is {letter}. | The answer is {text}. | The answer is ({letter}). | The answer is: {letter}. {text}
The correct answer is {letter}. {text}. | The correct answer is **({letter}) {text}**. | My answer is a {text}.
So the answer is {letter} | Therefore, the correct option is {letter}. | The best choice is ({letter}) {text}
""".replace("\n", " | ")
    .strip(" |")
    .split(" | ")
)
ORDINARY += [
    r"\boxed{{{letter}}}",
    r"$\boxed{{\text{{{text}}}}}$",
    r"The answer is $\boxed{{{letter}. \text{{{text}}}}}$.",
    "Answer:\n\n{letter}",
    "Answer:\n{letter}. {text}",
    "### Answer\n{text}",
    "{letter}\n{text}",
    "{letter}. {text}\n\nAnswer: {letter}",
    "{text}, {letter}",
]
"""Replies of chat models that everybody takes for an answer."""


@pytest.mark.parametrize("writing", ORDINARY)
def test_an_ordinary_reply_stays_read(writing: str) -> None:
    for letter, text in zip("ABCD", PETS, strict=True):
        for reply in (writing.format(letter=letter, text=text), writing.format(letter=letter, text=text.upper())):
            assert read_answer(reply, PETS).answer == text, reply
            assert reading(f"<think>It is short.</think>\n{reply}", PETS).answer == text, reply


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("It barks.\nAnswer: B", "dog"),
        ("It barks.\n\nAnswer:\n\nB", "dog"),
        ("Answer:\n\nB", "dog"),
        ("ANSWER: \nB", "dog"),
        ("ANSWER:", EMPTY),
        ("Answer: A\nWait, no. The answer is B.", NONE),
        ("ANSWER: A\nActually B", NONE),
        ("Answer: A\n<think>no</think>\nB", SEVERAL),
        ("<answer>B", "!no_answer"),
        ("<answer>\nAnswer: B", "!no_answer"),
        ("<think>so</think><Answer>B. dog", "!no_answer"),
        ("<SOLUTION>B - dog", "!no_answer"),
        ("<think>I write <answer> first</think>B", "dog"),
        ("<answer>B</answer><answer>", "dog"),
        ("<answer></answer>B", EMPTY),
        ("", EMPTY),
    ],
)
def test_a_reply_whose_form_nobody_named(reply: str, expected: str) -> None:
    parsed = reading(reply, PETS)
    assert (parsed.answer or f"!{parsed.problem}") == expected


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("think", "<answer>A"),
        ("think", "<think>x</think><answer>A"),
        ("answer_line", "x\nANSWER: A"),
        ("answer_line", "Answer:\nA"),
        ("answer_line", "Answer: A\nno"),
        ("answer_line", "ANSWER: A\nActually B"),
    ],
)
def test_a_guessed_form_reads_as_the_named_one(name: str, reply: str) -> None:
    assert reading(reply, PETS) == form(name).parse(reply, PETS)


READ_ALL = """
import json, sys
import auscult
from auscult.core.answer import read_answer
print(json.dumps([read_answer(text, choices).answer for choices, text in json.load(sys.stdin)]))
"""


def test_what_is_read_does_not_depend_on_the_process() -> None:
    asked = json.dumps([(choices, text) for choices, text, _ in CASES])
    for seed in ("1", "2"):  # of the order of sets
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", READ_ALL]
        done = subprocess.run(command, input=asked, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == [None if wanted.startswith("!") else wanted for _, _, wanted in CASES]


DRAWING = ("random", "secrets", "numpy.random", "auscult.core.seeds")


def test_nothing_that_reads_or_grades_can_draw() -> None:
    sources = Path(auscult.__file__).parent
    files = [sources / "core" / "answer.py", sources / "core" / "forms.py"]
    files += [*(sources / "rewards").rglob("*.py"), *(sources / "evaluate" / "scorers").rglob("*.py")]
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            assert not [name for name in names if name in DRAWING], f"{file} imports {names}"


WRITINGS = (
    "{text}",
    "{text}.",
    "**{text}**",
    "{letter}",
    "({letter})",
    "{letter}.",
    "({letter}) {text}",
    "{letter}. {text}",
    "{letter}) {text}",
    "{letter} - {text}",
    "**{letter}. {text}**",
    "Option {letter}",
    "Answer: {letter}. {text}",
    "The answer is {text}.",
    "The correct answer is ({letter}) {text}.",
    r"\boxed{{{letter}}}",
)


def test_every_option_of_mmau_reads_back_however_it_is_written(testdata: Path) -> None:
    rows = json.loads((testdata / "text" / "mmau-test-mini.json").read_text())
    wrong: list[tuple[str, str | None]] = []
    for row in rows:
        choices = row["choices"]
        for letter, text in zip("ABCDEFGHIJ", choices, strict=False):
            for writing in WRITINGS:
                reply = writing.format(letter=letter, text=text)
                read = read_answer(reply, choices)
                # Six rows ask for chords or words such as "C" and "a": there a bare letter is the option's text.
                expected = letter if "{text}" not in writing and normal(letter) in map(normal, choices) else text
                if writing in ("({letter})", "Option {letter}"):
                    expected = text
                if read.answer is None or normal(read.answer) != normal(expected):
                    wrong.append((reply, read.answer))
    assert wrong == []


def test_no_list_of_options_of_mmau_is_an_answer(testdata: Path) -> None:
    for row in json.loads((testdata / "text" / "mmau-test-mini.json").read_text()):
        choices = list(dict.fromkeys(row["choices"]))
        lettered = [f"({letter}) {text}" for letter, text in zip("ABCDEFGHIJ", choices, strict=False)]
        for separator in (" ", ", ", "\n", "; ", " or "):
            for options in (choices, choices[::-1], lettered, lettered[:2]):
                read = read_answer(separator.join(options), choices)
                assert read.problem in ("several_answers", "not_a_choice"), (options, read)


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda text: clean(text)
)


@given(st.lists(words, min_size=1, max_size=6), st.data())
@settings(deadline=None)
def test_an_option_is_always_itself(choices: list[str], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(choices))
    answer = read_answer(chosen, choices).answer
    assert answer is not None
    assert answer.split() == chosen.split()


@given(st.text(max_size=60), st.lists(words, max_size=4))
@settings(deadline=None)
def test_any_text_is_an_option_or_a_named_problem(text: str, choices: list[str]) -> None:
    read = read_answer(text, choices)
    if read.answer is None:
        assert read.problem in ("empty", "several_answers", "not_a_choice")
    else:
        assert read.problem is None
        assert read.answer in choices or (not choices and same_answer(read.answer, text))


@given(st.permutations(PETS), st.sampled_from(PETS))
@settings(deadline=None)
def test_text_does_not_depend_on_the_order_of_the_options(choices: list[str], chosen: str) -> None:
    assert read_answer(f"The answer is a {chosen}.", choices).answer == chosen


BOTH = [writing for writing in WRITINGS if "{letter}" in writing and "{text}" in writing]


@given(st.lists(words, min_size=2, max_size=6, unique_by=normal), st.sampled_from(BOTH), st.data())
@settings(deadline=None)
def test_an_option_written_with_its_letter_is_never_another_one(
    choices: list[str], writing: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(choices) - 1))
    reply = writing.format(letter="ABCDEF"[place], text=choices[place])
    assert read_answer(reply, choices).answer in (choices[place], choices[place].strip(), None)


@given(st.lists(st.sampled_from("\u200b\u200f\u061c\u202b\u202c\u2067\u2069\ufeff"), max_size=8), st.data())
@settings(deadline=None)
def test_direction_marks_say_nothing(marks: list[str], data: st.DataObject) -> None:
    choices, marked, expected = data.draw(st.sampled_from([c for c in CASES if c[0] == PETS and len(c[1]) < 100]))
    for mark in marks:
        place = data.draw(st.integers(0, len(marked)))
        marked = marked[:place] + mark + marked[place:]
    read = read_answer(marked, choices)
    assert (read.answer or f"!{read.problem}") == expected


@given(words)
@settings(deadline=None)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_same_answer() -> None:
    assert same_answer("The answer is **Dog**.", "dog")
    assert same_answer("ｄｏｇ", "dog")
    assert not same_answer("dog", "dogs")
    assert not same_answer("10²", "102")
    assert not same_answer('""', "...")


FLOODS = (
    *(
        "A ",
        "B. ",
        "B\n",
        "B,",
        "dog ",
        "a",
        " ",
        "\n",
        "*",
        " *",
        "*a",
        "**",
        "_",
        "_a_",
        "`",
        "#",
        "- - ",
        '"',
        "\"'",
    ),
    *("(", "<", "<b>", "<a", "</", "\\boxed{", "\\boxed{a}", "\\text{", "{", "}", "$", "Answer: ", "é", "“", "²", "狗"),
)


@pytest.mark.parametrize("flood", FLOODS)
def test_a_megabyte_of_anything_is_read_in_linear_time(flood: str) -> None:
    text = flood * (2**20 // len(flood))
    began = time.process_time()
    for reply in (text, f"A. {text}"):
        read_answer(reply, ("tone", "low tone", "dog"))
    assert time.process_time() - began < 10, "a scan that is not linear takes minutes"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B - Pneumonia visible in right lower lobe", "Pneumonia"),
        ("B - opacity in the left lower lobe", "Pneumonia"),
        ("B. It lies\nin the left lobe", "Pneumonia"),
        ("(B) consolidation", "Pneumonia"),
        ("B: an infiltrate, **dense**", "Pneumonia"),
        ("b - opacity", None),
        ("B opacity", None),
        ("B - Tumor", None),
        ("B - rather than C", None),
        ("B - not A", None),
        ("E - opacity", None),
        ("B -5", None),
    ],
)
def test_a_form_that_asks_for_words_about_the_letter_reads_them(text, answer):
    choices = ("Normal", "Pneumonia", "Fracture", "Tumor")
    assert read_answer(text, choices, explained=True).answer == answer
    assert read_answer(text, choices).answer is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B. dog\n\nExplanation: it barks", "dog"),
        ("B. dog. It barks.", "dog"),
        ("(B) Dog, because it barks", "dog"),
        ("B - dog (barking)", "dog"),
        ("C: dog  bark\nas heard", "dog bark"),
        ("B. dog because it barks", None),
        ("B. dog is wrong", None),
        ("B. dog? No", None),
        ("B. dog, not a cat", None),
        ("B. dog\nC. dog bark", None),
        ("B: dog bark, of course", None),
        ("A. cat. The answer is B", None),
        ("a cat, on a roof", None),
        ("A cat, on a roof", None),
        ("b. dog. It barks", None),
        ("B. It barks. dog", None),
    ],
)
def test_behind_a_letter_and_its_text_an_explanation_may_follow(text, answer):
    assert read_answer(text, ("cat", "dog", "dog bark")).answer == answer
