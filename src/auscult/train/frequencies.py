"""Document frequencies of what is trained on, for the rewards that ask for them with `df: train`.

    rewards:
      cider: {weight: 1.0, kwargs: {df: train}}

They are counted once, in all samples of training, and stand in the run folder, so that a reward means the same in every
step, on every process and after a kill. A sample is a document: its answers are all references of one clip.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from auscult.core.errors import ConfigError
from auscult.data.source import Samples
from auscult.rewards.captioning.frequencies import Frequencies, read_frequencies
from auscult.rewards.captioning.tokens import tokenize
from auscult.rewards.cider import NEEDS_DF

FILE = "captions_df.json"
"""What they are called in the run folder."""
TRAIN = "train"
"""What a reward names instead of a file."""
Rewards = Mapping[str, float | Mapping[str, Any]]


def asks(rewards: Rewards) -> bool:
    """Whether a reward asks for the frequencies of the training samples."""
    return any(_df(entry) == TRAIN for entry in rewards.values())


def check(rewards: Rewards, samples: Samples) -> None:
    """Refuses, before anything is trained, what would have no frequencies in the end. Raises ConfigError."""
    for name, entry in rewards.items():
        function, df = entry.get("function") if isinstance(entry, Mapping) else None, _df(entry)
        if df is None and (function or name) == "cider":
            raise ConfigError(NEEDS_DF)
        if df == TRAIN and (samples.size is None or samples.size < 2):
            count = "no end" if samples.size is None else f"{samples.size} samples"
            raise ConfigError(
                f"reward {name!r} counts document frequencies in the training samples (df: train), which have {count}; "
                "name a file that auscult captions df has written"
            )
        if isinstance(df, str) and df != TRAIN:
            read_frequencies(df)


def counted(rewards: Rewards, samples: Samples, path: Path) -> None:
    """Counts the samples and writes `path`, where a reward asks for that and it is not there. Raises ConfigError for a
    sample without a reference."""
    if path.exists() or not asks(rewards):
        return
    references = [samples[index].answers for index in range(samples.size or 0)]
    if not all(references):
        raise ConfigError(
            f"training sample {references.index(())} (from 0) has no reference, and rewards ask for document "
            "frequencies of all (df: train); add it, or name a file that auscult captions df has written"
        )
    digest = hashlib.sha256(json.dumps(references, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
    documents = ([tokenize(text) for text in answers] for answers in references)
    Frequencies.of(documents, "the training samples", digest).write(path)


def placed(rewards: Rewards, path: Path) -> dict[str, float | Mapping[str, Any]]:
    """The rewards with `path` for `train`."""
    return {name: _placed(entry, path) for name, entry in rewards.items()}


def _placed(entry: float | Mapping[str, Any], path: Path) -> float | Mapping[str, Any]:
    if isinstance(entry, Mapping) and _df(entry) == TRAIN:
        return {**entry, "kwargs": {**entry["kwargs"], "df": str(path)}}
    return entry


def _df(entry: float | Mapping[str, Any]) -> object:
    """The frequencies that a reward is given."""
    kwargs = entry.get("kwargs") if isinstance(entry, Mapping) else None
    return cast("Mapping[str, object]", kwargs).get("df") if isinstance(kwargs, Mapping) else None
