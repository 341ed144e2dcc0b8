"""FENSE: the similarity of `sbert`, a tenth of it where a detector finds an error of fluency (arXiv 2110.04684).

    fense: {weight: 1.0, kwargs: {model: sentence-transformers/paraphrase-TinyBERT-L6-v2, detector: DIR}}

Source: fense/evaluator.py of github.com/blmoistawinde/fense (9c76bca). A caption in lower case and without punctuation
goes through a BERT; from the last hidden state of [CLS] a linear layer comes to six classes, of which the last is
`error`. More than 0.9 of it costs 0.9 of the similarity. The published detectors are pickles, which nothing here opens;
converted, once and where you trust them, they are a folder DIR:

    state = torch.load("echecker_clotho_audiocaps_base.ckpt", weights_only=True)
    safetensors.torch.save_file(state["state_dict"], "DIR/model.safetensors")
    AutoConfig.from_pretrained(state["model_type"]).save_pretrained("DIR")
    AutoTokenizer.from_pretrained(state["model_type"]).save_pretrained("DIR")

Agrees with that script to 1e-6 on models of random weights. The published weights have not been run here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample
from auscult.rewards import sbert
from auscult.rewards.sbert import Sentences, batches, device_of, loading, read, rewarded

THRESHOLD = 0.9
"""Probability of an error from which on it counts."""
PENALTY = 0.9
"""Share of the similarity that it costs."""
LONGEST = 64
"""Tokens of a caption that the detector reads."""
UNUSED = "embeddings.position_ids"
"""In published checkpoints, and no weight of today's transformers."""


def fense(
    sample: Sample, rollouts: Sequence[Rollout], *, model: str, detector: str, device: str = "auto"
) -> list[float | None]:
    """FENSE of each answer against the sample's answers, 0.0 to 1.0; 0.0 for a reply without a readable answer, None
    for a sample without one.

    `device` is auto (a GPU where there is one), cpu or cuda. Raises ConfigError for a model that cannot be loaded.
    """
    return rewarded(sample, rollouts, load(model, detector, device).similarity)


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """Finds captions that are no fluent English."""

    name: str
    """Its folder or hub id."""
    model: Any
    """A BERT."""
    tokenizer: Any
    """Its tokenizer."""
    weight: Any
    """Of the class `error` [D], a tensor."""
    bias: Any
    """Of the same, a scalar."""
    longest: int = LONGEST
    """Tokens of a caption; what is behind them does not count."""

    def errors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The probability [N] that a text has an error."""
        return np.concatenate([self._errors(batch) for batch in batches(texts)])

    def _errors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        _, hidden = read(self, [re.sub(r"[^\w\s]", "", text).lower() for text in texts])
        return (hidden[:, 0] @ self.weight + self.bias).sigmoid().cpu().numpy()


@dataclass(frozen=True, slots=True, eq=False)
class Fense:
    """A model of sentences, and the detector that takes away from what it finds alike."""

    sentences: Sentences
    """Says what is alike."""
    detector: Detector
    """Says what has an error."""

    @property
    def variant(self) -> str:
        """The metric in words."""
        models = f"{self.sentences.name}; errors by {self.detector.name}, threshold {THRESHOLD}, penalty {PENALTY}"
        return f"FENSE ({models}), mean over references and captions"

    def similarity(self, references: Sequence[str], texts: Sequence[str]) -> list[float]:
        """Of each text and the references (at least one); 0.0 for a blank text."""
        alike = self.sentences.similarity(references, texts)
        wrong = self.detector.errors(texts) > THRESHOLD
        return [value * (1 - PENALTY * bool(error)) for value, error in zip(alike, wrong, strict=True)]


def load(model: str, detector: str, device: str) -> Fense:
    """Both, each once a process. Raises ConfigError where there is none."""
    return Fense(sbert.load(model, device), load_detector(detector, device))


@lru_cache(maxsize=2)
def load_detector(model: str, device: str) -> Detector:
    """The detector in a folder or under a hub id, once a process. Raises ConfigError where there is none."""
    import transformers
    from safetensors import torch as safetensors

    library, files = cast(Any, transformers), cast(Any, safetensors)  # their types are partial
    with loading(model, "error detector of FENSE"):
        encoder = library.AutoModel.from_config(library.AutoConfig.from_pretrained(model))
        tokenizer = library.AutoTokenizer.from_pretrained(model)
        weights: dict[str, Any] = files.load_file(library.utils.cached_file(model, "model.safetensors"))
    own = {key.removeprefix("encoder."): value for key, value in weights.items() if key.startswith("encoder.")}
    own.pop(UNUSED, None)
    report = encoder.load_state_dict(own, strict=False)
    lacks = sorted({"clf.weight", "clf.bias"} - weights.keys()) + report.missing_keys
    if lacks or report.unexpected_keys:
        odd = f"lacks {lacks[:3]}" if lacks else f"has {report.unexpected_keys[:3]}, which its config does not know"
        raise ConfigError(
            f"{model} is no error detector of FENSE: model.safetensors {odd}; convert the published checkpoint as "
            "auscult/rewards/fense.py says"
        )
    where = device_of(device)
    last = (weights[key][-1].float().to(where) for key in ("clf.weight", "clf.bias"))
    return Detector(model, encoder.eval().to(where), tokenizer, *last)
