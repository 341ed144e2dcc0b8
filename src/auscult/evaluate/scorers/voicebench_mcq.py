"""`voicebench_mcq`: VoiceBench's list of phrases, in its order; the first that stands in the reply names the letter.

The reply is lower-cased and loses a turn mark (`<1>`) at its beginning. Phrases come before letters: the first phrase
that fits with a, b, c or d decides, tried in this order. If none fits, the reply is a letter, or begins with one and
`.`, `,`, `:` or `)`. It is a loose rule: " a." anywhere says A.

Where the original draws one of four letters at random for a reply without any, ours leaves it unread and wrong; that
alone is worth up to a quarter of the unread share.

Source: `extract_answer` in src/evaluator/mcq.py of github.com/MatthewCYM/VoiceBench (5338154, Apache-2.0). The phrases
are the published rule. Those that can never be reached, because an earlier one is a part of them, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from auscult.core.types import Parsed, Sample
from auscult.evaluate.verdict import Verdict, option, want_options

LETTERS = "abcd"
PHRASES = tuple(
    r"答案是~|答案是 ~|答案是选项~|答案应该是~|答案应该是 ~|答案就是选项~|答案是‘~|是~：|答案选~|~是正确|"
    r"选项~是最合适的|answer is: **~|answer is **~|"
    r"the answer to the question is: **~|the answer to the multiple-choice question is **~|the answer is '~'|"
    r"~ is the best answer|the answer is ~|the correct answer is ~|would select ~|would choose ~|"
    r'would select option ~|would choose option ~|is "~"|is "~.|is: **~)|is **~,|is **~:|is **~)|is: **~.|is: **~:|'
    r"is **~.|be **~,|is: **~**|is therefore option **~:|is: ¶¶**~)|as **~:|be **~)|be **~:|is: ¶¶**~**|suggests **~)|"
    r'be option **~:|with **~)|is typically "~)|be to **~)|is: ¶¶~)|is likely to be: **~.|is **~ (|is option **~**|'
    r"is likely **~**|is:¶**~.|is:¶¶**~.|would be ~|would be option ~|would be (~)|would be option (~)|is ~,|"
    r"is typically ~,|is typically ~.|i'd say ~.|option ~.|option ~:|option ~,|the answer is:¶**~|is ~:|is ~.|is: ~.|"
    r"is (~)|is:¶**~)|is likely **~:|is the **~)|:¶~.|:¶~)|:¶~,|: ¶~.|:  ¶~.|:¶¶~.|:¶¶~)|is most likely **~:|:¶¶~,|"
    r': ¶¶~.|(~) would be|is ~)|is: ~)|is:¶¶~:|is: **~,|(option ~)|select option "~"|is: ~|is typically **~,|is **~**|'
    r"is likely '~'|is option '~'|is:¶**~:|is \( \boxed{~ |would be '~'|is the **~** |question is ~ (|is:¶¶**~)|"
    r"closest to option **~**|is most likely **~)|the answer to the question is '~'|known as '~'|is '~)|"
    r"is typically **~:|is \( \boxed{\text{~}} \)|is \( \text{~) }|is \( \text{~} \)|is \( \text{~:|is \( \text{~)|"
    r"is \(\text{~.|is:¶¶**~|is \( \text{~.}|is \( \text{~.|is \( \boxed{~}|is:¶\[ \boxed{\text{~}}|is:¶\[ \text{~)|"
    r"is:¶¶\[ \text{~)|is \( \textbf{~)|is \( \text{~}|is: \( \text{~.|corresponds to:¶- **~:|would be: **~**.|"
    r"is \( ~ \)|is:¶**~ |corresponds to option **~**|be **~**|be: ¶¶~)|is:¶\[ \boxed{~}|is:  ¶**~:|is: \( \text{~)|"
    r"is likely: **~,|is } \mathbf{~.|is \( \boxed{~)|is \( \textbf{~}|is \(~\)|is:¶  ¶**~:|is option **~ |"
    r'is:¶\( \textbf{~.|is \( \mathbf{~}|was option **~**|is likely "~)|option **~:|is "~)|is most likely **~,|'
    r'is often **~:|is:  ¶~)| ~.| ~,| ~:| ~)|**~.|**~)|"~.|"~,|"~:|(~)|"~"'.replace("¶", "\n").split("|")
)
"""The phrases, `~` for the letter."""


def voicebench_mcq(reply: str, item: Sample) -> Verdict:
    """Right when the letter that the first fitting phrase names is an accepted option."""
    want_options(item)
    text = reply.lower()
    if text.startswith(("<1>", "<2>", "<3>")):
        text = text[3:].strip()
    letter = next(_named(text), None)
    if letter is None:
        return Verdict(False, Parsed(None, "no_answer" if text.strip() else "empty"))
    return option(item, LETTERS.index(letter))


def _named(text: str) -> Iterator[str]:
    """The letters that the reply names, the one that counts first."""
    yield from (letter for phrase in PHRASES for letter in LETTERS if phrase.replace("~", letter) in text)
    yield from (
        letter for letter in LETTERS if text == letter or text.startswith(tuple(letter + end for end in ".,:)"))
    )
