"""How well replies describe what is heard: BLEU, ROUGE-L and CIDEr-D against each sample's answers, its references.

Beside it stand the same model with another clip's audio (`shuffled`) and with none (`silence`), and the best caption
that could be given to every clip alike (`constant`), which a model must beat to have listened at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from auscult.core.types import Parsed, Rollout, Sample
from auscult.evaluate import metric
from auscult.evaluate.baselines import UNHEARD
from auscult.evaluate.captions import METRICS
from auscult.evaluate.constant import Constant, best_constant
from auscult.evaluate.described import (
    HEADLINE,
    Described,
    check,
    described,
    difference,
    mean,
    measures,
    read_described,
    values,
    write_described,
)
from auscult.rewards.captioning.tokens import TOKENIZER


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model said of the held-out clips, and what can be said of them without hearing."""

    outcomes: tuple[Described, ...]
    """One for each sample, in order."""
    unheard: Mapping[str, tuple[Described, ...]]
    """The same clips described with `shuffled` media, with `silence`, and by the `constant` caption."""
    best: Constant
    """The constant caption."""
    media: Mapping[str, int]
    """Clips asked about (`clips`), and what the listener did to them on the way."""

    def to_dict(self) -> dict[str, Any]:
        """What a results file holds."""
        counts = [len(row.references) for row in self.outcomes]
        baselines: dict[str, dict[str, Any]] = {name: measures(rows) for name, rows in self.unheard.items()}
        baselines["constant"] |= {"caption": self.best.caption, "candidates": self.best.candidates}
        return {
            "scorer": "captions",
            **measures(self.outcomes),
            "references": [min(counts), max(counts)],
            "tokens": TOKENIZER,
            "variants": dict(METRICS),
            "baselines": baselines,
            "media": dict(self.media),
        }


class Metric(metric.Metric[Described]):
    """Captions; the headline is the mean CIDEr-D."""

    figure = HEADLINE
    against = (*((f"_{name}", "") for name in UNHEARD), ("_constant", ""), ("_constant", "_shuffled"))
    references = True
    rewards = MappingProxyType({"rouge": 1.0, "form": 0.1})

    def check(self, samples: Sequence[Sample]) -> None:
        check(samples)

    def judge(self, samples: Sequence[Sample], rollouts: Sequence[Rollout]) -> tuple[Described, ...]:
        return described(samples, [(rollout.text, rollout.parsed) for rollout in rollouts])

    def evaluated(
        self,
        rows: Sequence[Described],
        unheard: Mapping[str, Sequence[Described]],
        samples: Sequence[Sample],
        media: Mapping[str, int],
        train: Iterable[Sample],
    ) -> Evaluation:
        candidates = [
            answer for sample in itertools.chain(samples, train) for answer in sample.answers if answer.strip()
        ]
        best = best_constant([sample.answers for sample in samples], candidates)
        same = (best.caption, Parsed(best.caption))
        without = {**unheard, "constant": described(samples, [same] * len(samples))}
        return Evaluation(tuple(rows), {name: tuple(found) for name, found in without.items()}, best, media)

    def write(self, path: Path, rows: Sequence[Described]) -> None:
        write_described(path, rows)

    def read(self, path: Path) -> tuple[Described, ...]:
        return read_described(path)

    def mean(self, rows: Sequence[Described]) -> float:
        return sum(values(rows)) / len(rows)

    def said(self, rows: Sequence[Described]) -> dict[str, Any]:
        return mean(rows)

    def difference(self, before: Sequence[Described], after: Sequence[Described], seed: int) -> dict[str, Any]:
        return difference(before, after, seed)
