"""A listener: a model with its tokenizer, seen as the three things that rollouts and training ask of it.

    prompt(sample)            -> Prompt       the rendered text, its ids, the features its placeholders stand for
    prefill(prompts)          -> Prefix       every prompt but its last token, once, into a key/value cache
    reply(prefix, rows, ids)  -> hidden       replies against (a repetition of) that cache

Rollouts, old and reference log-probs, the loss and the evaluation all enter through `prefill`, and `prefill` refuses
to go on unless placeholders in the ids = audio tokens promised by the features = rows the encoder computed. So media
cannot be heard in one phase and missing from another. A family (one file in `families/`) says how its own network
does these things.

Letters: P prompts, L prompt tokens, R replies, T reply tokens, F features, W width.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from auscult.core.errors import ConfigError, LostMediaError, RenderError
from auscult.core.forms import Form
from auscult.core.types import Media, Sample
from auscult.models.wording import Wording


@dataclass(frozen=True, slots=True)
class Features:
    """What one placeholder run of a prompt stands for."""

    key: str
    """Hash of the media content: equal keys are encoded once per batch."""
    rows: Tensor = field(repr=False, compare=False)
    """Feature rows [T, F]."""
    tokens: int
    """Audio tokens that they become: so many placeholders stand in the prompt."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered sample, ready for the network."""

    sample: Sample
    """What was rendered."""
    text: str
    """The rendered text; each clip is one placeholder here."""
    ids: tuple[int, ...]
    """Token ids, placeholders expanded."""
    features: tuple[Features, ...]
    """Features of all clips, in the order of their placeholders."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """P prompts without their last token, computed: what every reply to them shares."""

    cache: DynamicCache
    """Keys and values of L positions, left-padded; gradients attached unless computed without."""
    mask: Tensor
    """[P, L], 1 where a position belongs to its prompt and 0 where it is padding."""
    last: Tensor
    """[P], each prompt's last token, with which its replies begin."""

    def rows(self, index: Tensor) -> Prefix:
        """The prefixes number `index` [R], repeated as asked; gradients flow back into this one."""
        return Prefix(select(self.cache, index), self.mask[index], self.last[index])


def select(cache: DynamicCache, index: Tensor) -> DynamicCache:
    """A new cache of the rows `index`; the old one stays as it is, and gradients flow back into it."""
    return map_cache(cache, lambda tensor: tensor.index_select(0, index))


def map_cache(cache: DynamicCache, change: Callable[[Tensor], Tensor]) -> DynamicCache:
    """A new cache whose keys and values are `change` of the old ones (transformers' own methods work in place)."""
    new = copy.copy(cache)
    new.layers = []
    for layer in attention_layers(cache):
        twin = copy.copy(layer)
        twin.keys, twin.values = change(layer.keys), change(layer.values)
        new.layers.append(twin)
    return new


def attention_layers(cache: DynamicCache) -> list[Any]:
    """The layers of a cache that hold keys and values; refuses others, which could not be repeated or cut exactly."""
    for layer in cache.layers:
        if not isinstance(layer, DynamicLayer):
            raise ConfigError(
                f"a cache layer of type {type(layer).__name__} cannot be shared; choose an attention-only model"
            )
    return list(cache.layers)


def token_id(tokenizer: PreTrainedTokenizerBase, token: object) -> int:
    """The id of one token, for example the end token. Raises ConfigError when the tokenizer lacks it."""
    found = tokenizer.convert_tokens_to_ids(str(token)) if token is not None else None
    if not isinstance(found, int):
        raise ConfigError(f"the tokenizer has no token {token!r}; choose a tokenizer that has it")
    return found


class Listener(ABC):
    """A model with its tokenizer. Subclasses live in `families/`, one file each."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, form: Form, wording: Wording
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.form = form
        self.wording = wording
        self.counts: Counter[str] = Counter()
        """What happened to media: `clips`, `placeholders`, `encoder_rows`, `encoder_clips`, `trimmed_clips`,
        `chunked_clips` …"""

    @property
    def device(self) -> torch.device:
        return self.model.device

    # -- what a family says of its own network --------------------------------------------------------------------

    @property
    @abstractmethod
    def placeholder(self) -> str:
        """The token that stands in the rendered text for one clip, and in the ids once per audio token."""

    @abstractmethod
    def features(self, media: Media) -> tuple[Features, ...]:
        """Feature rows of a clip: one entry, or several when the wording says that long clips are heard in pieces."""

    @abstractmethod
    def hear(self, features: Sequence[Features]) -> Tensor:
        """Audio tokens of distinct clips, one after another [sum of tokens, W]."""

    @abstractmethod
    def run_prompts(self, ids: Tensor, mask: Tensor, heard: Tensor | None) -> DynamicCache:
        """Left-padded ids [P, L], mask [P, L] and the audio tokens of all their placeholders -> the cache of L
        positions."""

    @abstractmethod
    def run_replies(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Ids [R, T], mask [R, L + T], positions [R, T] against a cache of L positions -> hidden states [R, T, W]."""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """The output head: hidden states [..., W] -> float32 logits [..., V]."""

    @abstractmethod
    def generator(self) -> PreTrainedModel:
        """The module whose `generate` continues a cache that `run_prompts` made."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes an ordinary checkpoint: weights, config, tokenizer."""

    # -- rendering -------------------------------------------------------------------------------------------------

    def prompt(self, sample: Sample) -> Prompt:
        """The sample as the model reads it. Raises RenderError where text and media would not match."""
        messages = [
            {"role": turn.role, "content": "".join(self._part(sample, part) for part in turn.content)}
            for turn in sample.turns
        ]
        messages[-1]["content"] += self._ask(sample)
        text = str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        features = [self.features(media) for media in sample.media]
        pieces = text.split(self.placeholder)
        if len(pieces) != len(features) + 1:
            raise RenderError(
                f"sample {sample.id}: the rendered prompt has {len(pieces) - 1} {self.placeholder} placeholders for "
                f"{len(features)} clips; the chat template drops or doubles them, choose another template"
            )
        ids = self._ids(pieces[0])
        mark = token_id(self.tokenizer, self.placeholder)
        for clip, piece in zip(features, pieces[1:], strict=True):
            ids += [mark] * sum(part.tokens for part in clip) + self._ids(piece)
        return Prompt(sample, text, tuple(ids), tuple(part for clip in features for part in clip))

    def target(self, sample: Sample, text: str) -> tuple[int, ...]:
        """Reply ids of the demonstration `text`, the end token included; exactly these are trained on."""
        ids = self._ids(text)
        back = self.tokenizer.decode(ids, skip_special_tokens=True)
        if back != text:
            raise RenderError(
                f"sample {sample.id}: the target {text!r} reads {back!r} after tokenizing; "
                "take the special tokens out of its answer or thought"
            )
        return (*ids, self.end_id)

    @property
    def end_id(self) -> int:
        """The token that ends a reply."""
        return token_id(self.tokenizer, self.tokenizer.eos_token)

    def text(self, reply_ids: Sequence[int]) -> str:
        """A reply as text, special tokens left out."""
        return str(self.tokenizer.decode(list(reply_ids), skip_special_tokens=True))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _part(self, sample: Sample, part: str | Media) -> str:
        if not isinstance(part, str):
            return self.placeholder
        found = next((token for token in self.tokenizer.all_special_tokens if token in part), None)
        if found is not None:
            raise RenderError(
                f"sample {sample.id}: its text holds the special token {found}, which the model would obey; "
                "take it out of the data"
            )
        return part

    def _ask(self, sample: Sample) -> str:
        lines: list[str] = []
        if self.wording.choices and sample.choices:
            lines += [f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(sample.choices)]
        if self.wording.instruction:
            lines.append(self.form.instruction)
        return "".join(f"\n{self._part(sample, line)}" for line in lines)

    # -- the shared prefix -----------------------------------------------------------------------------------------

    def prefill(self, prompts: Sequence[Prompt], phase: str) -> Prefix:
        """Every prompt but its last token through the network, once; each distinct clip through the encoder, once.

        Raises LostMediaError, naming sample and `phase`, when placeholders, features and encoder rows differ.
        """
        width = max(len(prompt.ids) for prompt in prompts) - 1
        pad = token_id(self.tokenizer, self.tokenizer.pad_token)
        ids = torch.tensor([[pad] * (width + 1 - len(p.ids)) + list(p.ids[:-1]) for p in prompts], device=self.device)
        mask = torch.tensor(
            [[0] * (width + 1 - len(p.ids)) + [1] * (len(p.ids) - 1) for p in prompts], device=self.device
        )
        last = torch.tensor([p.ids[-1] for p in prompts], device=self.device)
        heard = self._hear(prompts, phase)
        return Prefix(self.run_prompts(ids, mask, heard), mask, last)

    def _hear(self, prompts: Sequence[Prompt], phase: str) -> Tensor | None:
        """Audio tokens of all placeholders in order; the one gate where lost media are noticed."""
        mark = token_id(self.tokenizer, self.placeholder)
        for prompt in prompts:
            clips, placeholders = len(prompt.sample.media), prompt.ids[:-1].count(mark)
            promised = sum(part.tokens for part in prompt.features)
            if placeholders != promised or bool(prompt.features) != bool(clips):
                raise LostMediaError(
                    f"{phase}: sample {prompt.sample.id} has {clips} clips, {placeholders} placeholders and features "
                    f"for {promised}; the prompt was changed after it was rendered, render it again"
                )
            self.counts["clips"] += clips
            self.counts["placeholders"] += placeholders
        distinct = {part.key: part for prompt in prompts for part in prompt.features}
        if not distinct:
            return None
        rows = self.hear(list(distinct.values()))
        sizes = [part.tokens for part in distinct.values()]
        if len(rows) != sum(sizes):
            raise LostMediaError(
                f"{phase}: the encoder gave {len(rows)} rows for {len(distinct)} clips that need {sum(sizes)} (samples "
                f"{', '.join(prompt.sample.id for prompt in prompts[:3])} …); report this as a defect of the family"
            )
        self.counts["encoder_clips"] += len(distinct)
        self.counts["encoder_rows"] += len(rows)
        pieces = dict(zip(distinct, rows.split(sizes), strict=True))
        return torch.cat([pieces[part.key] for prompt in prompts for part in prompt.features])

    def reply(self, prefix: Prefix, index: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Hidden states [R, T, W] that predict the reply tokens `ids` [R, T] (right-padded, `mask` [R, T]).

        Reply r continues prompt `index[r]`: the network reads that prompt's last token, then the reply but its last.
        """
        prefix = prefix.rows(index)
        inputs = torch.cat([prefix.last[:, None], ids[:, :-1]], dim=1)
        positions = prefix.mask.sum(1, keepdim=True) + torch.arange(ids.shape[1], device=ids.device)
        return self.run_replies(inputs, torch.cat([prefix.mask, mask], dim=1), positions, prefix.cache)
