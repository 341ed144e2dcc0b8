"""What a benchmark is: a frozen dataclass that reads its own gold file and knows how its scores are told.

One file each in `evaluate/benchmarks/`, with a class `Benchmark` that derives from this one. Gold stays as published: a
repeated option, an empty one, or an answer that is none of them is kept, because a score's denominator is all rows. The
file is known by its sha256, and one that is not says so in every result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, ClassVar

from auscult.core.config import Plugin
from auscult.core.errors import ConfigError, DataError
from auscult.core.types import Media, Outcome, Sample, Turn
from auscult.data import rows
from auscult.data.source import Listed
from auscult.evaluate import predictions, records
from auscult.evaluate.records import Records

PLUGIN = Plugin("benchmark", "auscult.evaluate.benchmarks")
"""Where benchmarks are found by name."""


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One table of a score."""

    title: str
    """Its heading in the official script, for example `Task-wise`."""
    tag: str
    """The tag whose values are its lines."""
    values: tuple[str, ...] = ()
    """Lines that are always printed, in this order; other values follow as they occur."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """A benchmark and where its files are. Subclasses are named `Benchmark` too."""

    gold: str
    """The published file of questions and answers."""
    media: str = ""
    """Folder that the recordings or images are named relative to; empty is the gold file's own."""

    title: ClassVar[str]
    """Its name, as papers write it."""
    source: ClassVar[str]
    """Where the gold file and the official script are."""
    official: ClassVar[str] = ""
    """The command that computes the official score; empty where nothing is published."""
    scorer: ClassVar[str] = "string_match"
    """The rule of the official score."""
    verbatim: ClassVar[bool] = False
    """Whether the rule judges every letter of an answer: then no wrapping is peeled off, and no other rule fits."""
    spoken: ClassVar[bool] = False
    """Whether recordings say its questions, and the official script adds nothing: then `auscult eval` says nothing of
    ours around them either."""
    size: ClassVar[int | None] = None
    """How many questions it has; None when that depends on the file."""
    versions: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Label of each known gold file, by sha256."""
    gold_keys: ClassVar[tuple[str, ...]] = ("question", "answer")
    """Keys of a row that carries its own gold, as the official scripts want their input."""
    breakdowns: ClassVar[tuple[Breakdown, ...]] = ()
    """The tables of a score, in the order of the official script."""
    judges: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """The official command of each rule by which a judge scores it."""

    @abstractmethod
    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """The question of one gold row with the id `name`. Raises DataError for a row that has no such shape."""

    def judged(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """`sample`, of a row that a judge scores: it may have no options, or no answer."""
        return self.sample(row, where, name)

    def put(self, sample: Sample) -> Sample:
        """A question as it is asked: without what is not shown to who is examined."""
        return sample

    def id_of(self, row: Mapping[str, Any], number: int) -> str | None:
        """The id of a row of the gold or of predictions; None when it has none."""
        return predictions.by_id(row, number)

    @classmethod
    def open(cls, gold: str, media: str = "") -> Listed:
        """All questions of a gold file, to be asked; `samples` says what is raised."""
        return Listed(tuple(cls(gold=gold, media=media).samples()))

    @classmethod
    def identity(cls, gold: str) -> dict[str, str | None]:
        """What a result says of its benchmark: title, file, sha256, and the version or None for an unknown file."""
        return cls.identity_of(records.read(Path(gold)))

    @classmethod
    def identity_of(cls, file: Records) -> dict[str, str | None]:
        """`identity`, of a gold file in memory."""
        version = cls.versions.get(file.sha256)
        return {"title": cls.title, "version": version, "gold": str(file.path), "gold_sha256": file.sha256}

    @classmethod
    def caveats(cls, questions: int, identity: Mapping[str, Any]) -> Iterator[str]:
        """What keeps a score on a gold file with so many questions from being the benchmark's own, in sentences."""
        if cls.size not in (None, questions):
            yield f"The gold has {questions:,} questions of {cls.size:,}: this is no score of the whole benchmark."
        if cls.versions and identity["version"] is None:
            yield f"The gold is a file that is not known (sha256 {(identity['gold_sha256'] or '')[:12]})."

    def samples(self) -> list[Sample]:
        """All questions of the gold file. Raises DataError for what cannot be used."""
        return self.samples_of(records.read(Path(self.gold)))

    def samples_of(self, file: Records, *, judged: bool = False, media: bool = True) -> list[Sample]:
        """`samples`, of a gold file that was read; with `judged`, as a judge scores them. A question that stands twice,
        word for word, counts once; a row that cannot be read is a question lost, so it is refused. Without `media`
        only what is said is kept, which is all that a rule looks at."""
        _refuse_foreign(type(self), file)
        for broken in file.broken[:1]:
            raise DataError(f"{broken.where}: {broken.why}, so its question is lost; write or download the file again")
        read = self.judged if judged else self.sample
        found: dict[str, Sample] = {}
        hashes: dict[str, int] = {}
        for record in file.rows:
            name = self.id_of(record.row, record.number)
            if name is None:
                raise DataError(f"{record.where}: no `id`; add it, or give the gold file with --gold")
            sample = read(record.row, record.where, name)
            whole = hash(repr(sample))
            if hashes.setdefault(name, whole) != whole:
                raise DataError(f"{record.where}: the id {name!r} occurs twice with different gold; keep one")
            found[name] = sample if media else replace(sample, turns=(Turn("user", (sample.question,)),))
        return list(found.values())

    def repeated(self, file: Records) -> list[tuple[str, str]]:
        """Where rows of a gold file stand whose id has occurred before, and that id: `samples_of` counts them once."""
        seen: set[str | None] = set()
        found: list[tuple[str, str]] = []
        for record in file.rows:
            name = self.id_of(record.row, record.number)
            if name is not None and name in seen:
                found.append((record.where, name))
            seen.add(name)
        return found

    def carries_gold(self, row: Mapping[str, Any], *, judged: bool = False) -> bool:
        """Whether a row of predictions says what it was asked and what would be right; to a judge some of it may do."""
        some = any if judged else all
        return some(row.get(key) is not None for key in self.gold_keys)

    def breakdowns_of(self, samples: Sequence[Sample]) -> tuple[Breakdown, ...]:
        """The tables of a score on these samples."""
        return self.breakdowns

    def figures(self, samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> dict[str, float | None]:
        """Further figures that belong to the score, by name; None where one cannot be computed."""
        return {}

    def folder(self) -> Path:
        """What the media are named relative to."""
        return Path(self.media) if self.media else Path(self.gold).parent


def find(name: str) -> type[Benchmark]:
    """The benchmark called `name`. Raises ConfigError when there is none."""
    names = PLUGIN.names()
    if name not in names:
        raise ConfigError(f"there is no benchmark {name!r}{did_you_mean(name, names)}; there are {', '.join(names)}")
    return PLUGIN.find(name, Benchmark)


def _refuse_foreign(kind: type[Benchmark], file: Records) -> None:
    """Raises DataError for a file that another benchmark knows as its own."""
    for name in () if file.sha256 in kind.versions else PLUGIN.names():
        owner = find(name)
        if file.sha256 in owner.versions:
            raise DataError(
                f"{file.path}: the gold file of {owner.title} ({owner.versions[file.sha256]}), and the benchmark named "
                f"is {kind.title}; name the benchmark {name}, or another file"
            )


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """`, did you mean X?`, or nothing."""
    near = get_close_matches(name, names, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def asked(
    name: str,
    media: Iterable[Media],
    question: str,
    choices: Sequence[str],
    answer: str | None,
    group: str,
    tags: Mapping[str, Any],
) -> Sample:
    """A question about media; None as the answer is one that the benchmark keeps to itself. Of the tags, lists become
    text and those that say nothing are left out."""
    told = {key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in tags.items()}
    return Sample(
        id=name,
        turns=(Turn("user", (*media, question)),),
        answers=() if answer is None else (answer,),
        choices=tuple(choices),
        group=group,
        tags={key: str(value) for key, value in told.items() if value not in (None, "")},
    )


def unwritten(sample: Sample) -> Sample:
    """The sample without the text of its last turn and its options, where there is a recording that says them."""
    *before, last = sample.turns
    media = tuple(part for part in last.content if not isinstance(part, str))
    return replace(sample, turns=(*before, replace(last, content=media)), choices=()) if media else sample


def stem(path: object) -> str | None:
    """The name of a media file without its ending; None when there is none."""
    return PurePosixPath(path).stem if isinstance(path, str) else None


def text(row: Mapping[str, Any], key: str, where: str) -> str:
    """The text under a key, which may be blank but not missing."""
    return rows.text(rows.required(row, key, where), key, where, blank=True)


def texts(row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """The list of texts under a key, blank ones kept."""
    value = rows.required(row, key, where)
    if not isinstance(value, list):
        raise DataError(f"{where}: `{key}` is no list of texts; write [...]")
    return tuple(rows.text(item, f"{key}[{place}]", where, blank=True) for place, item in enumerate(value))


def withheld(row: Mapping[str, Any], where: str) -> str | None:
    """The `answer` of a row, None where it is not given away."""
    return text(row, "answer", where) if row.get("answer") not in (None, "") else None
