r"""The one reader of answers: what a reply says once its form has pointed at the place where the answer stands.

Reward, evaluation and submission all read through this file, so they cannot disagree. It refuses rather than guesses: a
reply that might mean two things has no answer, and `Parsed.problem` says why. Its rules, in the order they apply:

1. Text is compared under Unicode NFKC, so a fullwidth letter is its ASCII letter. Look-alikes of other scripts are not:
   a Cyrillic or Greek capital that looks like `A` is no option letter.
2. If something is boxed (`\boxed{...}`), the box is the answer; boxes that do not agree are several answers.
3. Wrapping is peeled off: tags, quotes, markdown, LaTeX text commands, trailing dots and exclamation marks (`5!` is a
   number and stays), "Answer:", "The answer is".
4. With choices, the *whole* remaining text must name one option, and the option's own text is returned. It may be
   written

   - as its text: spacing, letter case, wrapping and a leading article are no difference, unless they are all that tells
     two options apart ("Cm" and "CM");
   - as its letter: `B`, `(b)`, `B.`, `Option B`;
   - as its letter and its text: `B) dog`, `B - dog`, `B dog`; behind a capital letter, a separator and the text an
     explanation may follow, after a punctuation mark or on a new line, that names no other option: `B. dog. It barks`.

   Whatever else stands there makes it no answer, a letter with an explanation alone too: no list of words tells
   `B - it barks` from `B - impossible`, and a reader who guesses pays replies that take their letter back. Only where
   the form itself asks for the letter and words about it (`explained`) are a capital letter and a separator read as the
   option, if the words name no other one.

   Where the options are themselves letters (chords are), `B` is the option that reads "B"; `(B)` and `Option B` are
   the letter.
5. Lines, and parts between commas or semicolons, may repeat the answer (`B`, next line `dog`); if they differ there are
   several answers. Nothing is credited because an option's text occurs *within* a longer text; occurrences can only
   refuse.
6. A bare letter counts only when it is the whole answer, in either case. An article needs a noun: "a" alone is the
   letter A, "a dog" is the option "dog" wherever it stands in the list, and "a cow" is nothing if no option is "cow".

Everything takes time linear in the length of the reply, because replies come from policies that repeat themselves.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from string import ascii_uppercase

from auscult.core.types import Parsed

# NFKC would glue these onto the digit before them: ten squared would read 102, one and a half 11/2.
_MEANT = {raised: f"^{digit}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")} | {"¼": " 1/4", "½": " 1/2", "¾": " 3/4"}
# No-width and direction marks, which say nothing.
_INVISIBLE = "\u200b\u200e\u200f\u2060\ufeff\u00ad\u061c\u202a-\u202e\u2066-\u2069"
_MARKS = re.compile(f"[{_INVISIBLE}]")
_SPECIAL = re.compile(f"[{''.join(_MEANT)}{_INVISIBLE}]")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "„": "“", "«": "»", "「": "」", "『": "』", "$": "$"}
_TAG = re.compile(r"</?[a-z][\w-]*>", re.IGNORECASE)
_STARS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*]+)(?<=\S)\1(?![\w*])")
_UNDERSCORES = re.compile(r"(?<!\w)(_{1,3})(?=[^\s_])([^_]+)(?<=\S)\1(?!\w)")
_BULLET = re.compile(r"(?:(?:#{1,6}|>|[*•]|-(?=\s*[^\s\d.]))\s+)+")  # "- 5" may be minus five
_COMMAND = re.compile(r"\\(?:boxed|fbox|text|textbf|textit|mathrm|mathbf)\s*\{([^{}]*)\}")
_BRACKETED = re.compile(r"[(\[{]\s*([a-z])\s*[)\]}]", re.IGNORECASE | re.ASCII)
_PREFIX = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:(?:the|my)\s+)?(?:(?:final|correct|right|best)\s+)?"
    r"(?:answer|solution|option|choice)(?:\s+(?:is|would\s+be|should\s+be)(?:\s*:|(?!\w))|\s*[:=]|[ \t]*(?=\n))\s*",
    re.IGNORECASE,
)
_BRACE = re.compile(r"\\[{}]|(\\(?:boxed|fbox)\s*\{)|[{}]")
_ARTICLE = re.compile(r"(?:a|an|the)[ \t]+(?=\S)")  # on one line: "A" above "dog" is a letter
_NAMED = r"(?:(?:option|choice|letter|answer)\s)?"
_LETTER = _NAMED + r"[(\[{]?\s?([a-z])(?![^\W_])(?:\.(?=[)\]}]))?(?:\s?[)\]}])*"
_LABEL = re.compile(_LETTER + r"\s?[.:]?", re.IGNORECASE | re.ASCII)
# A dash separates only when a space follows: "B -5" is option B with the text "-5".
_LABELLED = re.compile(_LETTER + r"(?:\s?(?:[.:]|[-–—]+(?=\s)))?\s?(\S.*)", re.IGNORECASE | re.DOTALL)
_EXPLAINED = re.compile(r"[(\[]?([A-Z])[)\]]?(?:\s?[.:]|\s?[-–—]+(?=\s)|(?<=[)\]]))\s?(\S.*)", re.DOTALL)
_BETWEEN = re.compile(r"[\n,;]")
_CAPITAL = re.compile(r"(?<!\w)(?:([B-HJ-Z])|([AI])(?!\s+(?!or\b|and\b)[^\W\d_]))(?!\w)")  # not the words "A", "I"
_ENDS = " \t\r\n.。"
_LAYERS = 16
"""Wrappings peeled off one another. A bound, because a policy can write a hundred thousand nested quotes."""
_PARTS = 64
"""Parts of an answer that are looked at one by one; what has more of them is no answer to a question with choices."""


def read_answer(text: str, choices: Sequence[str] = (), *, explained: bool = False) -> Parsed:
    """Read the text that stands where an answer should; with `choices`, the answer is the text of one of them, and with
    `explained` its letter may be followed by words of any kind.

    Without choices any text is an answer, returned with its wrapping peeled off; several answers can then be told only
    from several boxes. Problems: `empty`, `several_answers`, `not_a_choice`.
    """
    options = tuple(choices)
    if text.strip() in options:
        return Parsed(text.strip())  # whatever an option consists of, it is itself
    if not text.isascii():
        text = _MARKS.sub("", text)  # a mark inside of `\boxed` must not hide one of two boxes
    boxes = list(_boxes(text))
    if len({normal(box) for box in boxes}) > 1:
        named = _named(boxes, options)
        return Parsed(named.pop()) if _one(named) else Parsed(None, "several_answers")
    body = boxes[-1] if boxes else text
    cleaned = clean(body)
    if not options:
        letter = _BRACKETED.fullmatch(cleaned)
        return Parsed(letter[1] if letter else cleaned) if cleaned else Parsed(None, "empty")
    if (option := _option(body, options)) is not None:
        return Parsed(option)
    if (option := _explained(cleaned, options, freely=explained)) is not None:
        return Parsed(option)
    if not cleaned:
        return Parsed(None, "empty")
    named = _named([stripped for part in _BETWEEN.split(cleaned) if (stripped := part.strip())], options)
    if _one(named):
        return Parsed(named.pop())
    several = len(named - {None}) > 1 or len(_mentioned(body, options)) > 1
    return Parsed(None, "several_answers" if several else "not_a_choice")


def same_answer(one: str, other: str) -> bool:
    """Whether two answers say the same, wrapping, spacing and letter case aside."""
    return one == other or normal(one) == normal(other) != ""


def normal(text: str) -> str:
    """The text under which answers are compared: peeled, NFKC, single spaces, case folded."""
    return _spaced(clean(text)).casefold()


@lru_cache(maxsize=16)  # one reading asks for the same text under several views
def clean(text: str) -> str:
    """The text without its wrapping: tags, quotes, markdown, LaTeX commands, trailing dots and `!`, "Answer:"."""
    text = _folded(text).strip()
    for _ in range(_LAYERS):
        peeled = _peel(text)
        if peeled == text:
            break
        text = peeled
    return text


def _peel(text: str) -> str:
    """One layer of wrapping less. The subtle scans run only where their sign occurs at all: replies can be long."""
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "*" in text:
        text = _STARS.sub(r"\2", text)
    if "_" in text:
        text = _UNDERSCORES.sub(r"\2", text)
    text = text.replace("`", "").strip()
    for mark in ("**", "__", "*"):  # around the whole text, whatever single signs stand in it
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
            inner = text[len(mark) : -len(mark)]
            text = text if mark in inner else inner.strip()
    if bullet := _BULLET.match(text):
        text = text[bullet.end() :]
    if text[:2] + text[-2:] in (r"\(\)", r"\[\]"):
        text = text[2:-2].strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and not {text[0], text[-1]} & set(text[1:-1]):
        text = text[1:-1].strip()
    if wrapped := _COMMAND.fullmatch(text):
        text = wrapped[1].strip()
    if prefix := _PREFIX.match(text):
        text = text[prefix.end() :]
    ended = text.rstrip(_ENDS + "!")
    return text.rstrip(_ENDS) if ended[-1:].isdigit() else ended  # a factorial is another number


def _folded(text: str) -> str:
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _SPECIAL.sub(lambda sign: _MEANT.get(sign[0], ""), text))


def _spaced(text: str) -> str:
    return " ".join(_folded(text).split())


def _spellings(text: str) -> tuple[str, ...]:
    """The text under ever looser views; the first view that knows an option decides."""
    spaced, cleaned = _spaced(text), clean(text)
    key = cleaned.casefold()
    article = _ARTICLE.match(key)
    views = (spaced, spaced.casefold(), cleaned, key, key[article.end() :] if article else key)
    return text, *map(_spaced, views)


@lru_cache(maxsize=1024)
def _spelled(choices: tuple[str, ...]) -> tuple[dict[str, str | None], ...]:
    """For each view of `_spellings`, the option by its spelling; None where different options are spelled the same."""
    views: list[dict[str, str | None]] = []
    for spellings in zip(*map(_spellings, choices), strict=True):
        view: dict[str, str | None] = {}
        for choice, spelling in zip(choices, spellings, strict=True):
            known = view.setdefault(spelling, choice)
            if known is not None and _spaced(known) != _spaced(choice):
                view[spelling] = None
        view.pop("", None)
        views.append(view)
    return tuple(views)


def _by_text(text: str, choices: tuple[str, ...]) -> str | None:
    """The one option whose text this is; None when there is none, or when two different options would fit."""
    for spelling, view in zip(_spellings(text), _spelled(choices), strict=True):
        if spelling in view:
            return view[spelling]
    return None


def _by_letter(letter: str, choices: tuple[str, ...]) -> str | None:
    index = ascii_uppercase.find(letter.upper()) if letter.isascii() else -1  # a Turkish dotless i is no I
    return choices[index] if 0 <= index < len(choices) else None


def _option(text: str, choices: tuple[str, ...]) -> str | None:
    """The option that the whole of `text` names by text, by letter, or by letter and what follows it."""
    if (option := _by_text(text, choices)) is not None:
        return option
    for written in (_spaced(text), _spaced(clean(text))):
        if label := _LABEL.fullmatch(written):
            return _by_letter(label[1], choices)
        if labelled := _LABELLED.fullmatch(written):
            option = _labelled(labelled[1], labelled[2], choices)
            if option is not None:
                return option
    return None


def _named(texts: Sequence[str], choices: tuple[str, ...]) -> set[str | None]:
    """What each of some texts names; nothing when there are no options or too many texts."""
    distinct = set(texts)
    return {_option(text, choices) for text in distinct} if choices and len(distinct) <= _PARTS else {None}


def _one(named: set[str | None]) -> bool:
    """Whether all of them name one and the same option."""
    return len(named) == 1 and None not in named


def _labelled(letter: str, rest: str, choices: tuple[str, ...]) -> str | None:
    """The option with this letter, provided that the rest is its text; where that is not its alone, the letter says."""
    option, named = _by_letter(letter, choices), _by_text(rest, choices)
    agree = option is not None and (option == named or (named is None and same_answer(option, rest)))
    return option if agree else None


def _explained(text: str, choices: tuple[str, ...], *, freely: bool) -> str | None:
    """The option of a capital letter before a separator, provided that the words behind it name no other option; unless
    `freely`, they must begin with the option's own text."""
    written = _EXPLAINED.fullmatch(text)
    option = _by_letter(written[1], choices) if written else None
    if written is None or option is None:
        return None
    own = r"\s+".join(map(re.escape, _folded(option).strip(_ENDS).split()))
    if not freely and not re.match(rf"{own}(?:[.,;:(]|\s*\n|\s[-–—(])", written[2], re.IGNORECASE):
        return None
    return option if _mentioned(written[2], choices) <= {normal(option)} else None


def _mentioned(text: str, choices: tuple[str, ...]) -> set[str]:
    """Options, as `normal` text, that occur in `text` by text or capital letter: ground to refuse, never to credit."""
    text = _spaced(text)
    capitals = {match[1] or match[2] for match in _CAPITAL.finditer(text)}
    keys = {normal(choice) for choice in choices} - {""}
    # Longest first, so that "low tone" is not also a mention of "tone".
    texts = "|".join(re.escape(key) for key in sorted(keys, key=len, reverse=True))
    found = {match[0] for match in re.finditer(rf"(?<!\w)(?:{texts})(?!\w)", text.casefold())} if texts else set[str]()
    return found | {normal(option) for letter in capitals if (option := _by_letter(letter, choices)) is not None}


def _boxes(text: str) -> Iterator[str]:
    r"""Contents of the outermost closed `\boxed{...}`, braces balanced, in one pass."""
    opened: list[int | None] = []  # where each open box's content starts; None for a plain brace
    boxes = 0
    for brace in _BRACE.finditer(text):
        if brace[1] or brace[0] == "{":
            opened.append(brace.end() if brace[1] else None)
            boxes += bool(brace[1])
        elif brace[0] == "}" and opened and (start := opened.pop()) is not None:
            boxes -= 1
            if boxes == 0:
                yield text[start : brace.start()]
