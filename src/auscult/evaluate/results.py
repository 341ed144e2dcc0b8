"""What a model said of held-out samples, with and without hearing them, and what that comes to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from auscult.core.types import Outcome
from auscult.data.sources.studies import SHOWN
from auscult.evaluate.baselines import Guess, overall
from auscult.evaluate.outcomes import proportion
from auscult.evaluate.statistics import clustered_se
from auscult.models.wording import template


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
    """The same samples asked with `shuffled` media and with `silence`."""
    guesses: Mapping[str, Guess]
    """By task (`` for questions without one): what can be had without a model."""
    media: Mapping[str, int]
    """Clips and images asked about (`clips`), and what the listener did to them on the way (its `RENDERED` counts)."""
    scorer: str = "choice"
    """What told right from wrong."""

    def to_dict(self) -> dict[str, Any]:
        """What a results file holds."""
        groups = [outcome.group for outcome in self.outcomes]
        error = clustered_se([outcome.correct for outcome in self.outcomes], groups)
        shown = Counter(o.tags["report"] for o in self.outcomes if o.tags.get("report") in SHOWN)
        tasks = {
            task: [o for o in self.outcomes if o.tags.get("task") == task] for task in sorted(self.guesses) if task
        }
        return {
            "scorer": self.scorer,
            **proportion(self.outcomes),
            "clustered_se": error if error > 1e-9 else None,  # NaN for one group; 0 where all groups are alike
            "clusters": len(set(groups)),
            "unparsed": dict(Counter(o.parsed.problem for o in self.outcomes if o.parsed.problem)),
            "by": {
                "task": {
                    task: {**proportion(rows, self.outcomes), "baselines": asdict(self.guesses[task])}
                    for task, rows in tasks.items()
                }
            },
            "baselines": {
                **asdict(overall(self.guesses, [outcome.tags.get("task", "") for outcome in self.outcomes])),
                **{name: proportion(outcomes) for name, outcomes in self.unheard.items()},
            },
            "media": dict(self.media),
            **({"report_shown": dict(shown)} if shown else {}),
        }
