"""How near a caption comes to its references in meaning: the cosine of sentence embeddings (SBERT, arXiv 1908.10084).

    sbert: {weight: 1.0, kwargs: {model: sentence-transformers/paraphrase-TinyBERT-L6-v2}}

As FENSE (arXiv 2110.04684) has it without its error detector: the mean over the tokens of the last layer, [CLS] and
[SEP] among them, brought to length 1; the cosine with each reference; the mean of these. `model` is a folder or a hub
id, as sentence-transformers writes one or as transformers does, with its weights as safetensors; results name it, for
cosines of two models have nothing to do with each other. Departures: an empty caption is worth 0 here, and has an
embedding there; the reward is at least 0, for no caption should be worse than none.

Agrees with the sentence-transformers library to 1e-6 on models of random weights. The published weights have not been
run here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample

Vectors = NDArray[np.float32]
BATCH = 32
"""Texts at once, as in FENSE."""
KEPT = 1 << 12
"""Samples whose references are kept: 12 MB for embeddings of 768 dimensions."""
ADVICE = "give a folder or a hub id with config.json, model.safetensors and its tokenizer"


def sbert(sample: Sample, rollouts: Sequence[Rollout], *, model: str, device: str = "auto") -> list[float | None]:
    """The similarity of each answer and the sample's answers, 0.0 to 1.0; 0.0 for a reply without a readable answer,
    None for a sample without one.

    `device` is auto (a GPU where there is one), cpu or cuda. Raises ConfigError for a model that cannot be loaded.
    """
    return rewarded(sample, rollouts, load(model, device).similarity)


def rewarded(
    sample: Sample, rollouts: Sequence[Rollout], similarity: Callable[[Sequence[str], Sequence[str]], list[float]]
) -> list[float | None]:
    """A similarity of references and texts as a reward."""
    if not sample.answers:
        return [None] * len(rollouts)
    found = similarity(sample.answers, [rollout.parsed.answer or "" for rollout in rollouts])
    return [max(0.0, value) for value in found]


@dataclass(frozen=True, slots=True, eq=False)
class Sentences:
    """A model that embeds sentences."""

    name: str
    """Its folder or hub id."""
    model: Any
    """A transformers model with a last hidden state."""
    tokenizer: Any
    """Its tokenizer."""
    longest: int
    """Tokens of a text; what is behind them does not count."""
    lower: bool = False
    """Whether texts are put in lower case first."""
    kept: dict[tuple[str, ...], Vectors] = field(default_factory=dict[tuple[str, ...], Vectors])
    """The mean embedding [D] of references."""

    @property
    def variant(self) -> str:
        """The metric in words."""
        return f"SBERT similarity ({self.name}), cosine of mean-pooled embeddings, mean over references and captions"

    def similarity(self, references: Sequence[str], texts: Sequence[str]) -> list[float]:
        """Of each text: the mean of its cosines with the references (at least one), 0.0 for a blank text."""
        said = [place for place, text in enumerate(texts) if text.strip()]
        found = [0.0] * len(texts)
        if said:
            cosines = self.embed([texts[place] for place in said]) @ self._mean(tuple(references))
            for place, cosine in zip(said, cosines, strict=True):
                found[place] = float(cosine)
        return found

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The embeddings [N, D] of texts, each of length 1."""
        return np.concatenate([self._embedded(batch) for batch in batches(texts)])

    def _mean(self, references: tuple[str, ...]) -> Vectors:
        if references not in self.kept:
            self.kept[references] = self.embed(references).mean(axis=0)
            if len(self.kept) > KEPT:
                del self.kept[next(iter(self.kept))]
        return self.kept[references]

    def _embedded(self, texts: Sequence[str]) -> Vectors:
        import torch

        tokens, hidden = read(self, [text.lower() if self.lower else text for text in texts])
        mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(mean.float(), dim=1).cpu().numpy()


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts, `BATCH` at once."""
    return (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))


def read(reader: Any, texts: Sequence[str]) -> tuple[Any, Any]:
    """The tokens of texts, and the last hidden state [N, T, D] of the reader's model; what is too long is cut off."""
    import torch

    tokens = reader.tokenizer(
        list(texts), padding=True, truncation=True, max_length=reader.longest, return_tensors="pt"
    ).to(reader.model.device)
    with torch.inference_mode():
        return tokens, reader.model(**tokens).last_hidden_state


@lru_cache(maxsize=2)
def load(model: str, device: str) -> Sentences:
    """The model in a folder or under a hub id, once a process. Raises ConfigError where there is none."""
    import transformers

    library: Any = cast(Any, transformers)  # its types are partial
    with loading(model, "model of sentences"):
        where = _parts(model)
        weights, report = library.AutoModel.from_pretrained(
            model, subfolder=where, use_safetensors=True, output_loading_info=True
        )
        tokenizer = library.AutoTokenizer.from_pretrained(model, subfolder=where)
        options: dict[str, Any] = file_of(model, f"{where}/sentence_bert_config.json".lstrip("/")) or {}
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
        raise ConfigError(f"{model} lacks the weights {missing[:3]}; {ADVICE}")
    positions = int(weights.config.max_position_embeddings)
    said = int(options.get("max_seq_length") or tokenizer.model_max_length), int(tokenizer.model_max_length)
    longest = min(said) if min(said) <= positions else positions - 2  # RoBERTa begins to count them at 2
    return Sentences(
        model, weights.eval().to(device_of(device)), tokenizer, longest, lower=bool(options.get("do_lower_case"))
    )


@contextmanager
def loading(model: str, what: str) -> Generator[None]:
    """Raises ConfigError for what libraries raise where a checkpoint is missing or torn; the generator that they draw
    from, as for weights that are then loaded, is as it was."""
    import torch
    from safetensors import SafetensorError

    drawing: Any = torch.random  # its types are partial
    try:
        with drawing.fork_rng(devices=[]):
            yield
    except (OSError, ValueError, SafetensorError) as problem:
        raise ConfigError(f"{model}: no {what} can be loaded from there ({problem}); {ADVICE}") from problem


def file_of(model: str, name: str) -> Any:
    """The JSON file `name` of a folder or hub id; None where it has none."""
    import transformers

    library: Any = cast(Any, transformers)  # its types are partial
    found = library.utils.cached_file(model, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else json.loads(Path(found).read_text(encoding="utf-8"))


def device_of(name: str) -> str:
    """The device `name`; auto is a GPU where there is one."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _parts(model: str) -> str:
    """The subfolder of the encoder. Raises ConfigError where sentence-transformers does more with it than a mean."""
    encoder, modules = "", cast("list[dict[str, str]]", file_of(model, "modules.json") or [])
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        if kind == "Transformer":
            encoder = module["path"]
        elif kind == "Pooling":
            config: dict[str, Any] = file_of(model, f"{module['path']}/config.json") or {}
            modes = {key for key, value in config.items() if key.startswith("pooling_mode_") and value is True}
            if config.get("pooling_mode", "mean") != "mean" or modes - {"pooling_mode_mean_tokens"}:
                raise ConfigError(f"{model} does not take the mean over tokens; name a model that does")
        elif kind != "Normalize":
            raise ConfigError(f"{model} has a {kind} behind its encoder; name a model with mean pooling alone")
    return encoder
