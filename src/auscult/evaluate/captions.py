"""Captions against their references: BLEU-1 to BLEU-4, ROUGE-L and CIDEr-D, as the official Java pipeline has them.

A file is CSV with the columns `caption_predicted` and `caption_1`, `caption_2` ... (or `caption_reference_01` ...), or
JSON lines with `prediction` and `references` (`target` in samples files); a column's name may be in capitals, and what
is read from no column or key is named in the result, as a misspelt one would be; so are empty cells among the
references, which are none. Every row counts: a row without a
prediction scores 0 and is counted as empty, a row without a reference is refused, because no score could be computed.
CIDEr-D takes its document frequencies from the references of the file, as published tables do; with a single row it has
no weights and is None.

A CLAP, where one is given, listens to the recordings (`audio`) and needs no references; a model of sentences gives the
SBERT similarity, and with a detector of errors FENSE. METEOR and SPICE are not there: both are Java programs with word
lists of their own, and a likeness of them would be another metric.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from auscult.core.errors import DataError
from auscult.core.types import Audio
from auscult.data import jsonl, rows, table
from auscult.rewards.captioning.bleu import Matches, References
from auscult.rewards.captioning.cider import Vector, cider_d
from auscult.rewards.captioning.frequencies import Frequencies
from auscult.rewards.captioning.rouge import Reference, rouge_l
from auscult.rewards.captioning.tokens import TOKENIZER, tokenize
from auscult.rewards.clap import Clap
from auscult.rewards.fense import Fense
from auscult.rewards.sbert import Sentences

METRICS = {
    "bleu_1": "BLEU-1, corpus level, closest reference length",
    "bleu_2": "BLEU-2, corpus level, closest reference length",
    "bleu_3": "BLEU-3, corpus level, closest reference length",
    "bleu_4": "BLEU-4, corpus level, closest reference length",
    "rouge_l": "ROUGE-L, beta 1.2, mean over captions",
    "cider_d": "CIDEr-D, sigma 6, document frequencies of these references, mean over captions",
}
"""What is measured, and which variant of it; all on the tokens of `TOKENIZER`."""
CLIPS = ("youtube_id", "ytid", "audio", "audio_path", "image", "file", "file_name", "filename", "clip", "clip_id")
"""Columns or keys that name the clip or image of a row, where they are there."""
_REFERENCE = re.compile(r"caption_(?:reference_)?\d+")


@dataclass(frozen=True, slots=True)
class Captioned:
    """One row: what was predicted, and what people wrote."""

    id: str
    """Unique within the file."""
    prediction: str
    """The candidate caption; empty when there is none."""
    references: tuple[str, ...]
    """At least one."""
    audio: Audio | None = None
    """What was described, where the row names it."""
    unread: tuple[str, ...] = ()
    """Columns or keys of the row that nothing was read from."""
    blank: int = 0
    """Its cells for references that are empty, which are none."""
    clip: tuple[tuple[str, str], ...] = ()
    """What names its clip, columns or keys with their values."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The references of a training file."""

    references: tuple[tuple[str, ...], ...]
    """Of each clip or image."""
    sha256: str
    """The hash of the file."""
    unread: Mapping[str, int]
    """Columns or keys that nothing was read from, and in how many rows they stand."""
    blank: int
    """Cells for references that are empty, which are none."""
    repeated: Mapping[str, int]
    """Columns or keys that name clips of which some have several rows, and how many clips they name."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A file of captions, scored."""

    rows: tuple[Captioned, ...]
    """All of them."""
    tokens: tuple[tuple[str, ...], ...]
    """The tokens of their predictions, which is what was scored."""
    each: tuple[Mapping[str, float | None], ...]
    """The metrics of each caption alone, in the order of the rows."""
    corpus: Mapping[str, float | None]
    """The metrics of all captions together."""
    variants: Mapping[str, str] = field(default_factory=lambda: METRICS)
    """What is measured, and which variant of it."""

    @property
    def empty(self) -> int:
        """Rows without a prediction; they are in every denominator."""
        return sum(not row.prediction.strip() for row in self.rows)

    @property
    def unread(self) -> dict[str, int]:
        """Columns or keys that nothing was read from, and in how many rows they stand."""
        return dict(Counter(name for row in self.rows for name in row.unread))

    @property
    def blank(self) -> int:
        """Cells for references that are empty, which are none."""
        return sum(row.blank for row in self.rows)

    @property
    def repeated(self) -> dict[str, tuple[int, str]]:
        """Columns or keys that name clips of which some have several rows: how many clips they name, and the first that
        comes again. Each row counts all the same."""
        named: dict[str, Counter[str]] = {}
        for row in self.rows:
            for name, clip in row.clip:
                named.setdefault(name, Counter())[clip] += 1
        again = {name: [clip for clip, count in clips.items() if count > 1] for name, clips in named.items()}
        return {name: (len(named[name]), clips[0]) for name, clips in again.items() if clips}

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        counts = [len(row.references) for row in self.rows]
        return {
            "captions": len(self.rows),
            "empty": self.empty,
            "references": [min(counts), max(counts)],
            "unread": self.unread,
            "blank_references": self.blank,
            "repeated": {name: clips for name, (clips, _) in self.repeated.items()},
            **self.corpus,
            "tokens": TOKENIZER,
            "variants": dict(self.variants),
        }

    def samples(self) -> Iterator[dict[str, Any]]:
        """The rows of a samples file: raw caption, the tokens that were scored, the metrics."""
        for row, tokens, scores in zip(self.rows, self.tokens, self.each, strict=True):
            yield {
                "id": row.id,
                "target": list(row.references),
                "resps": [row.prediction],
                "filtered_resps": [" ".join(tokens)],
                **scores,
            }


def score(captions: Sequence[Captioned]) -> Scored:
    """Scores all rows, at least one."""
    candidates = tokenized([row.prediction for row in captions])
    written = iter(tokenized([text for row in captions for text in row.references]))
    references = [[next(written) for _ in row.references] for row in captions]
    frequencies = Frequencies.of(references)
    matches = [Matches.of(one, References.of(many)) for one, many in zip(candidates, references, strict=True)]
    each: list[dict[str, float | None]] = []
    for candidate, many, matched in zip(candidates, references, matches, strict=True):
        scores: dict[str, float | None] = {f"bleu_{n}": bleu for n, bleu in enumerate(matched.bleu(), 1)}
        scores["rouge_l"] = rouge_l(candidate, [Reference.of(one) for one in many])
        scores["cider_d"] = None
        if frequencies.documents > 1:
            vectors = [Vector.of(one, frequencies) for one in many]
            scores["cider_d"] = cider_d(Vector.of(candidate, frequencies), vectors)
        each.append(scores)
    corpus: dict[str, float | None] = {
        f"bleu_{n}": bleu for n, bleu in enumerate(sum(matches, start=Matches()).bleu(), 1)
    }
    for name in ("rouge_l", "cider_d"):
        known = [value for scores in each if (value := scores[name]) is not None]
        corpus[name] = fmean(known) if len(known) == len(each) else None
    return Scored(tuple(captions), tuple(candidates), tuple(each), corpus)


def listened(scored: Scored, model: Clap) -> Scored:
    """The score with `clap`: how well each caption fits its recording, 0 for an empty one.

    Raises DataError for a row that names no recording, MediaError for one that cannot be read.
    """
    found: list[float] = []
    for row in scored.rows:
        if row.audio is None:
            raise DataError(f"caption {row.id} names no recording, which CLAP listens to; add `audio` to its row")
        found += model.similarity(row.audio, [row.prediction])
    return _beside(scored, "clap", found, model.variant)


def resembling(scored: Scored, model: Sentences | Fense) -> Scored:
    """The score with `sbert` or `fense`: how near each caption comes to its references, 0 for an empty one."""
    found = [model.similarity(row.references, [row.prediction])[0] for row in scored.rows]
    return _beside(scored, "sbert" if isinstance(model, Sentences) else "fense", found, model.variant)


def _beside(scored: Scored, name: str, found: Sequence[float], variant: str) -> Scored:
    """The score with another metric, whose corpus value is the mean."""
    return replace(
        scored,
        each=tuple({**scores, name: value} for scores, value in zip(scored.each, found, strict=True)),
        corpus={**scored.corpus, name: fmean(found)},
        variants={**scored.variants, name: variant},
    )


def among(scored: Scored, names: Sequence[str]) -> Scored:
    """The score with the metrics called `names` alone."""

    def those(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: values[name] for name in values if name in names}

    each = tuple(map(those, scored.each))
    return replace(scored, each=each, corpus=those(scored.corpus), variants=those(scored.variants))


def tokenized(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """The tokens of captions that stand in one file, a line each, as the official pipeline has them."""
    following = [*(f"\n{text}" for text in texts[1:]), ""]
    return [tokenize(text, after) for text, after in zip(texts, following, strict=True)]


def read_captions(path: Path, media: Path | None = None) -> tuple[Captioned, ...]:
    """Predictions and references of a file, `.csv` or JSON lines; recordings are named relative to `media`, or to the
    file's folder. Raises DataError with file, row and key."""
    found: list[Captioned] = []
    seen: set[str] = set()
    for where, row, blank in _rows(path):
        if "prediction" not in row:
            near = "column `caption_predicted`" if _is_csv(path) else "`prediction`"
            raise DataError(f"{where}: no {near}; the row has {', '.join(row) or 'nothing'}; rename what holds it")
        prediction = "" if row["prediction"] is None else rows.text(row["prediction"], "prediction", where, blank=True)
        name = str(row.get("id", len(found) + 1))
        if name in seen:
            raise DataError(f"{where}: the id {name!r} occurs twice; give each row its own")
        seen.add(name)
        audio = rows.audio(row["audio"], where, media or path.parent) if row.get("audio") else None
        key, references = _references(row, where)
        unread = tuple(name for name in row if name not in ("id", "prediction", "audio", key))
        clip = tuple((name, str(row[name])) for name in CLIPS if row.get(name))
        found.append(Captioned(name, prediction, references, audio, unread, blank, clip))
    if not found:
        raise DataError(f"{path}: no rows; write one caption a row")
    return tuple(found)


def read_documents(path: Path, by: str | None = None) -> Documents:
    """The references of a training file, clip by clip.

    Takes what `read_captions` takes, without predictions, also a column `caption` with one reference, and the samples
    that auscult trains on (`answers`). Rows with the same value under `by` are one clip. Raises DataError as above.
    """
    documents: dict[str, tuple[str, ...]] = {}
    unread: Counter[str] = Counter()
    by = by.strip().casefold() if by and _is_csv(path) else by
    blanks = 0
    named: dict[str, Counter[str]] = {}
    for where, row, blank in _rows(path):
        if by is not None and row.get(by) is None:
            raise DataError(f"{where}: no `{by}` to tell clips apart by; the row has {', '.join(row)}")
        key, references = _references(row, where)
        clip = str(len(documents)) if by is None else str(row[by])
        documents[clip] = documents.get(clip, ()) + references
        unread.update(name for name in row if name not in (by, key))
        blanks += blank
        for name in set(CLIPS) & row.keys() if by is None else ():
            named.setdefault(name, Counter())[str(row[name])] += 1
    if len(documents) < 2:
        raise DataError(
            f"{path}: {len(documents)} clips; CIDEr-D weighs words by how many clips have them, so add more"
        )
    return Documents(
        tuple(documents.values()),
        hashlib.sha256(path.read_bytes()).hexdigest(),
        dict(unread),
        blanks,
        {name: len(clips) for name, clips in named.items() if max(clips.values()) > 1},
    )


def _references(row: Mapping[str, Any], where: str) -> tuple[str, tuple[str, ...]]:
    """The key that holds a row's references, and these."""
    key = next((key for key in ("references", "answers", "caption", "answer", "target") if row.get(key)), "references")
    found = row.get(key)
    single = key in ("caption", "answer") and isinstance(found, str)
    references = rows.texts([found] if single else found, key, where)
    if not references:
        raise DataError(
            f"{where}: no reference (`references`, or the columns `caption_1` ...); the row has "
            f"{', '.join(row) or 'nothing'}; rename what holds them, add one, or remove the row"
        )
    return key, references


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Where each row stands, the row, and how many of its cells for references are empty; of CSV, the columns of
    references as one list."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the path")
    if _is_csv(path):
        for where, cells in table.read(path):
            yield where, *_named(cells, where)
        return
    _refuse_other(path)
    for number, text in jsonl.lines(path):
        where = f"{path}:{number}"
        row = rows.mapping(rows.load_json(text, where), where)
        if "prediction" not in row and "caption_predicted" in row:
            row["prediction"] = row.pop("caption_predicted")
        yield where, row, 0


def _refuse_other(path: Path) -> None:
    """Raises DataError for a file that is neither, by how it begins."""
    with path.open("rb") as file:
        begins = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if begins.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise DataError(f"{path}: a packed file; unpack it, captions are read as .csv or JSON lines")
    if begins and not begins.startswith((b"{", b"[")):
        raise DataError(f"{path}: no JSON lines, for it begins with {begins[:20]!r}; name a CSV file .csv")


def _named(cells: Mapping[str, str], where: str) -> tuple[dict[str, Any], int]:
    """A row of CSV under the keys of JSON lines, and how many of its cells for references are empty. Raises DataError
    for two columns of one meaning."""
    if len(cells) == 1 and ";" in next(iter(cells)):
        raise DataError(f"{where}: its one column is {next(iter(cells))!r}; part columns with commas, not semicolons")
    names = Counter("prediction" if name == "caption_predicted" else name for name in map(str.casefold, cells))
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataError(f"{where}: two columns are the `{twice[0]}` ({', '.join(cells)}); keep one of them")
    row: dict[str, Any] = {}
    references: list[str] = []
    blank = 0
    for name, cell in zip(names, cells.values(), strict=True):
        if not _REFERENCE.fullmatch(name):
            row[name] = cell
        elif cell.strip():
            references.append(cell)
        else:
            blank += 1
    return ({"references": references, **row} if references else row), blank
