r"""Forms: the shape an answer must have. One `Form` writes the instruction, renders the SFT target and reads the reply.

A form has up to three places, in this order: thinking, semantic elements, answer. Reading is tolerant where nothing can
be gained by it; `well_formed` is strict.

- Thinking reaches from its opening tag to the next closing tag. A closing tag without an opening one ends thinking that
  began before the reply, because some chat templates put `<think>` into the prompt. What stands in it is never an
  answer. Thinking that is still open at the end means that there is no answer, whatever else the reply holds. The tags
  `<think>` and `</think>` mean this in every form: models that always think do not stop for a bare label.
- The answer is the last complete answer tag outside of the thinking, and `core.answer` reads what stands in it.
- The last line that begins with `ANSWER:` opens an answer without an end: with choices all that follows it is part of
  the answer (so `ANSWER: A`, next line `No, B` is none), an open one ends with its line, or the next that is not blank.
- `well_formed` wants every tag exactly once, spelled as in the form, in order, nothing but white space around the
  places, and an answer that is not blank.

`render` refuses a text that holds one of the form's own tags: the target would not read back as itself. All scans are
single passes, because replies come from policies that repeat themselves.
"""

from __future__ import annotations

import difflib
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from types import MappingProxyType

from auscult.core.answer import read_answer
from auscult.core.errors import ConfigError, RenderError
from auscult.core.types import Parsed

Tags = tuple[str, str]
"""An opening and a closing tag."""

THINK: Tags = ("<think>", "</think>")
"""Tags of thinking in every form, whatever else it has."""


@dataclass(frozen=True, slots=True)
class Form:
    """The shape of a reply: its instruction, its renderer and its parser."""

    name: str
    """What recipes call it."""
    instruction: str
    """Text appended to the prompt of a model that follows instructions."""
    answer: Tags | None
    """Tags of the answer. An empty closing tag: it begins a line. None: the whole reply is the answer."""
    thinking: Tags | None = None
    """Tags of the thinking, when the form has a place for it."""
    semantic: Tags | None = None
    """Tags of the optional place between thinking and answer."""
    between: str = ""
    """What `render` puts between the places."""
    lettered: bool = False
    """Whether `render` writes an option as `B - text` when it is given the choices."""

    def render(
        self, answer: str, thought: str | None = None, semantic: str | None = None, choices: Sequence[str] = ()
    ) -> str:
        """The reply that a demonstration imitates.

        Without a thought its place stays empty; a form that has no place for `thought` or `semantic` leaves it out.
        Raises RenderError when the answer is blank, or when a text holds a tag and would not read back as itself.
        """
        thought, semantic = thought if self.answer else None, semantic if self.semantic else None
        self._refuse_tags(answer, thought, semantic)
        if answer not in choices and read_answer(answer).answer is None:
            raise RenderError(f"form {self.name}: {answer!r} reads as no answer; give the sample one answer in words")
        if self.lettered and answer in choices[: len(ascii_uppercase)]:
            answer = f"{ascii_uppercase[choices.index(answer)]} - {answer}"
        opening, closing = self.answer or ("", "")
        if not closing:
            answer = " ".join([*opening.split(), *answer.split()])  # what has no closing tag must stay on one line
            opening = ""
        places: list[str] = []
        if self.thinking:
            places.append((thought or "").strip().join(self.thinking))
        elif thought:
            places.append(thought.strip())
        if self.semantic and semantic is not None:
            places.append(semantic.strip().join(self.semantic))
        return self.between.join([*places, opening + answer + closing])

    def parse(self, text: str, choices: Sequence[str] = (), *, verbatim: bool = False) -> Parsed:
        """Read a reply; with `choices` the answer is the text of one of them; with `verbatim` it is what stands in its
        place to the letter, wrapping and all, white space around the place aside.

        Problems: `empty`, `unclosed_thinking`, `no_answer`, `several_answers`, `not_a_choice`.
        """
        if not text.strip():
            return Parsed(None, "empty")
        outside, thought = self._split(text)
        if outside is None:
            return Parsed(None, "unclosed_thinking", thought)
        body, before = self._find(outside, to_the_end=bool(choices))
        if body is None:
            return Parsed(None, "no_answer", thought)
        whole = body if body == text else body.strip()
        read = Parsed(whole) if verbatim and whole.strip() else read_answer(body, choices, explained=self.lettered)
        well_formed = read.problem != "empty" and self._keeps_to(text.strip())
        return replace(read, thought=thought or before, well_formed=well_formed)

    def tags(self) -> list[str]:
        """The tags of this form, in the order in which a reply has them."""
        return [tag for pair in (self.thinking, self.semantic, self.answer) if pair for tag in pair if tag]

    def _split(self, text: str) -> tuple[list[str] | None, str | None]:
        """What stands outside of the thinking (None when thinking is still open at the end), and the thinking."""
        pairs = {THINK, self.thinking or THINK}
        openings = {opening for opening, _ in pairs}
        outside: list[str] = []
        thoughts: list[str] = []
        began = position = 0  # of the reply proper, and of the passage that is being read
        inside = False
        for tag in _finder(*(tag for pair in pairs for tag in pair)).finditer(text):
            opens = tag[0].lower() in openings
            if opens and inside:
                continue
            if opens or inside:
                (outside if opens else thoughts).append(text[position : tag.start()])
            else:  # the opening tag stood in the prompt: all before was thinking
                began = tag.end()
                outside.clear()
                thoughts.clear()
            position, inside = tag.end(), opens
        (thoughts if inside else outside).append(text[position:])
        thoughts.insert(0, _finder(*THINK, *(self.thinking or ())).sub("", text[:began]))
        thought = "\n".join(part.strip() for part in thoughts if part.strip()) or None
        return (None if inside else outside), thought

    def _find(self, outside: Sequence[str], *, to_the_end: bool) -> tuple[str | None, str | None]:
        """What stands in the place of the answer (None when there is no such place), and free reasoning before it."""
        if self.answer is None:
            return "\n".join(outside), None
        opening, closing = self.answer
        for index, passage in reversed(tuple(enumerate(outside))):
            if closing and (body := _last_tag(passage, opening, closing)) is not None:
                return body, None
            if not closing and (line := _last_line(passage, opening)):
                marked = line["before"].strip() or line["after"].strip()  # its other half is in the rest of the line
                said = line[0] if marked else line["rest"]
                after = "\n".join([passage[line.end() :], *outside[index + 1 :]]).strip()
                if not to_the_end:
                    after = "" if line["rest"].strip(" \t*_`") else after.partition("\n")[0]
                said = f"{said}\n{after}" if after else said
                return said, passage[: line.start()].strip() or None
        return None, None

    def _keeps_to(self, reply: str) -> bool:
        """Whether `reply`, stripped, consists of this form's places in order and of nothing else."""
        if self.answer is None:
            return "\n" not in reply and not _finder(*THINK).search(reply)
        opening, closing = self.answer
        if not closing:
            line = _last_line(reply, opening)
            if line is None or line.end() < len(reply) or not reply.startswith(opening, line.start()):
                return False
            return not _last_line(reply[: line.start()], opening) and not _finder(*THINK).search(reply)
        for tags in (self.thinking, self.semantic, self.answer):
            if tags is None or (tags == self.semantic and not reply.startswith(tags[0])):
                continue
            inner, closed, rest = reply.partition(tags[1])
            nested = _finder(*THINK, *self.tags()).search(inner, len(tags[0]))
            if not closed or not inner.startswith(tags[0]) or nested:
                return False
            reply = rest.lstrip()
        return not reply

    def _refuse_tags(self, *texts: str | None) -> None:
        """A line that begins with `ANSWER:` is a tag too, except in the answer, which `render` puts on that line."""
        line = self.answer[0] if self.answer and not self.answer[1] else ""
        tags = [tag for tag in (*THINK, *self.tags()) if tag != line]
        for index, text in enumerate(texts):
            held = _finder(*tags).search(text or "")
            if not held and line and index:
                held = _last_line(text or "", line)
            if held:
                raise RenderError(
                    f"form {self.name}: {(text or '')[:80]!r} holds {held[0].strip()[:80]!r}, so the reply would not "
                    f"read back as itself; take it out of the sample's text or choose another form"
                )


def _finder(*tags: str) -> re.Pattern[str]:
    """Finds tags in any letter case."""
    return re.compile("|".join(map(re.escape, tags)), re.IGNORECASE | re.ASCII)


def _last_tag(passage: str, opening: str, closing: str) -> str | None:
    """The content of the last complete tag; of nested ones, the innermost."""
    body, start = None, None
    for tag in _finder(opening, closing).finditer(passage):
        if tag[0].lower() == opening.lower():
            start = tag.end()
        elif start is not None:
            body, start = passage[start : tag.start()], None
    return body


def _last_line(passage: str, opening: str) -> re.Match[str] | None:
    """The last line that begins with `opening` (which ends with a colon), in any letter case and with markdown."""
    word = re.escape(opening.removesuffix(":"))
    pattern = rf"^(?P<before>[ \t*_#>`]*){word}(?P<after>[ \t*_`]*):(?P<rest>.*)$"
    lines = deque(re.finditer(pattern, passage, re.IGNORECASE | re.MULTILINE | re.ASCII), maxlen=1)
    return lines[0] if lines else None


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        made.name: made
        for made in (
            Form(
                "think",
                "First think between <think> and </think>. Then write only your answer between <answer> and </answer>.",
                answer=("<answer>", "</answer>"),
                thinking=THINK,
            ),
            Form(
                "solution",
                "Write your reasoning between <start_working_out> and <end_working_out>. Then write the letter and the "
                "text of your answer between <SOLUTION> and </SOLUTION>, for example: B - text of option B.",
                answer=("<SOLUTION>", "</SOLUTION>"),
                thinking=("<start_working_out>", "<end_working_out>"),
                lettered=True,
            ),
            Form(
                "answer_line",
                'Reason step by step. Then end with one line that begins with "ANSWER:" and holds only your answer.',
                answer=("ANSWER:", ""),
                between="\n",
            ),
            Form(
                "semantic",
                "First think between <think> and </think>. Then you may list what you hear or see between "
                "<semantic_elements> and </semantic_elements>. Then write only your answer between <answer> and "
                "</answer>.",
                answer=("<answer>", "</answer>"),
                thinking=THINK,
                semantic=("<semantic_elements>", "</semantic_elements>"),
                between="\n",
            ),
            Form("label", "Reply with the answer only.", answer=None),
        )
    }
)
"""All forms by name."""


def form(name: str) -> Form:
    """The form called `name`; ConfigError when there is none."""
    if name in FORMS:
        return FORMS[name]
    near = difflib.get_close_matches(name, FORMS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(FORMS)}"
    raise ConfigError(f"there is no answer form {name!r}: {hint}")
