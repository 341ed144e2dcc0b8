"""Is what we train on in the benchmark? Then its score would say nothing.

Training rows are compared with the rows of benchmarks, and each pair that has something in common is named with its
evidence:

    content    the same bytes, of sections that overlap
    audio      the same recording, re-encoded, resampled, turned down, shifted or cut (`media/audio_print.py`)
    image      the same picture, scaled or re-encoded (`media/image_print.py`)
    youtube    the same video (of Bilibili too), and sections that overlap, by tags or by file names such as
               `ID_30_40.wav` or MMAR's `ID_00-00-30_00-00-40.wav`
    id         the same id or file name, of those that cannot be alike by chance: with a hash, or a number of six digits
    question   the same words: a question with its choices, or with its answer, is equal, or seven tenths of the
               benchmark row's own 8-grams stand in the training row. n between 8 and 13 is GPT-3's (Brown et al. 2020,
               appendix C), the share is PaLM's (Chowdhery et al. 2022, section 8). All turns of the user count, also
               sentence by sentence, and choices that stand in them as "A. ..." or "(A) ...", in any order. Words that a
               benchmark says of two recordings, or that training says of more than ten, are a template and no evidence
               (NeMo Curator has the same limit), and fewer than thirteen are none either: "What is heard?" is
               everybody's. Rows without enough are counted.

Measured on the 1,000 questions of MMAU test-mini, of which 61 have too few words: 939 are found with their choices as
`choices` or in lines "A. ...", with other sentences around them, or in an earlier turn; 880 in "(A) ... (B) ...", 685
in "1. ...", 689 without choices but with the answer, 188 without choices and with the answer in a sentence.
Nothing is shared by AudioCaps' validation captions, VQA-Med 2019, VQA-RAD and MMAR; but a long question of the
benchmark's that training asks of another recording, with other choices, is named as well (237).

Nothing is compared pair by pair: evidence is looked up in tables of the benchmarks, and every medium is opened once
(twice where two short recordings are suspects). What cannot be opened or printed is compared by the rest, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from auscult.core.errors import DataError
from auscult.data.evidence import KINDS, Hit, Kind, SameMedia, SameNames, SameWords
from auscult.data.prints import Cache
from auscult.data.source import Listed, Row, Samples, Source, Split, Written
from auscult.data.waiting import Tell

MISSING = "missing"
"""Why nothing of a medium is known: its file is not there."""


@runtime_checkable
class MadeOf(Samples, Protocol):
    """Samples without end that are made of a finite number of recordings."""

    def rows(self) -> list[Row]:
        """The recordings, a row each."""
        ...

    def without(self, places: Collection[str]) -> Samples:
        """Samples of the recordings that do not stand at these places. Raises DataError where that is too few."""
        ...


@dataclass(frozen=True, slots=True)
class Leak:
    """A training row and a benchmark row that have something in common."""

    train: str
    """File and row of the training sample."""
    benchmark: str
    """File and row of the benchmark's."""
    kind: Kind
    """What they have in common."""
    strength: float
    """How much of it: share of bits, correlation, share of the section or of n-grams; 0 to 1."""
    note: str
    """The evidence, for a person."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison found."""

    train: int
    """Training rows."""
    benchmark: int
    """Benchmark rows."""
    leaks: tuple[Leak, ...]
    """All pairs, in order of the training rows, the strongest evidence first; one for each kind of evidence."""
    unprinted: Mapping[str, int]
    """Media that could only be compared by names or bytes, by the reason."""
    wordless: int
    """Benchmark rows with too few words of their own to be known by."""
    unknown: int
    """Benchmark rows that nothing of is known: no medium that can be read, no telling name, too few words."""
    notes: tuple[str, ...] = ()
    """What else was left out, in sentences."""

    @property
    def kinds(self) -> dict[Kind, int]:
        """Pairs by kind of evidence."""
        counts = Counter(leak.kind for leak in self.leaks)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    @property
    def rows(self) -> tuple[str, ...]:
        """The training rows that leak, each once."""
        return tuple(dict.fromkeys(leak.train for leak in self.leaks))

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "train_rows": self.train,
            "benchmark_rows": self.benchmark,
            "leaking_train_rows": len(self.rows),
            "leaked_benchmark_rows": len({leak.benchmark for leak in self.leaks}),
            "pairs": len({(leak.train, leak.benchmark) for leak in self.leaks}),
            "evidence": self.kinds,
            "unprinted": dict(self.unprinted),
            "wordless": self.wordless,
            "unknown": self.unknown,
            "notes": list(self.notes),
            "said": list(self.lines()),
            "leaks": [asdict(leak) for leak in self.leaks],
        }

    def lines(self) -> Iterator[str]:
        """The counts, for a person."""
        both = len({leak.benchmark for leak in self.leaks})
        yield f"{len(self.rows):,} of {self.train:,} training rows are in {both:,} of {self.benchmark:,} benchmark rows"
        for kind, count in self.kinds.items():
            yield f"{kind:<12}{count:,} pairs"
        lost = {name: count for name, count in self.unprinted.items() if name.endswith(f": {MISSING}")}
        if lost:
            yield (
                f"media compared by names only, neither heard nor seen: {_counted(lost)}; say where they are, --audio "
                "DIR (in a recipe `leaks.audio`)"
            )
        if other := {name: count for name, count in self.unprinted.items() if name not in lost}:
            yield f"media compared by names and bytes only: {_counted(other)}"
        if self.wordless:
            yield f"benchmark rows with too few words of their own to be known by: {self.wordless:,}"
        if self.unknown:
            yield f"benchmark rows that could not be compared at all: {self.unknown:,}"
        yield from self.notes


Once = Callable[[Callable[[], Found]], Found]
"""Looks, or is told what another process found."""
Reader = Callable[[str, Path | None], tuple[list[Row], tuple[str, ...]]]
"""Reads what is called so, with its media in a folder: rows, and sentences about what was left out."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What must not be trained on."""

    against: tuple[str, ...] = ()
    """Benchmarks (a file as published, mmar:FILE to say whose, JSONL, a folder) that no training sample may be in."""
    audio: str = ""
    """Folder of the recordings that a file names; empty is the file's own."""
    action: Literal["refuse", "drop"] = "refuse"
    """What happens to a training set with such samples: it is refused, or they are left out."""
    cache: str = ""
    """Folder that keeps the prints of recordings and images; empty keeps none."""


def read_file(target: Path | str, audio: Path | None) -> tuple[list[Row], tuple[str, ...]]:
    """The rows of a file or folder of any format, with its media in a folder."""
    from auscult.data import check  # loads the readers of all formats, which a recipe's --help does without

    return check.read(target, audio)


def guarded(
    train: Samples, guard: Guard, tell: Tell, once: Once = lambda look: look(), read: Reader = read_file
) -> tuple[Samples, Found | None]:
    """The training samples that are in no benchmark, and what was found; None where nothing was to be compared with.

    `once` lets one of several processes look, and tells the others what it found. Raises DataError when some are and
    the guard's action is `refuse`, when there is no end of samples (of recordings there is one: where samples are made
    of them, these are compared), or when nothing of a benchmark can be compared.
    """
    if not guard.against:
        return train, None
    made = train if train.size is None and isinstance(train, MadeOf) else None
    if train.size is None and made is None:
        raise DataError(
            "the training samples are drawn without end and cannot be compared with a benchmark; compare what they are "
            "made of with `auscult data leaks`, and leave `against` empty"
        )
    rows = made.rows() if made else _side(train, "train")
    found = once(lambda: _look(rows, guard, tell, read))
    if found.leaks and guard.action == "refuse":
        first, what = found.leaks[0], "recordings" if made else "samples"
        raise DataError(
            f"{len(found.rows)} of {len(rows)} training {what} are in {', '.join(guard.against)} "
            f"({_counted(found.kinds)}), first: {first.train} is {first.benchmark} "
            f"({first.note}); `auscult data leaks` lists them, the action `drop` leaves them out"
        )
    leaking = set(found.rows)
    if made:
        return made.without(leaking), found
    kept = Listed(tuple(row.sample for row in rows if row.where not in leaking))
    if not kept.size:
        raise DataError(f"all {len(rows)} training samples are in {', '.join(guard.against)}; train on other data")
    return kept, found


def _look(train: Sequence[Row], guard: Guard, tell: Tell, read: Reader) -> Found:
    """The training rows compared with all that the guard names."""
    benchmark, notes = gathered(guard.against, lambda name: read(name, Path(guard.audio) if guard.audio else None))
    cache = Cache(Path(guard.cache)) if guard.cache else None
    return refuse_blind(compare(train, benchmark, cache=cache, tell=tell, notes=notes), guard.against)


def gathered(
    names: Sequence[str], read: Callable[[str], tuple[list[Row], tuple[str, ...]]]
) -> tuple[list[Row], tuple[str, ...]]:
    """The rows of all that is named, and what was left out. Raises DataError where one has none: a guard that compares
    nothing guards nothing."""
    rows, notes = list[Row](), tuple[str, ...]()
    for name in names:
        found, said = read(name)
        if not found:
            raise DataError(
                f"nothing of {name} can be compared ({'; '.join(said) or 'no rows'}); name the files it is made of"
            )
        rows, notes = rows + found, notes + said
    return rows, notes


def refuse_blind(found: Found, names: Sequence[str]) -> Found:
    """What was found. Raises DataError where no benchmark row could be compared by anything."""
    if found.unknown == found.benchmark:
        raise DataError(
            f"none of the {found.benchmark:,} rows of {', '.join(names)} can be compared: no medium that can be read, "
            f"no telling name, too few words ({_counted(found.unprinted) or 'no media'}); "
            "say where its media are (--audio DIR, in a recipe `leaks.audio`)"
        )
    return found


def rows_of(
    target: Path | str | Source, side: Split, *, audio: Path | None = None, seed: int = 0
) -> tuple[list[Row], tuple[str, ...]]:
    """The rows of a file, a folder, or one side of a source; and sentences about what was left out.

    Raises DataError where nothing can be read.
    """
    if not isinstance(target, Source):
        return read_file(target, audio)
    if isinstance(target, Written):
        return target.rows(side, seed), ()
    samples = target.split(side, seed)
    if samples.size is None and isinstance(samples, MadeOf):
        return samples.rows(), ()
    if samples.size is None:
        return [], (f"the {side} split never ends and was left out",)
    return _side(samples, side), ()


def _side(samples: Samples, side: Split) -> list[Row]:
    """Finitely many samples as rows."""
    return [Row(f"{side}[{number}]", samples[number]) for number in range(samples.size or 0)]


def compare(
    train: Sequence[Row],
    benchmark: Sequence[Row],
    *,
    cache: Cache | None = None,
    tell: Tell = lambda *_: None,
    notes: tuple[str, ...] = (),
) -> Found:
    """Everything that training rows have in common with benchmark rows. Raises RunError for a cache it cannot write."""
    words, names = SameWords(benchmark, train), SameNames(benchmark)
    media = SameMedia(benchmark, cache, tell)
    media.learn(train, tell)
    leaks: list[Leak] = []
    for row in train:
        best: dict[tuple[int, Kind], Hit] = {}
        for hit in (*media.find(row), *names.find(row), *words.find(row)):
            if hit.strength > (best[hit.place, hit.kind].strength if (hit.place, hit.kind) in best else -1):
                best[hit.place, hit.kind] = hit
        ordered = sorted(best.values(), key=lambda hit: (KINDS.index(hit.kind), -hit.strength, hit.place))
        leaks += [Leak(row.where, benchmark[hit.place].where, hit.kind, hit.strength, hit.note) for hit in ordered]
    unknown = len(benchmark) - len(media.known | names.known | words.known)
    return Found(len(train), len(benchmark), tuple(leaks), media.unprinted, words.wordless, unknown, notes)


def _counted(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
