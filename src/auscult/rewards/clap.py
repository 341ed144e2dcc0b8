"""How well a caption fits its recording: the cosine of their CLAP embeddings, from 0.0 to 1.0 (arXiv 2211.06687).

    clap: {weight: 1.0, kwargs: {model: laion/clap-htsat-unfused}}

No reference is needed. `model` is a folder or a hub id of transformers' `ClapModel`; results name it, for cosines of
two checkpoints have nothing to do with each other. A cosine below 0 counts as 0: no caption is worse than none. A
recording that is longer than the model takes is heard in equal pieces, whose embeddings are averaged; transformers by
itself would crop it at random. What has been heard is kept between rollouts. torch is loaded when the model is.

Whoever trains on CLAP trains against it: it hears what is there, not in which order, nor how often.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import ConfigError, DataError
from auscult.core.types import Audio, Rollout, Sample
from auscult.media.audio import decode, fit

Vectors = NDArray[np.float32]
KEPT = 1 << 14
"""Recordings whose embeddings are kept: 32 MB for CLAP's 512 dimensions."""


def clap(sample: Sample, rollouts: Sequence[Rollout], *, model: str, device: str = "auto") -> list[float | None]:
    """The similarity of each answer and the sample's recording; 0.0 for a reply without a readable answer.

    `device` is auto (a GPU where there is one), cpu or cuda. Raises DataError for a sample without its one recording,
    MediaError for a recording that cannot be read, ConfigError for a model that cannot be loaded.
    """
    heard = [media for media in sample.media if isinstance(media, Audio)]
    if len(heard) != 1:
        raise DataError(
            f"sample {sample.id} has {len(heard)} recordings, and the reward clap compares a caption with one; "
            "leave the reward out, or these samples"
        )
    return list(load(model, device).similarity(heard[0], [rollout.parsed.answer or "" for rollout in rollouts]))


@dataclass(frozen=True, slots=True, eq=False)
class Clap:
    """A CLAP, and what it has heard."""

    name: str
    """Its folder or hub id."""
    model: Any
    """transformers' ClapModel."""
    extractor: Any
    """Its feature extractor."""
    tokenizer: Any
    """Its tokenizer."""
    heard: dict[tuple[Audio, int], Vectors] = field(default_factory=dict[tuple[Audio, int], Vectors])
    """Embeddings [D] by recording, and when its file was last changed."""

    @property
    def variant(self) -> str:
        """The metric in words."""
        seconds = self.extractor.max_length_s
        return f"CLAP similarity ({self.name}), cosine of recording (pieces of at most {seconds} s) and caption, mean"

    def similarity(self, audio: Audio, texts: Sequence[str]) -> list[float]:
        """Of each text and the recording: their cosine, at least 0.0, and 0.0 for a blank text. Raises MediaError."""
        said = [place for place, text in enumerate(texts) if text.strip()]
        found = [0.0] * len(texts)
        if said:
            cosines = self.read([texts[place] for place in said]) @ self.hear(audio)
            for place, cosine in zip(said, cosines, strict=True):
                found[place] = float(np.clip(cosine, 0.0, 1.0))
        return found

    def hear(self, audio: Audio) -> Vectors:
        """The embedding [D] of a recording, of length 1. Raises MediaError."""
        if audio.wave is not None and audio.sha256 is None:  # in comparisons the hash stands for the samples
            audio = replace(audio, sha256=Audio.of(audio.wave, audio.rate or 0).sha256)
        key = audio, _changed(audio)
        if key not in self.heard:
            self.heard[key] = self._hear(audio)
            if len(self.heard) > KEPT:
                del self.heard[next(iter(self.heard))]
        return self.heard[key]

    def read(self, texts: Sequence[str]) -> Vectors:
        """The embeddings [N, D] of texts, each of length 1; of a text that is too long for the model, its beginning."""
        config = self.model.config.text_config
        longest = config.max_position_embeddings - config.pad_token_id - 1  # RoBERTa counts positions from there
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        return self._embedded(self.model.get_text_features, input_ids=ids, attention_mask=mask)

    def _hear(self, audio: Audio) -> Vectors:
        rate = int(self.extractor.sampling_rate)
        pieces = fit(decode(audio, rate), rate, self.extractor.max_length_s, "chunk").pieces
        # One by one: the extractor of a fused model marks a clip of each batch at random.
        inputs = [self.extractor(piece, sampling_rate=rate, return_tensors="pt") for piece in pieces]
        each = [self._embedded(self.model.get_audio_features, **one) for one in inputs]
        mean = np.concatenate(each).mean(axis=0)
        return mean / np.linalg.norm(mean)

    def _embedded(self, features: Any, **inputs: Any) -> Vectors:
        import torch

        with torch.inference_mode():
            found = features(**{name: value.to(self.model.device) for name, value in inputs.items()})
        return getattr(found, "pooler_output", found).float().cpu().numpy()  # older ones return the embedding itself


@lru_cache(maxsize=2)
def load(model: str, device: str) -> Clap:
    """The CLAP in a folder or under a hub id, once a process. Raises ConfigError where there is none."""
    import torch
    import transformers

    library: Any = cast(Any, transformers)  # its types are partial
    advice = "name a saved ClapModel with its processor, for example laion/clap-htsat-unfused"
    try:
        kind = library.ClapConfig.get_config_dict(model)[0].get("model_type")
        if kind != "clap":
            raise ConfigError(f"{model} is a model of the type {kind}, no CLAP; {advice}")
        weights, report = library.ClapModel.from_pretrained(model, output_loading_info=True)
        extractor = library.ClapFeatureExtractor.from_pretrained(model)
        tokenizer = library.AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{model}: no CLAP can be loaded from there ({problem}); {advice}") from problem
    if report["missing_keys"]:
        raise ConfigError(f"{model} lacks the weights {sorted(report['missing_keys'])[:3]}; {advice}")
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return Clap(model, weights.to(where), extractor, tokenizer)


def _changed(audio: Audio) -> int:
    """When the file was last changed; 0 where there is none, which decoding says."""
    try:
        return os.stat(audio.path).st_mtime_ns if audio.path is not None else 0
    except OSError:
        return 0
