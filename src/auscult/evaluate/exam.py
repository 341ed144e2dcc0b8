"""A benchmark put to a model, question by question, so that nothing is asked twice and nothing is lost.

    prompt x condition x question x draw  ->  answers.jsonl, a row each as it arrives  ->  outcomes

A condition is `heard`, the question with its own media, or one of the baselines `UNHEARD`
(`baselines.py`), which are drawn once. Of the `votes` draws of a heard question the answer that most of them give
counts; a draw without a readable answer does not vote.

With `only`, a file of ids as `auscult errors --export` writes it, just these questions are asked.

A rule is put to what stands in the place of the answer, word for word, as `auscult score` puts it to a prediction; one
that compares texts (`TEXTUAL`) to the text of the option that stands there. Samples and predictions files carry what
the rule was put to under `answer_prediction`, so scoring either of them gives the same verdicts.

Where a judge scores (`open`, `binary`, `reference`, `rubrics`), nothing is scored here: every reply is written beside
the gold row that it answers, and `auscult score` puts that file to the judge. A question without a reply keeps its row.

What is asked is `Benchmark.put`: of VoiceBench the recording alone, which says the question and its options.

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
from auscult.core.errors import ConfigError, DataError
from auscult.core.forms import form
from auscult.core.journal import Journal
from auscult.core.seeds import derive
from auscult.core.types import Media, Outcome, Parsed, Sample, Sampling
from auscult.evaluate import records, scoring
from auscult.evaluate.baselines import UNHEARD, unheard
from auscult.evaluate.benchmark import Benchmark, did_you_mean
from auscult.evaluate.options import Evaluate
from auscult.evaluate.predictions import KEYS, ONLY, by_id
from auscult.models.family import Model
from auscult.models.wording import Wording, template
from auscult.rewards.judging.prompt import shipped
from auscult.rollouts.options import Server

TEXTUAL = ("choice", "string_match", "rubrics")
"""Rules that want the text of an option where a reply names it by its letter; the other ones read what was written."""
JUDGES = tuple(shipped())
"""Rules that are a judge's."""
HEARD = "heard"


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
    """Ask everything with another question's media too, and with none; `auscult eval` does not where a judge scores."""
    scorer: str | None = None
    """What tells right from wrong; null is the benchmark's own rule. open, binary, reference and rubrics are a judge's:
    their questions are asked here, and `auscult score` scores them."""
    max_failed: float = 0.0
    """Share of the questions that may stay without an answer; they count as wrong."""
    evaluate: Evaluate = field(default_factory=Evaluate)
    """How questions are answered."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        at_least({"votes": (self.votes, 1), "prompts": (len(self.prompts), 1)})
        if (self.model is None) == (self.server is None):
            raise ValueError("name who answers, a model or a server: --model DIR or --server URL, one of them")
        if self.votes > 1 and self.evaluate.temperature == 0:
            raise ValueError(
                f"votes (--samples) is {self.votes}, all alike at temperature 0; set evaluate.temperature, e.g. 0.7"
            )
        if len(set(self.prompts)) < len(self.prompts):
            raise ValueError(f"prompts {list(self.prompts)} name one twice; keep it once")
        if not 0 <= self.max_failed < 1:
            raise ValueError(f"max_failed is {self.max_failed}: set a share from 0 to below 1")
        if self.evaluate.calibration:
            raise ValueError(
                "calibration is measured of a recipe's held-out samples (auscult eval RECIPE): leave it out"
            )
        for prompt in self.prompts:
            replace(self.wording, prompt=prompt)
        _distinct(self.prompts)
        _check_known(self.rule, self.benchmark)

    @property
    def rule(self) -> str:
        """The name of what tells right from wrong."""
        return self.scorer or self.benchmark.scorer

    @property
    def judged(self) -> bool:
        """Whether that is a judge: then there are predictions here, and no score."""
        return self.rule in JUDGES

    def sittings(self, samples: Sequence[Sample], who: str) -> Iterator[Sitting]:
        """Everything that is asked; `who` stands for the weights that answer."""
        conditions: dict[str, Callable[[Sample], Sample]] = {HEARD: lambda sample: sample}
        if self.baselines:
            conditions |= unheard(samples, self.seed)
        for prompt in self.prompts:
            for condition, change in conditions.items():
                yield Sitting(
                    prompt=prompt,
                    condition=condition,
                    wording=replace(self.wording, prompt=prompt),
                    samples=samples,
                    put=self.benchmark.put,
                    change=change,
                    draws=self.votes if condition == HEARD else 1,
                    sampling=self.evaluate.sampling,
                    seed=derive(self.seed, "exam", prompt, condition),
                    who=who,
                    verbatim=self.benchmark.verbatim,
                )


def label(prompt: str, condition: str = HEARD) -> str:
    """What the files of a prompt, and of a condition, are called."""
    stem = Path(prompt).stem
    return stem if condition == HEARD else f"{stem}_{condition}"


def _check_known(rule: str, benchmark: Benchmark) -> None:
    """Raises ConfigError for a rule that is not there, or not for this benchmark."""
    if rule == "rubrics" and rule not in benchmark.judges:
        others = ", ".join(other for other in JUDGES if other != rule)
        raise ConfigError(f"{benchmark.title} has no rubrics, only mmar has; take one of {others}")
    names = [*scoring.SCORERS.names(), *JUDGES]
    if rule == "all":
        raise ConfigError("an exam has one scorer; `auscult score --scorer all` puts every rule to its predictions")
    if rule not in names:
        near = did_you_mean(rule, names)
        raise ConfigError(f"there is no scorer {rule!r}{near}; there are {', '.join(names)}")
    if rule not in JUDGES:
        scoring.scorer(rule)


def _distinct(prompts: Sequence[str]) -> None:
    """Raises ValueError when the files of one prompt would be those of another one, or the comparison's."""
    of = {"comparison": "the file that compares them"}
    for prompt in prompts:
        for name in (label(prompt, condition) for condition in (HEARD, *UNHEARD)):
            if (other := of.setdefault(name, prompt)) != prompt:
                raise ValueError(
                    f"prompts: the files of {prompt} and of {other} would have one name, {name}; rename it"
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
    repeated: int = 0
    """Rows of the gold file that repeat a question, which counts once."""

    @property
    def mark(self) -> dict[str, str]:
        """What every row of its answers says of it: which file of ids chose the questions, where one left some out."""
        return {} if self.sha256 is None or len(self.samples) == self.of else {ONLY: self.sha256}

    def to_dict(self, exam: Exam) -> dict[str, Any] | None:
        """What a results file says of it; None where all questions are asked."""
        if len(self.samples) == self.of:
            return None
        return {"asked": len(self.samples), "of": self.of, "only": exam.only, "sha256": self.sha256}


def select(samples: Sequence[Sample], path: Path) -> Selection:
    """The samples whose ids stand in a file of rows.

    Raises DataError for a file that cannot be read whole, a row without an id, an id that no sample has or that stands
    twice, and a question (`input`) that reads otherwise than the sample's.
    """
    file = records.read(path)
    again = f"write the file again: auscult errors RUN --export {path}"
    if file.broken:
        raise DataError(f"{file.broken[0].where}: {file.broken[0].why}; {again}")
    known = {sample.id: sample for sample in samples}
    wanted: dict[str, str] = {}
    for record in file.rows:
        name = by_id(record.row, record.number)
        if name is None:
            raise DataError(f"{record.where}: no `id`; {again}")
        if name not in known:
            near = did_you_mean(name, list(known))
            raise DataError(f"{record.where}: the benchmark has no question {name!r}{near}; {again}")
        if name in wanted:
            raise DataError(
                f"{record.where}: the id {name!r} stands at {wanted[name]} already; keep one row, or {again}"
            )
        asked = record.row.get("input")
        if isinstance(asked, str) and asked.split() != known[name].question.split():
            raise DataError(
                f"{record.where}: it asks {asked[:60]!r}, and the benchmark's question {name!r} is "
                f"{known[name].question[:60]!r}: it was written for another version of it; {again}"
            )
        wanted[name] = record.where
    return Selection(tuple(sample for sample in samples if sample.id in wanted), len(samples), file.sha256)


def published(benchmark: Benchmark) -> dict[str, dict[str, Any]]:
    """The rows of the gold file by id, without what some model has answered in them, as VoiceBench's own have it."""
    left_out = (*KEYS, "thinking_prediction")
    found = {benchmark.id_of(one.row, one.number): one.row for one in records.read(Path(benchmark.gold)).rows}
    return {
        name: {key: value for key, value in row.items() if key not in left_out}
        for name, row in found.items()
        if name is not None
    }


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a question that counts."""

    text: str
    """As it came."""
    read: Parsed
    """What its form reads in it."""
    written: str
    """What stands in the place of its answer, word for word; empty where there is no such place."""

    def put_to(self, rule: str) -> str:
        """What a rule is asked about."""
        return self.read.answer if rule in TEXTUAL and self.read.answer is not None else self.written

    def scored(self, rule: str, sample: Sample) -> tuple[bool, Parsed]:
        """Whether it is right, and what the rule read; where nothing was written, why not. Raises DataError."""
        verdict = scoring.scorer(rule)(self.put_to(rule), sample)
        unread = verdict.parsed.answer is None and not self.written
        problem = self.read.problem if unread and self.read.problem else verdict.parsed.problem
        parsed = replace(verdict.parsed, problem=problem, thought=self.read.thought, well_formed=self.read.well_formed)
        return verdict.correct, parsed


@dataclass(frozen=True)
class Sitting:
    """All questions under one prompt and one condition."""

    prompt: str
    """Its name."""
    condition: str
    """`heard`, or one of the baselines `UNHEARD`."""
    wording: Wording
    """How the questions are put."""
    samples: Sequence[Sample]
    """The questions with their own media, and with all that a rule wants to know of them."""
    put: Callable[[Sample], Sample]
    """Leaves out of a question what is not shown."""
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

    def asked(self, sample: Sample) -> Sample:
        """A question as it is asked, under this condition."""
        return self.put(self.change(sample))

    def key(self, sample: Sample, draw: int) -> str:
        """Hash of all that an answer depends on."""
        sample = self.put(sample)
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

    def outcomes(self, journal: Journal, rule: str) -> tuple[Outcome, ...]:
        """One outcome for each question, in order; one without any reply is wrong, its problem is `failed`. Raises
        DataError where the rule cannot be put to a question."""
        return tuple(self.outcome(sample, self.reply(sample, journal), rule) for sample in self.samples)

    def outcome(self, sample: Sample, reply: Reply | None, rule: str) -> Outcome:
        """That of one question."""
        correct, parsed = reply.scored(rule, sample) if reply else (False, Parsed(None, "failed"))
        return Outcome(
            id=sample.id,
            input=sample.question,
            target=sample.answers[0],
            reply=reply.text if reply else "",
            parsed=parsed,
            correct=correct,
            group=sample.group or sample.id,
            tags=sample.tags,
        )

    def predictions(self, journal: Journal, rule: str) -> Iterator[dict[str, str]]:
        """The answers as a submission holds them, each as the rule is put to it; a reply without one keeps its row and
        says nothing, a question without a reply has no row."""
        for sample in self.samples:
            if reply := self.reply(sample, journal):
                thought = reply.read.thought or ""
                yield {"id": sample.id, "thinking_prediction": thought, "answer_prediction": reply.put_to(rule)}

    def to_judge(
        self, journal: Journal, rule: str, published: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """The answers as a judge wants them, each beside its gold row: no other file is needed to score them. A
        question without a reply has its row too, without an answer."""
        said = {row["id"]: row for row in self.predictions(journal, rule)}
        for sample in self.samples:
            yield {**published[sample.id], "id": sample.id, **said.get(sample.id, {})}

    def unread(self, journal: Journal) -> Counter[str]:
        """Replies with nothing in the place of the answer, by why; whoever scores them is given an empty one."""
        replies = [self.reply(sample, journal) for sample in self.samples]
        return Counter(one.read.problem or "empty" for one in replies if one and not one.written)

    def cut(self, journal: Journal) -> int:
        """Replies, of all draws, that ended at the longest length allowed."""
        pairs = [(sample, draw) for sample in self.samples for draw in range(self.draws)]
        return sum((journal.answer(self.key(*pair)) or {}).get("stop") == "length" for pair in pairs)

    def reply(self, sample: Sample, journal: Journal) -> Reply | None:
        """The reply that counts; None when there is none."""
        rows = [journal.answer(self.key(sample, draw)) for draw in range(self.draws)]
        texts = [str(row["text"]) for row in rows if row is not None]
        if not texts:
            return None
        shape = form(self.wording.form)
        readings = [shape.parse(text, sample.choices, verbatim=self.verbatim) for text in texts]
        chosen = vote(readings, sample.choices)
        written = shape.parse(texts[chosen], verbatim=True).answer
        return Reply(texts[chosen], readings[chosen], written or "")


def _named(part: str | Media) -> str:
    """A text, or what names a clip or image: its content where that is known, else where it lies."""
    return part if isinstance(part, str) else repr(part)


def vote(readings: Sequence[Parsed], choices: Sequence[str] = ()) -> int:
    """The reading whose answer is given most often, the earliest of equals; the first one where none is readable.

    With choices an answer is an option's text, and options may differ in letter case alone ("Cm", "CM").
    """
    said = [reading.answer if choices or reading.answer is None else normal(reading.answer) for reading in readings]
    counts = Counter(answer for answer in said if answer is not None)
    return said.index(counts.most_common(1)[0][0]) if counts else 0
