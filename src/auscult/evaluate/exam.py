"""A benchmark put to a model, question by question, so that nothing is asked twice and nothing is lost.

    prompt x condition x question x draw  ->  answers.jsonl, a row each as it arrives  ->  outcomes

A condition is `heard`, the question with its own media, or one of the baselines `shuffled` and `silence`
(`baselines.py`), which are drawn once. Of the `votes` draws of a heard question the answer that most of them give
counts; a draw without a readable answer does not vote.

With `only`, a file of ids as `auscult errors --export` writes it, just these questions are asked.

A row of the journal is found by the hash of all that its answer depends on, so whoever is killed goes on, and another
model's answers are never taken. A question that fails (a clip that cannot be read, a server that gives up) is a row
with its reason and is asked again by the next start; with more of them than `max_failed` there is no score.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from auscult.core.answer import normal
from auscult.core.config import Plugin, at_least
from auscult.core.errors import DataError
from auscult.core.forms import form
from auscult.core.journal import Journal
from auscult.core.seeds import derive
from auscult.core.types import Media, Outcome, Parsed, Sample, Sampling
from auscult.evaluate import records
from auscult.evaluate.baselines import shuffled, silenced
from auscult.evaluate.benchmark import Benchmark, did_you_mean
from auscult.evaluate.options import Evaluate
from auscult.evaluate.predictions import by_id
from auscult.evaluate.verdict import Verdict
from auscult.models.family import Model
from auscult.models.wording import Wording, template
from auscult.rollouts.options import Server

Scorer = Callable[[str, Sample], Verdict]
"""A rule: the text that is scored, and the question."""
HEARD, SHUFFLED, SILENCE = "heard", "shuffled", "silence"


@dataclass(frozen=True, kw_only=True)
class Exam:
    """A benchmark, who is examined, and how; complete."""

    benchmark: Annotated[Benchmark, Plugin("name", "auscult.evaluate.benchmarks")]
    """What is asked."""
    model: Annotated[Model, Plugin("family", "auscult.models.families")] | None = None
    """Who answers: a model here."""
    server: Server | None = None
    """Who answers: a model that a server has."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto takes a GPU when there is one."""
    wording: Wording = field(default_factory=Wording)
    """How questions are put; its prompt is each of `prompts` in turn."""
    prompts: tuple[str, ...] = ("baseline",)
    """Prompts to compare, each a name or a text file."""
    only: str | None = None
    """File with the ids of the questions to ask, as `auscult errors RUN --export FILE` writes it; null asks all."""
    votes: int = 1
    """Answers drawn to each question; the one most often given counts."""
    baselines: bool = True
    """Ask everything without its media too: another question's, and silence."""
    scorer: str | None = None
    """What tells right from wrong; null is the benchmark's own rule."""
    max_failed: float = 0.0
    """Share of the questions that may stay without an answer; they count as wrong."""
    evaluate: Evaluate = field(default_factory=Evaluate)
    """How questions are answered."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        at_least({"votes": (self.votes, 1), "prompts": (len(self.prompts), 1)})
        if (self.model is None) == (self.server is None):
            raise ValueError("name who answers: a model or a server, one of them")
        if self.votes > 1 and self.evaluate.temperature == 0:
            raise ValueError(f"votes is {self.votes}, all alike at temperature 0; set evaluate.temperature, e.g. 0.7")
        if len(set(self.prompts)) < len(self.prompts):
            raise ValueError(f"prompts {list(self.prompts)} name one twice; keep it once")
        if not 0 <= self.max_failed < 1:
            raise ValueError(f"max_failed is {self.max_failed}: set a share from 0 to below 1")
        for prompt in self.prompts:
            replace(self.wording, prompt=prompt)

    def sittings(self, samples: Sequence[Sample], who: str) -> Iterator[Sitting]:
        """Everything that is asked; `who` stands for the weights that answer."""
        conditions: dict[str, Callable[[Sample], Sample]] = {HEARD: lambda sample: sample}
        if self.baselines:
            donors = {sample.id: sample for sample in shuffled(samples, self.seed)}
            conditions |= {SHUFFLED: lambda sample: donors[sample.id], SILENCE: silenced}
        for prompt in self.prompts:
            for condition, change in conditions.items():
                yield Sitting(
                    prompt=prompt,
                    condition=condition,
                    wording=replace(self.wording, prompt=prompt),
                    samples=samples,
                    change=change,
                    draws=self.votes if condition == HEARD else 1,
                    sampling=self.evaluate.sampling,
                    seed=derive(self.seed, "exam", prompt, condition),
                    who=who,
                    verbatim=self.benchmark.verbatim,
                )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which questions an exam asks, and of how many."""

    samples: tuple[Sample, ...]
    """The questions, in the benchmark's order."""
    of: int
    """How many the benchmark has."""
    sha256: str | None = None
    """Hash of the file that names them, hex; None where no file does."""

    def to_dict(self, exam: Exam) -> dict[str, Any] | None:
        """What a results file says of it; None where all questions are asked."""
        if len(self.samples) == self.of:
            return None
        return {"asked": len(self.samples), "of": self.of, "only": exam.only, "sha256": self.sha256}


def select(samples: Sequence[Sample], path: Path) -> Selection:
    """The samples whose ids stand in a file of rows.

    Raises DataError for a file that cannot be read whole, a row without an id, and an id that no sample has.
    """
    file = records.read(path)
    again = f"write the file again: auscult errors RUN --export {path}"
    if file.broken:
        raise DataError(f"{file.broken[0].where}: {file.broken[0].why}; {again}")
    known = {sample.id: sample for sample in samples}
    wanted: set[str] = set()
    for record in file.rows:
        name = by_id(record.row, record.number)
        if name is None:
            raise DataError(f"{record.where}: no `id`; {again}")
        if name not in known:
            near = did_you_mean(name, list(known))
            raise DataError(f"{record.where}: the benchmark has no question {name!r}{near}; {again}")
        wanted.add(name)
    return Selection(tuple(sample for sample in samples if sample.id in wanted), len(samples), file.sha256)


@dataclass(frozen=True)
class Sitting:
    """All questions under one prompt and one condition."""

    prompt: str
    """Its name."""
    condition: str
    """`heard`, `shuffled` or `silence`."""
    wording: Wording
    """How the questions are put."""
    samples: Sequence[Sample]
    """The questions with their own media."""
    change: Callable[[Sample], Sample]
    """Gives a question the condition's media, when it is asked: silence for all of them would fill the memory."""
    draws: int
    """Answers to each question."""
    sampling: Sampling
    """How they are drawn."""
    seed: int
    """Of the draws."""
    who: str
    """Stands for the weights that answer."""
    verbatim: bool = False
    """Whether answers are read as they were written."""

    def key(self, sample: Sample, draw: int) -> str:
        """Hash of all that an answer depends on."""
        wording = {**asdict(self.wording), "prompt": template(self.prompt)}
        shared = [self.who, self.condition, wording, asdict(self.sampling), self.seed]
        turns = [[turn.role, [_named(part) for part in turn.content]] for turn in sample.turns]
        return hashlib.sha256(
            json.dumps([shared, sample.id, turns, sample.choices, draw], sort_keys=True).encode()
        ).hexdigest()

    def missing(self, samples: Sequence[Sample], journal: Journal) -> list[tuple[Sample, int]]:
        """Questions and draws that have no answer yet."""
        pairs = [(sample, draw) for sample in samples for draw in range(self.draws)]
        return [pair for pair in pairs if journal.answer(self.key(*pair)) is None]

    def row(self, sample: Sample, draw: int) -> dict[str, Any]:
        """What a journal's row says beside the answer or the failure."""
        named = {"prompt": self.prompt, "condition": self.condition, "sample": sample.id, "draw": draw}
        return {"key": self.key(sample, draw), **named}

    def failures(self, journal: Journal) -> list[Mapping[str, Any]]:
        """Why answers are missing, a row each."""
        found = [journal.failure(self.key(sample, draw)) for sample, draw in self.missing(self.samples, journal)]
        return [row or {"problem": "not_asked", "detail": ""} for row in found]

    def happened(self, journal: Journal) -> Counter[str]:
        """What was done to media on the way, each clip counted once: the listener's `RENDERED` counts."""
        rows = [journal.answer(self.key(sample, 0)) for sample in self.samples]
        return sum((Counter(row.get("media", {})) for row in rows if row is not None), Counter())

    def outcomes(self, journal: Journal, scorer: Scorer) -> tuple[Outcome, ...]:
        """One outcome for each question, in order; one without any reply is wrong, its problem is `failed`. Raises
        DataError where a question has no gold answer."""
        return tuple(self._outcome(sample, journal, scorer) for sample in self.samples)

    def reading(self, sample: Sample, journal: Journal) -> tuple[str, Parsed] | None:
        """The reply that counts, and what it says; None when there is none."""
        rows = [journal.answer(self.key(sample, draw)) for draw in range(self.draws)]
        texts = [str(row["text"]) for row in rows if row is not None]
        shape = form(self.wording.form)
        readings = [shape.parse(text, sample.choices, verbatim=self.verbatim) for text in texts]
        chosen = vote(readings)
        return (texts[chosen], readings[chosen]) if readings else None

    def _outcome(self, sample: Sample, journal: Journal, scorer: Scorer) -> Outcome:
        if not sample.answers:
            raise DataError(f"sample {sample.id} has no answer and cannot be graded; mend or remove it")
        reply, parsed = self.reading(sample, journal) or ("", Parsed(None, "failed"))
        return Outcome(
            id=sample.id,
            input=sample.question,
            target=sample.answers[0],
            reply=reply,
            parsed=parsed,
            correct=parsed.answer is not None and scorer(parsed.answer, sample).correct,
            group=sample.group or sample.id,
            tags=sample.tags,
        )


def _named(part: str | Media) -> str:
    """A text, or what names a clip or image: its content where that is known, else where it lies."""
    return part if isinstance(part, str) else repr(part)


def vote(readings: Sequence[Parsed]) -> int:
    """The reading whose answer is given most often, the earliest of equals; the first one where none is readable."""
    said = [normal(reading.answer) if reading.answer is not None else None for reading in readings]
    counts = Counter(answer for answer in said if answer is not None)
    return said.index(counts.most_common(1)[0][0]) if counts else 0
