"""What a model said of held-out samples, with and without hearing them, and what that comes to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from auscult.core.types import Outcome
from auscult.data.sources.studies import SHOWN
from auscult.evaluate.baselines import Guess, overall
from auscult.evaluate.calibration import Sureness, calibration
from auscult.evaluate.outcomes import proportion
from auscult.evaluate.statistics import clustered_se, cr2_se
from auscult.models.wording import template

TAGS = ("task", "view", "question_type")
"""What an accuracy is broken down by, where samples say it."""


def prompt_of(name: str) -> dict[str, str]:
    """What a results file says of a prompt: its text too, for a file of somebody's own may be another tomorrow."""
    text = template(name)
    return {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "text": text}


@dataclass(frozen=True)
class Evaluation:
    """What a model said of the held-out samples, with and without hearing them."""

    outcomes: tuple[Outcome, ...]
    """One for each sample, in order."""
    unheard: dict[str, tuple[Outcome, ...]]
    """The same samples asked with other media or none, by the names of `baselines.UNHEARD`."""
    guesses: Mapping[str, Guess]
    """By task (`` for questions without one): what can be had without a model."""
    media: Mapping[str, int]
    """Clips and images asked about (`clips`), and what the listener did to them on the way (its `RENDERED` counts)."""
    scorer: str = "choice"
    """What told right from wrong."""
    sure: tuple[Sureness, ...] = ()
    """How sure the model is of each answer; empty where that was not asked."""

    def to_dict(self) -> dict[str, Any]:
        """What a results file holds."""
        groups = [outcome.group for outcome in self.outcomes]
        right = [outcome.correct for outcome in self.outcomes]
        error = clustered_se(right, groups)
        shown = Counter(o.tags["report"] for o in self.outcomes if o.tags.get("report") in SHOWN)
        return {
            "scorer": self.scorer,
            **proportion(self.outcomes),
            "clustered_se": error if error > 1e-9 else None,  # NaN for one group; 0 where all groups are alike
            "cr2_se": cr2_se(right, groups),
            "clusters": len(set(groups)),
            "unparsed": _unparsed(self.outcomes),
            "by": {tag: found for tag in TAGS if (found := self._by(tag)) or tag == "task"},
            "baselines": self._baselines(range(len(self.outcomes))),
            "media": dict(self.media),
            **({"calibration": calibration(self.sure)} if self.sure else {}),
            **({"report_shown": dict(shown)} if shown else {}),
        }

    def _by(self, tag: str) -> dict[str, dict[str, Any]]:
        """The accuracy of the rows with each value of a tag, their baselines beside it."""
        places: dict[str, list[int]] = {}
        for place, outcome in enumerate(self.outcomes):
            if value := outcome.tags.get(tag):
                places.setdefault(value, []).append(place)
        return {
            value: {
                **proportion([self.outcomes[place] for place in places[value]], self.outcomes),
                "baselines": self._baselines(places[value]),
            }
            for value in sorted(places)
        }

    def _baselines(self, places: Sequence[int]) -> dict[str, Any]:
        """What else the rows at these places would be answered by; without a model, by the kind of question (task)."""
        tasks = [self.outcomes[place].tags.get("task", "") for place in places]
        asked: dict[str, Any] = {}
        for name, every in self.unheard.items():
            rows = [every[place] for place in places]
            asked[name] = {**proportion(rows, self.outcomes), "unparsed": _unparsed(rows)}
        return {**asdict(overall(self.guesses, tasks)), **asked}


def _unparsed(rows: Sequence[Outcome]) -> dict[str, int]:
    """Rows without an answer, by reason."""
    return dict(Counter(row.parsed.problem for row in rows if row.parsed.problem))
