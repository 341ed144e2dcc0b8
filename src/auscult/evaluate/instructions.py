"""Instructions whose keeping a program can verify, as IFEval has them (Zhou et al., arXiv 2311.07911).

A question's gold answer is its prompt and its instructions, one JSON text:

    {"prompt": "Name three birds, without commas.", "instructions": [{"id": "punctuation:no_comma"}]}

The programs are Google's, as EleutherAI's `lm_eval` keeps them (extra `ifeval`). Those that VoiceBench runs (its commit
5338154) were compared with lm_eval 0.4.13 function by function: they decide alike. `strict` judges the reply as it
stands; `loose` also without its first line, its last line and its asterisks, and takes the best of the eight.

Three things are not left to chance, as they are in the originals. The language detector has a fixed seed. A missing
argument is an error, where the originals draw one. And how often a sign must occur that is no letter, such as `#` in
the prompt 1122, is counted, where the originals take a letter drawn at random for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from auscult.core.errors import ConfigError, DataError

LETTERS, WORDS = "keywords:letter_frequency", "keywords:frequency"
EXTRA = "pip install 'auscult[ifeval]'"
MODEL = "tokenizers/punkt_tab/english/"
"""NLTK's model of English sentences, which some of the programs split with; NLTK does not ship it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Which of a prompt's instructions a reply keeps, in their order."""

    strict: tuple[bool, ...]
    """Of the reply as it stands."""
    loose: tuple[bool, ...]
    """Of the reply, or of it without its first line, last line or asterisks."""


def gold(prompt: str, names: Sequence[str], arguments: Sequence[Mapping[str, Any]]) -> str:
    """The gold answer of a prompt: its instructions by name, with the arguments of each that are set."""
    told = [
        {"id": name, **{key: value for key, value in given.items() if value}}
        for name, given in zip(names, arguments, strict=True)
    ]
    return json.dumps({"prompt": prompt, "instructions": told}, ensure_ascii=False)


def instructions_of(answer: str) -> tuple[str, list[dict[str, Any]]] | None:
    """The prompt and the instructions that a gold answer holds; None for one that holds none."""
    try:
        found = json.loads(answer)
        return found["prompt"], [dict(one) for one in found["instructions"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


@lru_cache(maxsize=4096)  # a score asks for each reply and for all of them
def kept(answer: str, reply: str) -> Kept:
    """Which instructions of a gold answer the reply keeps; a blank reply keeps none.

    Raises DataError for an answer that holds no instructions, or some that nobody can verify; ConfigError when what
    verifies them is not installed.
    """
    found = instructions_of(answer)
    if found is None:
        raise DataError(f"{answer[:60]!r} holds no verifiable instructions; choose another rule")
    prompt, listed = found
    checker = _checker()
    told = [_told(checker, str(one.pop("id")), one) for one in listed]
    asked = checker.InputExample(0, [name for name, _ in told], prompt, [given for _, given in told])
    strict = checker.test_instruction_following_strict(asked, reply).follow_instruction_list
    loose = checker.test_instruction_following_loose(asked, reply).follow_instruction_list
    return Kept(tuple(strict), tuple(loose))


def _told(checker: ModuleType, name: str, given: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The instruction and its arguments as a program verifies them. Raises DataError for an instruction that is not
    known, or whose arguments are not all there."""
    known = checker.instructions_registry.INSTRUCTION_DICT
    if name not in known:
        raise DataError(f"there is no instruction {name!r} in lm_eval; there are {', '.join(known)}; correct the gold")
    wanted = set(known[name](name).get_instruction_args_keys())
    if wanted != set(given):
        raise DataError(
            f"the instruction {name!r} has the arguments {sorted(given)}, but is verified by {sorted(wanted)}; "
            "correct the `kwargs` of the gold"
        )
    if name == LETTERS and not re.fullmatch("[a-z]", str(given["letter"]), re.IGNORECASE | re.ASCII):
        sign = re.escape(str(given["letter"]))
        return WORDS, {"keyword": sign, "frequency": given["let_frequency"], "relation": given["let_relation"]}
    return name, given


@cache
def _checker() -> ModuleType:
    """The module that verifies. Raises ConfigError when it, or a model that it needs, is not there."""
    detector, nltk = _installed("langdetect"), _installed("nltk")
    try:
        nltk.data.find(MODEL)
    except LookupError as problem:
        raise ConfigError(
            f"verifiable instructions need NLTK's model of sentences, {MODEL}: run python -m nltk.downloader "
            "punkt_tab; without a network, unpack its punkt_tab.zip into DIR/tokenizers/ and set NLTK_DATA=DIR"
        ) from problem
    detector.DetectorFactory.seed = 0
    return _installed("lm_eval.tasks.ifeval.utils")  # after the model, which it would try to download


def _installed(name: str) -> ModuleType:
    """A module of the extra. Raises ConfigError when it is not there."""
    try:
        return import_module(name)
    except ImportError as problem:
        raise ConfigError(f"verifiable instructions need lm_eval ({problem}): {EXTRA}") from problem
