"""Held-out clips that a model described: each reply's caption beside its references, and what that comes to.

The caption of a reply is its answer, as the run's form reads it. A reply without one is an empty caption: it scores 0,
is counted with its reason, and stays in every denominator. Scores are those of `captions.score` over all clips at once,
so CIDEr-D weighs words by the references of the evaluated clips, as the official scorer does. The clips' own scores out
of this computation, whose mean the headline is, are what intervals and comparisons rest on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from auscult.core.errors import DataError
from auscult.core.runs import write_text
from auscult.core.types import Parsed, Sample
from auscult.data import rows as reading
from auscult.evaluate import captions
from auscult.evaluate.captions import Captioned, Scored
from auscult.evaluate.outcomes import clusters, parsed_of, read_rows
from auscult.evaluate.statistics import clustered_se, paired_bootstrap

HEADLINE = "cider_d"
"""The metric that is watched and compared."""
MEANS = {"rouge_l": 1.0, HEADLINE: 10.0}
"""The metrics of a corpus that are means over its captions, and so have an interval, and the most that each can be."""


@dataclass(frozen=True, slots=True)
class Described:
    """One held-out clip and what a model said of it."""

    id: str
    """The sample's id."""
    input: str
    """The question as text."""
    references: tuple[str, ...]
    """What people wrote, at least one caption."""
    reply: str
    """The raw reply."""
    parsed: Parsed
    """The reply as its form reads it."""
    group: str
    """Cluster for standard errors."""
    tags: Mapping[str, str]
    """Labels of the sample."""
    scores: Mapping[str, float]
    """Each metric of this caption alone, by the names of `captions.METRICS`."""

    @property
    def caption(self) -> str:
        """What was scored; empty where the reply has no answer."""
        return self.parsed.answer or ""


def check(samples: Sequence[Sample]) -> None:
    """Raises DataError for a sample without a reference, and for fewer than two samples: words have no weights then."""
    for sample in samples:
        if not any(answer.strip() for answer in sample.answers):
            raise DataError(f"sample {sample.id} has no reference caption and cannot be scored; add one, or remove it")
    if len(samples) < 2:
        raise DataError(
            f"CIDEr-D weighs words by how many of the evaluated clips have them, and there is {len(samples)}; hold out "
            "two or more (evaluate.limit, train.check_limit)"
        )


def described(samples: Sequence[Sample], replies: Sequence[tuple[str, Parsed]]) -> tuple[Described, ...]:
    """Each sample with a raw reply to it and how that was read, scored against the references of all of them.

    Raises DataError as `check` does.
    """
    check(samples)
    scored = captions.score(
        [
            Captioned(sample.id, parsed.answer or "", sample.answers)
            for sample, (_, parsed) in zip(samples, replies, strict=True)
        ]
    )
    return tuple(
        Described(
            id=sample.id,
            input=sample.question,
            references=sample.answers,
            reply=reply,
            parsed=parsed,
            group=sample.group or sample.id,
            tags=sample.tags,
            scores={name: value for name, value in scores.items() if value is not None},
        )
        for sample, (reply, parsed), scores in zip(samples, replies, scored.each, strict=True)
    )


def corpus(rows: Sequence[Described]) -> Scored:
    """All rows scored together, as `auscult score captions` scores a file of them."""
    return captions.score([Captioned(row.id, row.caption, row.references) for row in rows])


def values(rows: Sequence[Described], name: str = HEADLINE) -> list[float]:
    """A metric of each caption alone."""
    return [row.scores[name] for row in rows]


def mean(rows: Sequence[Described], name: str = HEADLINE) -> dict[str, Any]:
    """The mean of a metric over all rows, its clustered error and its 95 % interval (bootstrap-t over clusters, within
    what can be); both None where all clusters are alike."""
    found, names = values(rows, name), clusters(rows)
    reach = paired_bootstrap([0.0] * len(rows), found, names, 0)
    error = clustered_se(found, names)
    return {
        "n": len(rows),
        name: fmean(found),
        "interval": reach.interval and [max(0.0, reach.interval[0]), min(MEANS[name], reach.interval[1])],
        "clustered_se": error if error > 1e-9 else None,
        "clusters": reach.clusters,
    }


def measures(rows: Sequence[Described]) -> dict[str, Any]:
    """What a results file says of rows: the metrics of the corpus, intervals of those that are means, and how many
    replies were no caption."""
    found = corpus(rows)
    means = {name: mean(rows, name) for name in MEANS}
    return {
        "n": len(rows),
        **found.corpus,
        "intervals": {name: one["interval"] for name, one in means.items()},
        "clustered_se": means[HEADLINE]["clustered_se"],
        "clusters": means[HEADLINE]["clusters"],
        "empty": found.empty,
        "unparsed": dict(Counter(row.parsed.problem for row in rows if row.parsed.problem)),
    }


def difference(before: Sequence[Described], after: Sequence[Described], seed: int) -> dict[str, Any]:
    """What a results file says of two models that described the same clips: the paired difference of mean CIDEr-D with
    its 95 % interval (bootstrap-t over clusters), and of how many clips the caption got better or worse.

    Raises DataError when the clips or their references are not the same.
    """
    first, second = ({row.id: row for row in rows} for rows in (before, after))
    if first.keys() != second.keys() or any(row.references != second[id].references for id, row in first.items()):
        raise DataError("the two describe other clips, or these have other references; evaluate both on the same clips")
    ids = sorted(first)
    old, new = (np.array(values([rows[id] for id in ids])) for rows in (first, second))
    found = paired_bootstrap(old, new, clusters([first[id] for id in ids]), seed)
    return {
        "metric": HEADLINE,
        "n": found.n,
        "clusters": found.clusters,
        "difference": found.difference,
        "interval": None if found.interval is None else list(found.interval),
        "better": int((new > old).sum()),
        "alike": int((new == old).sum()),
        "worse": int((new < old).sum()),
    }


def write_described(path: Path, rows: Sequence[Described]) -> None:
    """A samples file: raw replies in `resps`, the captions that were scored, their references, their own scores.
    `auscult score captions` reads it too."""
    write_text(path, "".join(json.dumps(_row(row), ensure_ascii=False) + "\n" for row in rows))


def read_described(path: Path) -> tuple[Described, ...]:
    """The rows that `write_described` wrote, at least one. Raises DataError that names file, line and key."""
    return read_rows(path, _described)


def holds_captions(path: Path) -> bool:
    """Whether a samples file has captions in it, by its first row; false for what is no samples file."""
    try:
        with path.open("rb") as file:
            row = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and HEADLINE in row and "correct" not in row and "resps" in row


def _row(row: Described) -> dict[str, Any]:
    return {
        "id": row.id,
        "input": row.input,
        "target": list(row.references),
        "resps": [row.reply],
        "filtered_resps": [row.parsed.answer],
        "prediction": row.caption,
        **row.scores,
        "parsed": asdict(row.parsed),
        "group": row.group,
        "tags": dict(row.tags),
    }


def _described(row: Mapping[str, Any], where: str) -> Described:
    def text(key: str) -> str:
        return reading.text(reading.required(row, key, where), key, where, blank=True)

    references = reading.texts(reading.required(row, "target", where), "target", where)
    replies = reading.required(row, "resps", where)
    scores = {name: row.get(name) for name in captions.METRICS}
    wrong = [name for name, value in scores.items() if not isinstance(value, int | float) or isinstance(value, bool)]
    if wrong or not references:
        key = wrong[0] if wrong else "target"
        raise DataError(f"{where}: `{key}` is not what evaluating captions writes there")
    if not isinstance(replies, list) or len(replies) != 1:
        raise DataError(f"{where}: `resps` is no list of one reply; write [...]")
    return Described(
        id=text("id"),
        input=text("input"),
        references=references,
        reply=reading.text(replies[0], "resps[0]", where, blank=True),
        parsed=parsed_of(reading.required(row, "parsed", where), f"{where}: `parsed`"),
        group=text("group"),
        tags=reading.tags(row.get("tags"), where),
        scores={name: float(value) for name, value in scores.items() if value is not None},
    )
