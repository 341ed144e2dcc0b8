"""Radiographs: a folder of real chest films, asked which view they are, and of VQA-RAD what is answered by yes or no.

    ROOT/cxr/data.csv              patient_id,image_id,projection,...: the film is ROOT/cxr/<image_id>.png
    ROOT/vqarad/questions.json     VQA-RAD's rows, their images beside it

Two tasks: `view` (AP or PA?) and `closed`. A closed question whose answer is neither yes nor no is left out and counted
by `notes`, for its options are not known. The films of a patient stand on one side of the split; VQA-RAD does not say
whose its images are, so there an image does, with all its questions. Nothing of a report is known, or shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from auscult.core.errors import DataError
from auscult.core.types import Sample
from auscult.data import index, rows, source, table
from auscult.data.source import Row
from auscult.data.sources import studies
from auscult.data.sources.studies import Study
from auscult.data.splits import split_groups

Task = Literal["view", "closed"]

TASKS: tuple[Task, ...] = ("view", "closed")
VIEWS = ("AP", "PA")
CLOSED = ("yes", "no")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, and where it stands."""

    where: str
    """File and row."""
    study: Study
    """The film, its question and its options; none where they are not known."""

    @property
    def task(self) -> str:
        return self.study.tags["task"]

    @property
    def group(self) -> str:
        """Patients of one set and images of the other are never one."""
        return f"{self.task}/{self.study.group('patient')}"


@dataclass(frozen=True, kw_only=True)
class Source(source.Written):
    """Options of real chest films."""

    root: str
    """Folder that the two files are in."""
    view: str = "cxr/data.csv"
    """Table of films with their projection, below `root`."""
    closed: str = "vqarad/questions.json"
    """VQA-RAD's questions, below `root`."""
    tasks: tuple[Task, ...] = TASKS
    """Which questions are asked: view, closed."""
    heldout_share: float = 0.25
    """Share of the patients of `view`, and of the images of `closed`, that is held out."""

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks is {list(self.tasks)}: name each of {', '.join(TASKS)} at most once")
        if not 0 < self.heldout_share < 1:
            raise ValueError(f"heldout_share is {self.heldout_share}: set a share between 0 and 1")

    def rows(self, name: source.Split, seed: int) -> list[Row]:
        """The questions of a split. Raises DataError for a row that is none."""
        asked = [one for one in self._asked() if one.study.choices]
        groups, tasks = [one.group for one in asked], [one.task for one in asked]
        held = split_groups(groups, self.heldout_share, seed, tasks, where=self.root)
        chosen = [one for one in asked if (one.group in held) == (name == "heldout")]
        return [Row(one.where, _sample(one), "image") for one in chosen]

    def checked(self, name: source.Split) -> tuple[str, ...]:
        return (str(self._file(self.tasks[0])),)

    def notes(self, name: source.Split, seed: int) -> tuple[str, ...]:
        """What was left out of both splits, told once."""
        left = Counter(one.study.answer for one in self._asked() if not one.study.choices)
        if name != "train" or not left:
            return ()
        common = ", ".join(f"{answer} {count}" for answer, count in left.most_common(3))
        return (f"closed questions left out, answered by neither yes nor no: {left.total()} ({common}, ...)",)

    def _asked(self) -> list[_Asked]:
        """The questions of all tasks, in the order of the files."""
        found = {"view": self._views, "closed": self._closed}
        return [one for task in self.tasks for one in found[task]()]

    def _file(self, task: Task) -> Path:
        return Path(self.root) / {"view": self.view, "closed": self.closed}[task]

    def _views(self) -> Iterator[_Asked]:
        file = self._file("view")
        for where, row in table.read(file):
            view, film = (rows.required(row, key, where) for key in ("projection", "image_id"))
            if view.upper() not in VIEWS:
                raise DataError(f"{where}: `projection` is {view!r}; write one of {', '.join(VIEWS)}")
            asked = {"id": film, "image": f"{film}.png", "question": "Is this view AP or PA?", "task": "view"}
            answered = {"options": list(VIEWS), "answer": view.upper(), "patient": row.get("patient_id")}
            yield _Asked(where, studies.read({**asked, **answered}, where, film, file.parent))

    def _closed(self) -> Iterator[_Asked]:
        file = self._file("closed")
        for where, name, row in index.rows_in(file):
            study = studies.read(row, where, name, file.parent)
            if study.tags.get("task") == "closed":
                answer = (study.answer or "").lower()
                known: dict[str, Any] = {"choices": CLOSED, "answer": answer} if answer in CLOSED else {}
                yield _Asked(where, replace(study, **known))


def _sample(asked: _Asked) -> Sample:
    """The question with its film, told apart from others by its task."""
    study = replace(asked.study, id=f"{asked.task}/{asked.study.id}")
    return replace(study.sample("none"), group=asked.group)
