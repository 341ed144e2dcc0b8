"""What is in a data set, and what is wrong with it, before a GPU is rented: `auscult data check FILE`.

Reads native JSONL, question lists in JSON, questions about images, captions in CSV, a folder of recordings, or a
`Source`; goes on after every problem, and reports each with its reason, file and row. By default recordings and images
are checked as far as their headers go (is it there, whole, long enough for its section?); `decode=True` decodes every
one of them.

Problems of rows: `bad_row` (not in the shape of its format), `duplicate_id`, `no_media`, `no_question`, `no_answer`,
`answer_not_a_choice`, `one_choice`, `choices_repeat`, `contradiction` (same recording, question and choices, another
answer), `question_repeats` (and the same answer), `duration_differs` (from what the row says); of questions about
images also `views_differ` (fewer images than names of views) and `report_shown` (the question says what of the report
is hidden).
Problems of recordings: the reasons of `media.audio.REASONS`, `hash_differs`, and, when decoded, `silent`; of images,
those of `media.image.REASONS` and `hash_differs`.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from auscult.core.answer import normal
from auscult.core.errors import DataError, MediaError
from auscult.core.types import Audio, Frames, Image, Sample, Turn
from auscult.data import jsonl, rows
from auscult.data.folders import walk
from auscult.data.index import rows_in
from auscult.data.source import Row, Source, Written
from auscult.data.sources import captions, mcq, sounds, studies
from auscult.data.sources.sounds import EXTENSIONS
from auscult.data.splits import group_of
from auscult.data.waiting import counted
from auscult.media import audio, dicom, image

TAKEN = (
    "samples in JSONL, a JSON list of questions, questions about images in JSON or CSV, captions in CSV, a folder of "
    "recordings, or the name of a recipe"
)
"""What can be checked, for a person."""
SHOWN = 3
"""Examples of each reason that `Report.lines` prints."""
TOP = 20
"""Answers, and values of a tag, that a report lists; it counts all."""
LABEL = 100
"""Characters of the longest tag of a question about images that is counted; a report is none."""
DURATION_SLACK = 0.5
"""Seconds by which a recording may differ from the `duration` that its row states."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one row."""

    reason: str
    """Short stable word for counting."""
    file: str
    """The data file, or the recording itself in a folder of recordings."""
    row: str
    """Line number (JSONL), place from 0 (JSON list), or place in a split; empty for a file of its own."""
    message: str
    """The sentence."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each value occurs."""

    distinct: int
    """Number of different values."""
    top: Mapping[str, int]
    """The most frequent ones with their counts."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Lengths of the sections that are heard, one for each time that a row names one; seconds."""

    total: float
    """Sum."""
    min: float
    """Shortest."""
    median: float
    """Middle."""
    max: float
    """Longest."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found."""

    target: str
    """What was checked."""
    kind: str
    """`jsonl`, `mcq`, `studies`, `captions`, `folder` or `source`."""
    decoded: bool
    """Whether every recording and image was decoded, or only its header read."""
    rows: int
    """All rows, the bad ones included."""
    sound_rows: int
    """Rows without any problem."""
    groups: int
    """Clips, speakers, patients or videos that must not cross a split."""
    tags: Mapping[str, Tally]
    """Values of each tag."""
    choices: Mapping[int, int]
    """Rows by their number of choices; 0 is an open question."""
    answers: Tally
    """First answers, wrapping and letter case aside."""
    majority: float | None
    """Accuracy of always giving the commonest answer; None without answers."""
    chance: float | None
    """Accuracy of choosing at random, over rows with choices; None without any."""
    positions: Mapping[int, int]
    """Rows by the place of the answer among the choices, from 0."""
    recordings: int
    """Different files."""
    durations: Durations | None
    """Of what is heard; None when no length is known."""
    rates: Mapping[int, int]
    """Recordings by sample rate, Hz."""
    channels: Mapping[int, int]
    """Recordings by number of channels."""
    containers: Mapping[str, int]
    """Recordings by file format; `memory` for those that a source makes."""
    images: Mapping[str, int]
    """Different image files that could be opened, by format."""
    problems: tuple[Problem, ...]
    """All that is wrong, in order of the rows."""
    notes: tuple[str, ...] = ()
    """What was left out of the check, in sentences."""
    samples: tuple[Sample, ...] = field(default=(), repr=False)
    """The rows without a problem, to look at; not part of the report's figures."""

    @property
    def reasons(self) -> dict[str, int]:
        """How often each reason occurs, the commonest first."""
        return dict(Counter(problem.reason for problem in self.problems).most_common())

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        figures = {key: value for key, value in asdict(replace(self, samples=())).items() if key != "samples"}
        return {**figures, "reasons": self.reasons}

    def lines(self) -> list[str]:
        """The report for a person."""
        return [*self._contents(), *self._problems()]

    def _contents(self) -> Iterator[str]:
        yield f"{self.target}: {self.rows} rows ({self.kind}), {self.sound_rows} without a problem"
        yield f"groups      {self.groups}"
        looked = "decoded" if self.decoded else "headers read"
        if self.recordings or not self.images:
            made = self.containers.get("memory", 0) == self.recordings > 0
            files = "made in memory" if made else f"files ({looked}): {_listed(self.containers)}"
            yield f"recordings  {self.recordings} {files}"
            yield f"            rates {_listed(self.rates, ' Hz')}; channels {_listed(self.channels)}"
        if self.images:
            yield f"images      {sum(self.images.values())} files ({looked}): {_listed(self.images)}"
        if self.durations:
            d = self.durations
            yield f"durations   {d.total / 3600:.2f} h; min {d.min:.2f} s, median {d.median:.2f} s, max {d.max:.2f} s"
        if self.kind != "folder":
            yield f"choices     {_listed(self.choices)}"
        if self.majority is not None:
            first = next(iter(self.answers.top))
            yield f"answers     {self.answers.distinct} different; always {first!r} is right in {self.majority:.1%}"
        if self.chance is not None:
            place, count = max(self.positions.items(), key=lambda item: item[1], default=(0, 0))
            share = count / max(1, sum(self.positions.values()))
            yield f"            chance {self.chance:.1%}; always choice number {place + 1} is right in {share:.1%}"
        for key, tally in self.tags.items():
            yield f"tag {key}: {tally.distinct} values, {_listed(dict(list(tally.top.items())[:SHOWN]))}"
        yield from self.notes

    def _problems(self) -> Iterator[str]:
        if not self.problems:
            yield "no problems"
        for reason, count in self.reasons.items():
            yield f"{reason}: {count}"
            examples = [problem for problem in self.problems if problem.reason == reason]
            yield from (f"    {problem.message}" for problem in examples[:SHOWN])
            if count > SHOWN:
                yield f"    and {count - SHOWN} more (--json lists all)"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, or why it is none."""

    file: str
    row: str
    where: str
    """File and row as a person would look for them."""
    sample: Sample | None = None
    error: str = ""
    reason: str = "bad_row"
    """What the error counts as."""
    put: Sample | None = None
    """The row as a model is asked it, where that is more than `sample` says."""

    def problem(self, reason: str, sentence: str) -> Problem:
        named = sentence.startswith(self.where)  # as the errors of a row or of a folder's recording do
        return Problem(reason, self.file, self.row, sentence if named else f"{self.where}: {sentence}")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A recording or an image, as far as it could be checked."""

    header: audio.Header | image.Header | None = None
    seconds: float | None = None
    problems: tuple[tuple[str, str], ...] = ()
    named: str | None = None
    """Why a film is not de-identified."""


def check(
    target: Path | str | Source,
    *,
    decode: bool = False,
    audio_root: Path | None = None,
    workers: int = 4,
    films: studies.Source | None = None,
) -> Report:
    """Check a data file, a folder of recordings, or a source; `audio_root` is for question lists in JSON.

    Of a file of questions about images, `films` says how they are asked (what of a report is shown, views, groups, the
    folder of the images); by default as the source itself says. Media are read by `workers` threads.

    Raises DataError only when there is nothing to check at all: no such file, no data file, an empty list, a folder
    without recordings.
    """
    kind, found, notes = _rows(target, audio_root, films)
    media = dict.fromkeys(part for row in found for part in _parts(row))
    with ThreadPoolExecutor(workers) as pool:
        looked = counted("checking files", pool.map(lambda part: _look(part, decode), media), len(media))
        seen = dict(zip(media, looked, strict=True))
    notes += _identified(seen)
    problems = [problem for row in found for problem in _own(row, seen)]
    problems += _across(found)
    places = {(row.file, row.row): number for number, row in enumerate(found)}
    problems.sort(key=lambda problem: places[problem.file, problem.row])
    name = str(target) if not isinstance(target, Source) else type(target).__module__
    return _report(name, kind, decode, found, seen, problems, notes)


def read(target: Path | str, audio_root: Path | None = None) -> tuple[list[Row], tuple[str, ...]]:
    """The samples in what can be checked, and sentences about what was left out; their media are not looked at.

    Raises DataError as `check` does.
    """
    _, found, notes = _rows(target, audio_root)
    bad = sum(row.sample is None for row in found)
    if bad:
        notes += (f"{target}: {bad} rows are no samples and were left out; `auscult data check` lists them",)
    return [Row(row.where, row.sample) for row in found if row.sample], notes


def _rows(
    target: Path | str | Source, audio_root: Path | None, films: studies.Source | None = None
) -> tuple[str, list[_Row], tuple[str, ...]]:
    if isinstance(target, Source):
        return "source", *_source_rows(target)
    path = Path(target)
    if path.is_dir():
        found, others = _folder_rows(path)
        return "folder", found, others
    if path.is_file() and studies.fits(path):
        films = films or studies.Source(root=str(path))
        found = list(_study_rows(path, films, audio_root or films.folder(path)))
        reported = any(key.startswith("report.") for row in found if row.put for key in row.put.tags)
        shown = f"a prompt shows of a report: {studies.listed(films.report)} (--data.report {films.report})"
        return "studies", found, (shown,) if reported else ()
    if path.suffix.lower() == ".csv" and path.is_file():
        return "captions", *_caption_rows(path, audio_root or path.parent)
    if _text(path).lstrip().startswith("["):
        return "mcq", list(_mcq_rows(path, audio_root)), ()
    found = list(_native_rows(path))
    if not found:
        raise DataError(f"{path}: no rows; write one sample a line")
    return "jsonl", found, ()


def _text(path: Path) -> str:
    """The text of a data file. Raises DataError that says what another file is, and what to do with it."""
    takes = f"`auscult data check` takes {TAKEN}"
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder; {takes}; write its rows into a file")
    if path.suffix.lower() in (".yaml", ".yml") and path.exists():
        raise DataError(f"{path} holds settings and no data; check the file or folder that its `data.root` names")
    if path.suffix.lower() in EXTENSIONS and path.exists():
        command = shlex.join(["auscult", "data", "check", str(path.parent)])
        raise DataError(f"{path} is a single recording; {takes}; check the folder that it lies in: {command}")
    text = rows.read_text(path)
    row = 'one object a line, such as {"id": "1", "audio": "a.wav", "question": "What?", "answer": "dog"}'
    if text.strip() and not any(line.lstrip().startswith(("{", "[")) for line in text.split("\n")):
        raise DataError(f"{path} holds no JSON; {takes}; write its rows as {row}")
    if "\n" in text.strip() and _is_object(text):
        raise DataError(f"{path} is one JSON object over many lines; write its rows as {row}, or as a list of them")
    return text


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False  # rows of a line each, or a mistake that is told with its line


def _native_rows(path: Path) -> Iterator[_Row]:
    for number, text in jsonl.lines(path):
        where = f"{path}:{number}"
        try:
            sample = jsonl.sample_of(rows.load_json(text, where), where, path.parent)
            yield _Row(str(path), str(number), where, sample)
        except DataError as error:
            yield _Row(str(path), str(number), where, error=str(error))


def _mcq_rows(path: Path, audio_root: Path | None) -> Iterator[_Row]:
    for where, number, row in mcq.items(path):
        try:
            sample = mcq.sample_of(row, where, number, audio_root or path.parent)
            yield _Row(str(path), str(number), where, sample)
        except DataError as error:
            yield _Row(str(path), str(number), where, error=str(error))


def _study_rows(path: Path, films: studies.Source, folder: Path) -> Iterator[_Row]:
    """One row each, as it is put. Figures are of its question without a report, and of what else it says of what rows
    are sorted by."""
    for where, name, value in rows_in(path):
        sample, put, error, reason = None, None, "", ""
        try:
            study = studies.read(value, where, name, folder)
            put = films.put(study)
            kept = {key: text for key, text in study.tags.items() if len(text) <= LABEL and key != "explanation"}
            sample = replace(study, report={}).sample("none", films.group)
            sample = replace(sample, tags=kept)
            studies.refuse_flawed(study, where, films.report)
        except studies.Unusable as problem:
            error, reason = str(problem), problem.reason
        yield _Row(str(path), name, where, sample, error, reason, put)


def _caption_rows(path: Path, folder: Path) -> tuple[list[_Row], tuple[str, ...]]:
    """One row for each clip, and one for each row that is none; a recording that is not there has its likely name. And
    what is said of captions that a clip has twice."""
    clips, bad, _ = captions.parse(path)
    heard = captions.recordings(clips, folder)
    found: list[_Row] = []
    for clip in clips:
        likely = folder / (clip.name if clip.start is None else f"{clip.id}.wav")
        sample = captions.sample_of(clip, Audio(str(heard.get(clip.id, likely))), captions.QUESTION)
        found.append(_Row(str(path), clip.where.rpartition(":")[2], clip.where, sample))
    for where, error in bad.items():
        found.append(_Row(str(path), where.rpartition(":")[2], where, error=str(error)))
    twice = [(clip, text) for clip in clips for text, count in Counter(clip.captions).items() if count > 1]
    if not twice:
        return found, ()
    clip, text = twice[0]
    return found, (f"captions that a clip has more than once, each time an answer: {len(twice)}, {clip.id}: {text}",)


def _folder_rows(path: Path) -> tuple[list[_Row], tuple[str, ...]]:
    """One row for each recording; the folder that it lies in is its class."""
    files = walk(path, (".*",))
    recordings = [file for file in files if file.suffix.lower() in EXTENSIONS]
    if not recordings:
        named = "the folder that the recordings lie in"
        for file in [file for file in files if file.suffix.lower() in (".jsonl", ".json")][:1]:
            named = f"a file of samples, for example {shlex.join(['auscult', 'data', 'check', str(file)])}"
        raise DataError(f"{path}: {len(files)} files, but no recordings ({' '.join(EXTENSIONS)}); name {named}")
    others = Counter(file.suffix or file.name for file in files if file.suffix.lower() not in EXTENSIONS)
    notes = (f"{sum(others.values())} other files were left out: {_listed(others)}",) if others else ()
    samples = [
        Sample(str(file), (Turn("user", (Audio(str(file)),)),), (), tags={"folder": file.parent.name})
        for file in recordings
    ]
    in_classes = [file for file in recordings if len(file.relative_to(path).parts) == 2]
    return [_Row(sample.id, "", sample.id, sample) for sample in samples], (*notes, *sounds.split_note(in_classes))


def _source_rows(target: Source) -> tuple[list[_Row], tuple[str, ...]]:
    found: list[_Row] = []
    notes: list[str] = []
    if isinstance(target, sounds.Source):
        notes += sounds.split_note([clip.path for clip in sounds.read(Path(target.root), target.ignore)])
    for name in ("train", "heldout"):
        notes += target.notes(name, 0)
        if isinstance(target, Written):  # not opened, which would end at the first medium that cannot be used
            found += [_Row(name, str(n), row.where, row.sample) for n, row in enumerate(target.rows(name, 0))]
            continue
        samples = target.split(name, 0)
        if samples.size is None:
            notes.append(f"the {name} split never ends and was left out")
        else:
            found += [_Row(name, str(n), f"{name}[{n}]", samples[n]) for n in range(samples.size)]
    return found, tuple(notes)


def _parts(row: _Row) -> list[Audio | Image]:
    return [part for part in row.sample.media if not isinstance(part, Frames)] if row.sample else []


def _audios(row: _Row) -> list[Audio]:
    return [part for part in _parts(row) if isinstance(part, Audio)]


def _look(part: Audio | Image, decoded: bool) -> _Seen:
    header, seconds, named, problems = None, None, None, list[tuple[str, str]]()
    try:
        if isinstance(part, Image):
            header = image.read_header(part)
            named = dicom.identity(part.path).problem if part.path and header.container == "dicom" else None
            if decoded:
                image.decode(part)
        else:
            header = audio.read_header(part)
            seconds = audio.check_section(part, header=header)
            if decoded and audio.silent(audio.decode(part, header.rate)):
                problems.append(("silent", f"{part.path} is silent from beginning to end; leave it out"))
        if part.path and part.sha256 and audio.content_hash(part.path) != part.sha256:
            problems.append(("hash_differs", f"{part.path} is not the file that was written down; fetch it again"))
    except MediaError as error:
        problems.append((error.reason, str(error)))
    return _Seen(header, seconds, tuple(problems), named)


def _identified(seen: Mapping[Audio | Image, _Seen]) -> tuple[str, ...]:
    """A sentence about films that may name somebody. That is no fault of a row: they may be learned from here."""
    films = {part.path: known.named for part, known in seen.items() if known.named and isinstance(part, Image)}
    if not films:
        return ()
    path, why = next(iter(films.items()))
    count = "1 image file is" if len(films) == 1 else f"{len(films)} image files are"
    return (f"{count} not de-identified and sent to no server unless server.send_identified is true; {path}: {why}",)


def _own(row: _Row, seen: Mapping[Audio | Image, _Seen]) -> Iterator[Problem]:
    """What is wrong with a row by itself."""
    sample = row.sample
    if row.error:
        yield row.problem(row.reason, row.error)
    if sample is None:
        return
    for part in _parts(row):
        yield from (row.problem(*problem) for problem in seen[part].problems)
    if not row.row:  # a recording of a folder, which asks nothing
        return
    yield from (row.problem(*flaw) for flaw in rows.flaws(sample) if flaw[0] != row.reason)  # told in its own words
    if not sample.answers and row.reason != "no_answer":
        yield row.problem("no_answer", "nothing to learn from or to compare with; add the answer")
    if len(set(sample.choices)) < len(sample.choices):
        yield row.problem("choices_repeat", f"choices {list(sample.choices)} are not all different; make them differ")
    stated, lengths = sample.tags.get("duration"), [seen[part].seconds for part in _audios(row)]
    known = [seconds for seconds in lengths if seconds is not None]
    if stated is not None and known and len(known) == len(lengths):
        yield from _duration(row, stated, sum(known))


def _duration(row: _Row, stated: str, seconds: float) -> Iterator[Problem]:
    try:
        wrong = not abs(float(stated) - seconds) <= DURATION_SLACK  # NaN too
    except ValueError:
        wrong = True
    if wrong:
        yield row.problem("duration_differs", f"`duration` is {stated}, but {seconds:.2f} s are heard; correct it")


def _across(found: Sequence[_Row]) -> Iterator[Problem]:
    """What is wrong with rows beside one another: ids twice, questions twice, and questions with two answers."""
    ids: dict[str, _Row] = {}
    asked: dict[tuple[Any, ...], _Row] = {}
    for row in found:
        sample = row.sample
        if sample is None or not row.row:
            continue
        if (first := ids.setdefault(sample.id, row)) is not row:
            yield row.problem("duplicate_id", f"the id {sample.id!r} is {first.where}'s too; give each row its own")
        earlier = asked.setdefault(_question(sample), row)
        if earlier is row or earlier.sample is None:
            continue
        if _answers(earlier.sample) == _answers(sample):
            yield row.problem("question_repeats", f"asks the same as {earlier.where}; remove one of them")
        else:
            sentence = (
                f"{sample.answers[:1]} here, {earlier.sample.answers[:1]} in {earlier.where}; correct one of them"
            )
            yield row.problem("contradiction", f"the same question has two answers, {sentence}")


def _question(sample: Sample) -> tuple[Any, ...]:
    turns = tuple(
        (turn.role, *(part.casefold().strip() if isinstance(part, str) else part for part in turn.content))
        for turn in sample.turns
    )
    return turns, frozenset(sample.choices)


def _answers(sample: Sample) -> frozenset[str]:
    return frozenset(normal(answer) for answer in sample.answers)


def _report(
    target: str,
    kind: str,
    decoded: bool,
    found: Sequence[_Row],
    seen: Mapping[Audio | Image, _Seen],
    problems: Sequence[Problem],
    notes: tuple[str, ...],
) -> Report:
    samples = [row.sample for row in found if row.sample]
    bad = {(problem.file, problem.row) for problem in problems}
    answers = Counter(normal(sample.answers[0]) for sample in samples if sample.answers)
    offered = [sample for sample in samples if sample.choices]
    opened = {_file(part): known.header for part, known in seen.items()}
    headers = [header for header in opened.values() if isinstance(header, audio.Header)]
    images = [header for header in opened.values() if isinstance(header, image.Header)]
    return Report(
        target=target,
        kind=kind,
        decoded=decoded,
        rows=len(found),
        sound_rows=sum((row.file, row.row) not in bad for row in found),
        groups=len({group_of(sample) for sample in samples}),
        tags=_tags(samples),
        choices={} if kind == "folder" else dict(sorted(Counter(len(sample.choices) for sample in samples).items())),
        answers=Tally(len(answers), dict(answers.most_common(TOP))),
        majority=max(answers.values()) / answers.total() if answers else None,
        chance=sum(1 / len(sample.choices) for sample in offered) / len(offered) if offered else None,
        positions=_positions(offered),
        recordings=len({_file(part) for part in seen if isinstance(part, Audio)}),
        durations=_durations([seen[part].seconds for row in found for part in _audios(row)]),
        rates=dict(Counter(header.rate for header in headers).most_common()),
        channels=dict(Counter(header.channels for header in headers).most_common()),
        containers=dict(Counter(header.container for header in headers).most_common()),
        images=dict(Counter(header.container for header in images).most_common()),
        problems=tuple(problems),
        notes=notes,
        samples=tuple(row.put or row.sample for row in found if row.sample and (row.file, row.row) not in bad),
    )


def _file(part: Audio | Image) -> Any:
    """What stands for the file in counts: sections of one recording are one."""
    return (type(part), part.path) if part.path else part


def _tags(samples: Iterable[Sample]) -> dict[str, Tally]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        for key, value in sample.tags.items():
            counts[key][value] += 1
    return {key: Tally(len(values), dict(values.most_common(TOP))) for key, values in sorted(counts.items())}


def _positions(offered: Iterable[Sample]) -> dict[int, int]:
    places = Counter(
        sample.choices.index(sample.answers[0])
        for sample in offered
        if sample.answers and sample.answers[0] in sample.choices
    )
    return dict(sorted(places.items()))


def _durations(lengths: Iterable[float | None]) -> Durations | None:
    known = [seconds for seconds in lengths if seconds is not None]
    return Durations(sum(known), min(known), median(known), max(known)) if known else None


def _listed(counts: Mapping[Any, int], unit: str = "") -> str:
    return ", ".join(f"{value}{unit} ({count})" for value, count in counts.items()) or "none"
