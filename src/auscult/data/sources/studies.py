"""Questions about images: ReXVQA's JSON and that of MedGemma GRPO, VQA-RAD's, or a CSV or JSON of one's own.

    {"id-1": {"question": "...", "options": ["A. Normal", "B. Effusion"], "correct_answer": "B", "ImagePath": ["a.png"],
              "ImageViewPosition": ["PA"], "PatientID": "P7", "Indication": "...", "Findings": "...", ...}}
    [{"qid": 4, "image_name": "a.jpg", "question": "...", "answer": "yes", "answer_type": "CLOSED", ...}]
    image,question,options,answer,patient             CSV; several options, images or views are separated by `|`

What a key may be called, `NAMES` says; every other key becomes a tag. All images of a row are shown in its order, each
behind its view where the row names one (`View 1 (PA):`), but where question, options or answer speak of views. Of a
file that holds several pictures, `frames` says which one is meant, from 0 (`2`; `0|3` or `[0, null]` for two images).

**The report.** Its parts are keys (`indication`, `comparison`, `findings`, `impression`; `report` is one text for all),
or an object of them under `report`. Findings and impression hold the answer, so the option `report` says what the
prompt shows: by default what was known before the film was read (indication and comparison). All of it is in the tags
`report.Findings` and so on, for rewards; no prompt can name a tag that is called so. A row whose question says what the
policy hides (a sentence of six words or more) cannot be used.

Files are opened through an index (`data/index.py`), and no image with them: they are looked at when a split is opened,
by their headers and where they are few (`headers.WHOLE`) to their end; the look at a set that is kept is remembered
when it found nothing wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from auscult.core.answer import normal, read_answer
from auscult.core.errors import DataError, MediaError
from auscult.core.runs import write_json
from auscult.core.types import Image, Sample, Turn
from auscult.data import index, jsonl, rows, source
from auscult.data.headers import WHOLE, listing, torn, unusable
from auscult.data.index import Facts, Index, Unusable, open_index, stamp_of
from auscult.data.sources.mcq import strip_letters
from auscult.data.splits import split_groups

Policy = Literal["none", "indication", "full"]
"""What of the report a prompt shows."""
By = Literal["patient", "study", "image"]

REPORT = ("Indication", "Comparison", "Findings", "Impression", "Report")
"""Parts of a report."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "qid"),
    "images": ("images", "image", "ImagePath", "image_name"),
    "views": ("views", "view", "ImageViewPosition", "ViewPosition"),
    "frames": ("frames", "frame"),
    "question": ("question",),
    "options": ("options", "choices"),
    "answer": ("answer", "correct_answer"),
    "explanation": ("explanation", "correct_answer_explanation"),
    "patient": ("patient", "PatientID", "patient_id", "subject_id"),
    "study": ("study", "study_id"),
    "task": ("task", "task_name", "answer_type"),
    **{part: (part, part.lower(), f"report.{part}", f"report.{part.lower()}") for part in REPORT},
}
"""What is read from a row, and the keys under which it may stand."""
SHOWN: Mapping[Policy, tuple[str, ...]] = {"none": (), "indication": REPORT[:2], "full": REPORT}
"""Parts of the report that a prompt shows."""
EMPTY: tuple[Any, ...] = (None, "", [])
"""Values that say nothing."""
QUOTED = 6
"""Words of a hidden sentence that a question does not say by chance."""
ASKING = ("view", "views", "projection", "projections", "posteroanterior", "anteroposterior", "frontal", "lateral")
"""Words of questions that the name of a view may answer."""
READING = 3
"""Counts up when rows are read or refused otherwise than before: a kept index of before is then made again."""
BLOCK = 4096
"""Rows whose images are looked at together."""
SHOW = 3
"""Rows that a note names."""
NATIVE = {"audio", "sound", "turns", "conversations", "tags", "group"}
"""Keys of other formats, whose rows may have images too."""
_KNOWN = {key: name for name, keys in NAMES.items() for key in keys}
_SPELT = {key.casefold(): key for key in _KNOWN}
_LETTERED = re.compile(r"\(?([A-Z])[.):]\s")
_SENTENCE = re.compile(r"(?<=[.?!:;])\s+|\n")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Study:
    """A question about the images of one study, as a row has it."""

    id: str
    """Unique within its file."""
    images: tuple[Image, ...]
    """Every view, in order."""
    names: tuple[str, ...]
    """The images as the row names them."""
    views: tuple[str, ...]
    """What each view is called; empty where the row does not say."""
    question: str
    """What is asked."""
    choices: tuple[str, ...]
    """Options without their letters; empty for an open question."""
    answer: str | None
    """The right option's text, or the open answer; what the row says where that is none of the options."""
    patient: str
    """Who was examined; empty where the row does not say."""
    study: str
    """The examination; empty where the row does not say."""
    report: Mapping[str, str]
    """What the row has of the report, by part."""
    tags: Mapping[str, str]
    """All else that the row says."""

    def group(self, by: By = "patient") -> str:
        """What must not cross a split: the patient, else the study, else the first image, beginning with `by`."""
        return self.grouped(by)[1]

    def grouped(self, by: By) -> tuple[str, str]:
        """By what it stands in its group, and the group's name."""
        known = {"patient": self.patient, "study": self.study, "image": os.path.normpath("".join(self.names[:1]))}
        fallback = list(known.items())[list(known).index(by) :]
        return next(((kind, name) for kind, name in fallback if name), ("id", self.id))

    def sample(self, report: Policy, by: By = "patient", *, label_views: bool = True) -> Sample:
        """The question with every view in its order, and of the report what the policy shows. The tag `report` is the
        least policy that would have shown as much: `none` where the row has nothing of what `report` shows."""
        parts = [part for part in SHOWN[report] if part in self.report]
        shown = [f"{part}: {self.report[part]}" for part in parts]
        least = next(policy for policy, names in SHOWN.items() if set(parts) <= set(names))
        labels = self._labels() if label_views else ()
        content: list[str | Image] = []
        for number, image in enumerate(self.images):
            content += [f"View {number + 1} ({labels[number]}):", image] if labels else [image]
        told = {f"report.{part}": text for part, text in self.report.items()}
        view = {"view": ", ".join(self.views)} if self.views else {}
        return Sample(
            id=self.id,
            turns=(Turn("user", (*content, "\n".join([*shown, self.question]))),),
            answers=() if self.answer is None else (self.answer,),
            choices=self.choices,
            group=self.group(by),
            tags={**self.tags, **view, "report": least, **told},
        )

    def told(self, report: Policy) -> str | None:
        """The first sentence that the policy hides and the prompt says all the same; None without any."""
        shown = [text for part, text in self.report.items() if part in SHOWN[report]]
        said = _spaced(" ".join([*shown, self.question]))
        for text in (text for part, text in self.report.items() if part not in SHOWN[report]):
            whole, words = _spaced(text), said.split()
            if any(f" {' '.join(words[at : at + QUOTED])} " in whole for at in range(len(words) - QUOTED + 1)):
                for sentence in _SENTENCE.split(text):
                    if (spaced := _spaced(sentence)).count(" ") > QUOTED and spaced in said:
                        return sentence.strip()
        return None

    def _labels(self) -> tuple[str, ...]:
        """The views' names where each image has one, unless the question, an option or the answer speaks of views."""
        said = _spaced(" ".join((self.question, *self.choices, self.answer or ""))).split()
        telling = {*ASKING, *_spaced(" ".join(self.views)).split()}
        return self.views if len(self.views) == len(self.images) and telling.isdisjoint(said) else ()


@dataclass(frozen=True, kw_only=True)
class Source(source.Source):
    """Options of questions about images."""

    root: str
    """The JSON or CSV file; all of its rows are for training when `heldout` is given."""
    heldout: str | None = None
    """The file of held-out rows; null splits `root`."""
    heldout_share: float = 0.1
    """Share of the groups of `root` that is held out; of no effect when `heldout` is given."""
    images: str = ""
    """Folder that image paths are relative to; empty is the file's own."""
    report: Policy = "indication"
    """What of the report the prompt shows: none, indication (and comparison), or full (findings and impression too),
    which holds the answer; the parts are columns or keys of these names."""
    group: By = "patient"
    """What must not cross the split: patient, study or image; a row that does not say goes by the next of them."""
    label_views: bool = True
    """Whether each image stands behind the name of its view, where the rows name them."""
    thought: str = ""
    """Tag whose text is the reasoning of demonstrations, such as explanation or report.Findings; empty gives none."""
    tasks: tuple[str, ...] = ()
    """Tasks whose rows are taken, such as [closed] of VQA-RAD; empty takes all."""
    max_unusable: float = 0.0
    """Share of the rows that may be unusable, for themselves or for their images; these are left out and counted."""
    look: bool = True
    """Whether every image is looked at before training: its header, and of 2,000 at most all of it; a missing or torn
    one is else found when it is asked."""
    index: str = ""
    """Folder of the indices of large files; empty puts FILE.index beside each."""

    def __post_init__(self) -> None:
        if not 0 < self.heldout_share < 1:
            raise ValueError(f"heldout_share is {self.heldout_share}: set a share between 0 and 1")
        if not 0 <= self.max_unusable < 1:
            raise ValueError(f"max_unusable is {self.max_unusable}: set a share from 0 to below 1")

    def split(self, name: source.Split, seed: int) -> Studies:
        """Raises DataError when too many rows cannot be used, or a group or image is on both sides, and MediaError when
        too many rows have images that cannot be used."""
        found, numbers = self._side(name, seed)
        sound, _ = self._looked(found, numbers) if self.look else (numbers, {})
        return Studies(self, found, sound)

    def notes(self, name: source.Split, seed: int) -> tuple[str, ...]:
        found, numbers = self._side(name, seed)
        parts = ", ".join(SHOWN[self.report])
        notes = [f"{name}: the prompt shows of the report: {f'{parts}, where a row has them' if parts else 'nothing'}"]
        others = {kind: count for kind, count in found.grouped.items() if kind != self.group}
        if others:
            counts = ", ".join(f"{count:,} by their {kind}" for kind, count in others.items())
            notes.append(f"{found.path}: rows that name no {self.group} are split by what else they say, {counts}")
        if found.unusable:
            counts = ", ".join(f"{reason} {count:,}" for reason, count in found.unusable.items())
            notes.append(f"{found.path}: rows left out, {counts}, first: {found.named[0]}")
        if self.look and self.max_unusable:
            sound, reasons = self._looked(found, numbers)
            counts = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
            if reasons:
                notes.append(f"{name}: {len(numbers) - len(sound):,} rows left out for their images: {counts}")
        return (*notes, *repeats(found, numbers, name))

    def study(self, found: Index, number: int) -> Study:
        """Row `number` of a file."""
        where, name, row = found[number]
        return read(row, where, name, self.folder(found.path))

    def put(self, study: Study) -> Sample:
        """The question about a study as it is asked."""
        sample = study.sample(self.report, self.group, label_views=self.label_views)
        return replace(sample, thought=sample.tags.get(self.thought))

    def folder(self, file: Path) -> Path:
        """What image paths in a file are relative to."""
        return Path(self.images) if self.images else file.parent

    def _side(self, name: source.Split, seed: int) -> tuple[Index, NDArray[np.int64]]:
        """The file of a split, and the numbers of its rows. Raises DataError for what is on both sides."""
        files = [self.root] if self.heldout is None else [self.root, self.heldout]
        return _sides(self, seed, tuple(stamp_of(Path(file)) for file in files))[name]

    def opened(self, file: str) -> Index:
        """The index of a file. Raises DataError as `open_index` does."""
        path = Path(file)
        folder = self.folder(path)

        def describe(where: str, name: str, row: Any) -> Facts:
            study = read(row, where, name, folder)
            refuse_flawed(study, where, self.report)
            return study_facts(study, self.group)

        key = json.dumps([READING, str(folder.absolute()), self.report, self.group])
        return open_index(path, describe, key=key, folder=self._kept(path), max_unusable=self.max_unusable)

    def _kept(self, file: Path) -> Path:
        return Path(self.index or file.parent) / f"{file.name}.index"

    def asked(self, found: Index, side: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows of the wanted tasks, of one side. Raises DataError where there is none."""
        if unknown := [task for task in self.tasks if task not in found.labels]:
            there = ", ".join(filter(None, found.labels)) or "none at all"
            raise DataError(f"{found.path}: no row has the task {unknown[0]!r}; there is {there} (--data.tasks)")
        wanted = np.array([not self.tasks or task in self.tasks for task in found.labels])[found.columns["labels"]]
        numbers = np.flatnonzero(wanted if side is None else wanted & side)
        if not len(numbers):
            raise DataError(
                f"{found.path}: no row of the tasks {', '.join(self.tasks)} is on one side; take more tasks"
            )
        return numbers

    def _looked(self, found: Index, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[str, int]]:
        """The rows whose images can be used, by their headers and where they are few to their end, and how many cannot
        by reason."""
        folder = self._kept(found.path)
        about = _about(folder, found)
        chosen = hashlib.sha256(numbers.tobytes()).hexdigest()
        whole = len(found.files(numbers)) <= WHOLE
        told = {"about": about, "images": str(self.folder(found.path).absolute()), "rows": chosen, "whole": whole}
        remembered = folder / f"looked-{chosen[:16]}.json"
        if about and remembered.is_file() and json.loads(remembered.read_text(encoding="utf-8")) == told:
            return numbers, {}
        sound: list[int] = []
        reasons: Counter[str] = Counter()
        first: MediaError | None = None
        said = ""
        for start in range(0, len(numbers), BLOCK):
            block = [(int(number), self.study(found, int(number))) for number in numbers[start : start + BLOCK]]
            images = [image for _, study in block for image in study.images]
            errors = unusable(images)
            errors |= torn(image for image in images if image not in errors) if whole else {}
            for number, study in block:
                wrong = next((errors[image] for image in study.images if image in errors), None)
                if wrong is None:
                    sound.append(number)
                else:
                    reasons[wrong.reason] += 1
                    if first is None:
                        first, said = wrong, f"{found[number][0]} (id {study.id!r}): {wrong}"
        if first is not None and len(numbers) - len(sound) > self.max_unusable * len(numbers):
            counts = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
            raise MediaError(
                f"{found.path}: {len(numbers) - len(sound):,} of {len(numbers):,} rows have images that cannot be used "
                f"({counts}), first: {said}; name their folder (--data.images), or allow for a share of such rows "
                f"(--data.max_unusable); all of them: {listing(str(found.path), decode=whole)}",
                reason=first.reason,
            )
        if about and first is None:
            write_json(remembered, told)
        return np.array(sound, np.int64), dict(reasons)


@lru_cache(maxsize=4)  # both splits, and their notes, are asked for one after the other
def _sides(
    options: Source, seed: int, stamps: tuple[object, ...]
) -> Mapping[source.Split, tuple[Index, NDArray[np.int64]]]:
    """The file of each split and the numbers of its rows, while the files are as `stamps` says."""
    source.refuse_unfound(options.heldout)
    found = options.opened(options.root)
    if options.heldout is None:
        if len(found.groups) == 1:
            raise DataError(
                f"{options.root}: all {len(found):,} rows are of one group (by {options.group}), which stands on one "
                "side whole; add rows of another, name a file of held-out rows (--data.heldout), or split by something "
                "else (--data.group)"
            )
        held = split_groups(found.groups, options.heldout_share, seed, where=options.root)
        is_held = np.array([group in held for group in found.groups])[found.columns["groups"]]
        train, heldout = (found, options.asked(found, ~is_held)), (found, options.asked(found, is_held))
    else:
        other = options.opened(options.heldout)
        train, heldout = (found, options.asked(found)), (other, options.asked(other))
    _refuse_shared(*train, *heldout, options)
    return {"train": train, "heldout": heldout}


@dataclass(frozen=True, slots=True)
class Studies:
    """Samples that are read when they are asked for; their images are not even then."""

    options: Source
    """How they are shown."""
    rows: Index = field(repr=False)
    """Of their file."""
    numbers: NDArray[np.int64] = field(repr=False)
    """Which rows."""

    @property
    def size(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int, /) -> Sample:
        return self.options.put(self.options.study(self.rows, int(self.numbers[number])))


def listed(report: Policy) -> str:
    """The parts of a report that a prompt shows, for a person."""
    return ", ".join(SHOWN[report]) or "nothing"


def fits(path: Path) -> bool:
    """Whether the first row of a file asks about an image, and is no native one (`data/jsonl.py`). Letter case aside:
    to read it then names the key that is misspelt."""
    try:
        _, _, row = next(index.rows_in(path), ("", "", None))
    except DataError:
        return False
    keys = set(row) if isinstance(row, dict) else set[str]()
    native = keys & NATIVE or (path.suffix == ".jsonl" and keys <= set(jsonl.COMPACT_KEYS))
    return not native and {"images", "question"} <= {_KNOWN.get(_SPELT.get(key.casefold(), key)) for key in keys}


def read(value: Any, where: str, name: str, folder: Path) -> Study:
    """A row of any of these files; `name` is its id where it has none. Raises Unusable for what has no such shape."""
    try:
        row = _flat(rows.mapping(value, where), where)
        said = _said(row, where)
        names = _texts(said.get("images"), "images", where)
        choices = strip_letters(_texts(said.get("options"), "options", where))
        letters = [found[1] for choice in choices if (found := _LETTERED.match(choice))]
        if len(letters) > 1 and sorted(letters) == list(ascii_uppercase[: len(choices)]):
            raise DataError(f"{where}: `options` have the letters {', '.join(letters)}; put them in order")
        tags = {key: _text(said[key]) for key in ("task", "explanation") if key in said}
        tags |= {key: _text(row[key]) for key in row if key not in _KNOWN and row[key] not in EMPTY}
        if "answer_type" in row:
            tags["task"] = tags.get("task", "").strip().lower()
        return Study(
            id=str(said.get("id", name)),
            images=_images(names, said.get("frames"), where, folder),
            names=names,
            views=_texts(said.get("views"), "views", where),
            question=rows.text(rows.required(said, "question", where), "question", where),
            choices=choices,
            answer=_answer(str(said["answer"]).strip(), choices) if "answer" in said else None,
            patient=_text(said.get("patient")),
            study=_text(said.get("study")),
            report={part: text for part in REPORT if part in said and (text := _part(said[part], part, where))},
            tags=tags,
        )
    except DataError as error:
        raise Unusable(str(error)) from None


def _images(names: Sequence[str], frames: Any, where: str, folder: Path) -> tuple[Image, ...]:
    """The images of a row; `frames` says which picture of each file is meant, from 0, where a file holds several: a
    number, numbers, or texts of them, empty or null for a file of one. Raises DataError for anything else."""
    images = [rows.image(path, where, folder) for path in names]
    if frames is None:
        return tuple(images)
    frames = frames.split("|") if isinstance(frames, str) else frames
    each = cast(list[Any], frames) if isinstance(frames, list) else [frames]
    if len(each) != len(images):
        raise DataError(f"{where}: {len(each)} frames and {len(images)} images; name one frame for each image")
    return tuple(
        image if frame is None or not str(frame).strip() else replace(image, frame=_frame(frame, where))
        for image, frame in zip(images, each, strict=True)
    )


def _frame(value: Any, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    raise DataError(f"{where}: `frames` has {value!r}; write the number of a picture in its file, from 0")


def study_facts(study: Study, by: By) -> Facts:
    """What the index keeps of a row."""
    files = tuple(os.path.abspath(image.path or "") for image in study.images)
    pictures = [(file, image.frame) for file, image in zip(files, study.images, strict=True)]
    asked = json.dumps([pictures, study.question.casefold().strip(), sorted(study.choices)])
    kind, group = study.grouped(by)
    return Facts(study.id, group, study.tags.get("task", ""), asked, normal(study.answer or ""), files, kind)


def refuse_flawed(study: Study, where: str, report: Policy) -> None:
    """Raises Unusable for a row that nothing can be learnt from, or that says what the policy hides."""
    reason, sentence = "", ""
    if not study.images:
        reason, sentence = "no_media", "no image; add it, or remove the row"
    elif study.answer is None:
        reason, sentence = "no_answer", "nothing to learn from or to compare with; add the answer"
    elif len(study.choices) == 1:
        reason, sentence = "one_choice", f"{study.choices[0]!r} is its only option, and always right; {rows.MORE}"
    elif study.choices and study.answer not in study.choices:
        reason = "answer_not_a_choice"
        sentence = f"the answer {study.answer!r} is none of its {len(study.choices)} options; correct one of them"
    elif len(study.views) > 1 and len(study.views) != len(study.images):
        reason = "views_differ"
        sentence = f"{len(study.views)} views are named and {len(study.images)} images; a view was dropped, add it"
    elif told := study.told(report):
        reason = "report_shown"
        sentence = f"report is {report}, but the prompt says {told!r} of it; take it out of the question"
    if reason:
        raise Unusable(f"{where}: {sentence}", reason=reason)


def repeats(found: Index, numbers: NDArray[np.int64], name: str) -> Iterator[str]:
    """Sentences about rows of a split that ask what an earlier one asks, with the same answer or with another."""
    later, earlier = found.repeated()
    chosen = np.isin(later, numbers)
    later, earlier = later[chosen], earlier[chosen]
    same = found.columns["answers"][later] == found.columns["answers"][earlier]
    for which, words in ((same, "ask again what another row asks"), (~same, "contradict another row's answer")):
        pairs = list(zip(later[which][:SHOW].tolist(), earlier[which][:SHOW].tolist(), strict=True))
        if pairs:
            named = ", ".join(f"{found[one][0]} and {found[other][0]}" for one, other in pairs)
            yield f"{name}: {int(which.sum()):,} rows {words}, first: {named}"


def _refuse_shared(
    train: Index, trained: NDArray[np.int64], heldout: Index, held: NDArray[np.int64], options: Source
) -> None:
    """Raises DataError that names a group, or an image under two groups, which is on both sides."""
    if both := sorted(_groups(train, trained) & _groups(heldout, held)):
        raise DataError(
            f"{len(both):,} groups (by {options.group}) are both in training and held out: {', '.join(both[:SHOW])}; "
            "remove their rows from one side, or leave `heldout` empty and split by heldout_share"
        )
    files = np.intersect1d(train.files(trained), heldout.files(held), assume_unique=True)
    if len(files):
        one, other = (file[file.naming(int(files[0]), rows)][0] for file, rows in ((train, trained), (heldout, held)))
        raise DataError(
            f"{len(files):,} images are both in training and held out, under two groups (by {options.group}), first in "
            f"{one} and {other}; give their rows one patient, or split by what they have in common (--data.group)"
        )


def _groups(found: Index, numbers: NDArray[np.int64]) -> set[str]:
    named = np.zeros(len(found.groups), bool)
    named[found.columns["groups"][numbers]] = True
    return {found.groups[place] for place in np.flatnonzero(named).tolist()}


def _said(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What the row says, by our names. Raises DataError for a known key misspelt, or two that mean the same."""
    said: dict[str, Any] = {}
    for key, value in row.items():
        name = _KNOWN.get(key)
        if value in EMPTY:
            continue
        if name in said:
            raise DataError(f"{where}: `{key}` beside another key for the same; the keys are {', '.join(NAMES[name])}")
        if name:
            said[name] = value
        elif near := _misspelt(key):
            raise DataError(f"{where}: unknown key `{key}`, did you mean `{near}`? Correct it or rename it")
        elif key.casefold().startswith("report."):  # a tag of such a name would be neither shown nor kept back
            raise DataError(f"{where}: unknown part `{key}`; those of a report are {', '.join(REPORT)}; rename it")
    return said


def _flat(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The row with every part of a report that is an object under a key of its own, `report.Findings`. Raises DataError
    for one that the row has already."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        parts: dict[str, Any] = {key: value}
        if key in ("report", "Report") and isinstance(value, dict):
            parts = {f"report.{part}": text for part, text in cast(dict[str, Any], value).items()}
        if twice := flat.keys() & parts.keys():
            raise DataError(f"{where}: `{twice.pop()}` is said twice; keep one of them")
        flat |= parts
    return flat


@lru_cache(maxsize=4096)
def _misspelt(key: str) -> str | None:
    """The known key that this unknown one must be meant for."""
    near = [] if key in _KNOWN else get_close_matches(key.casefold(), _SPELT, 1, cutoff=0.85)
    return _SPELT[near[0]] if near else None


def _texts(value: Any, key: str, where: str) -> tuple[str, ...]:
    """A list of texts, or texts with `|` between them. Raises DataError for an empty one: to leave it out would give
    those behind it other letters."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split("|")] if value.strip() else []
    return rows.texts(value, key, where)


def _part(value: Any, part: str, where: str) -> str:
    """What a part of a report says: a text, or texts as one. Raises DataError for what is neither."""
    if isinstance(value, list):
        return ", ".join(rows.texts(value, part, where))
    return rows.text(value, part, where, blank=True).strip()


def _spaced(text: str) -> str:
    """Its words in lower case, a space around each."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _text(value: Any) -> str:
    """What becomes a tag: text as it is, lists of texts with commas, other values in JSON."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _answer(answer: str, choices: Sequence[str]) -> str:
    """The option that an answer names by its text or its letter; itself where it names none."""
    if not choices or answer in choices:
        return answer
    if answer in tuple(ascii_uppercase[: len(choices)]) and all(len(choice) > 1 for choice in choices):
        return choices[ascii_uppercase.index(answer)]  # as nearly every file has it, in a hundredth of the time
    return read_answer(answer, choices).answer or answer


def _about(folder: Path, found: Index) -> str:
    """What the kept index of a file says of it; empty where none is kept of the file as it is."""
    try:
        about = (folder / "about.json").read_text(encoding="utf-8")
        told = json.loads(about)
        return about if (told["size"], told["mtime_ns"]) == found.stamp else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
