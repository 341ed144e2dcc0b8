"""A listener: a model with its tokenizer, seen as the three things that rollouts and training ask of it.

    prompt(sample)            -> Prompt       the rendered text, its ids, the features its placeholders stand for
    prefill(prompts)          -> Prefix       every prompt but its last token, once, into a key/value cache
    reply(prefix, rows, ids)  -> hidden       replies against (a repetition of) that cache

Rollouts, old and reference log-probs, the loss and the evaluation all enter through `prefill`, and `prefill` refuses
to go on unless placeholders in the ids = media tokens promised by the features = rows the encoders computed, kind by
kind and in order. So media cannot be heard in one phase and missing from another. A family (one file in `families/`)
says how its own network does these things.

Letters: P prompts, L prompt tokens, R replies, T reply tokens, W width.
"""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from auscult.core.errors import ConfigError, LostMediaError, MediaError, RenderError
from auscult.core.forms import Form
from auscult.core.types import Audio, Image, Media, Sample, Wave
from auscult.media.audio import decode, fit, silent
from auscult.media.cache import Pictures
from auscult.models.arithmetic import arithmetic
from auscult.models.encoded import EncoderCache
from auscult.models.fingerprint import fingerprint
from auscult.models.linear import quicken
from auscult.models.wording import Wording, messages

RENDERED = ("trimmed_clips", "chunked_clips", "silent_clips")
"""What is counted while prompts are rendered; all other counts are of passes."""
PROBE = "qzv"
"""Stands for a reply where a chat template is asked how it ends one."""


Step = Callable[[Sequence["Features"], "list[Tensor] | None"], list[Tensor]]
"""A step of an encoder: the features and what the step before made of them (None at first) become a tensor each."""


@dataclass(frozen=True, slots=True)
class Features:
    """What one run of placeholders stands for: a clip, a piece of a long clip, or an image."""

    key: str
    """Hash of the content as the encoder gets it: equal keys are encoded once."""
    kind: str
    """`audio` or `image`: which encoder takes it."""
    inputs: Mapping[str, Tensor] = field(repr=False, compare=False)
    """What the encoder takes, by the name that the family gave it; no batch dimension."""
    tokens: int
    """Media tokens that it becomes: so many placeholders stand in the prompt."""
    text: str
    """What stands for it in the text before tokenizing: its placeholders, and what its family writes around them."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered sample, ready for the network."""

    sample: Sample
    """What was rendered."""
    text: str
    """The rendered text; each clip or image is one mark here."""
    ids: tuple[int, ...]
    """Token ids, placeholders expanded."""
    features: tuple[Features, ...]
    """Features of all media, in the order of their placeholders."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features with what their encoder made of them."""

    features: Features
    """What was encoded."""
    rows: Tensor
    """[tokens, W], or wider where a family's encoder feeds several layers."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """P prompts without their last token, computed: what every reply to them shares."""

    cache: DynamicCache
    """Keys and values of L positions, left-padded; gradients attached unless computed without."""
    mask: Tensor
    """[P, L], 1 where a position belongs to its prompt and 0 where it is padding."""
    last: Tensor
    """[P], each prompt's last token, with which its replies begin."""
    start: Tensor
    """[P], the position of that token, as rotary embeddings count (an image may take fewer positions than tokens)."""
    out: Tensor
    """[P, L, W] hidden states of the pass, which carry its graph too; replies never read them."""

    def rows(self, index: Tensor) -> Prefix:
        """The prefixes number `index` [R], repeated as asked; gradients flow back into this one."""
        return Prefix(select(self.cache, index), self.mask[index], self.last[index], self.start[index], self.out)


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
    if not isinstance(found, int) or (found == tokenizer.unk_token_id and token != tokenizer.unk_token):
        raise ConfigError(f"the tokenizer has no token {token!r}; choose a tokenizer that has it")
    return found


class Adapted(Protocol):
    """What is laid over a model's weights."""

    @property
    def alone(self) -> bool:
        """Whether nothing of the model learns but the adapters."""
        ...

    def save(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Writes what may differ from the base; `weights` as for `Listener.save`."""
        ...


class Listener(ABC):
    """A model with its tokenizer. Subclasses live beside `families/`, which names them."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, form: Form, wording: Wording
    ) -> None:
        self.model = quicken(model)
        self.tokenizer = tokenizer
        self.form = form
        self.wording = wording
        self.encoded = EncoderCache()
        """What frozen encoders said of media heard before."""
        self.pictures = Pictures(wording.display)
        """Images in files that were decoded before, as they are displayed."""
        self._encoders: dict[tuple[str, int], str] = {}
        self.adapter: Adapted | None = None
        """What is laid over the model's weights, when parts of it are adapted (`adapters.py`)."""
        self.counts: Counter[str] = Counter()
        """What happened to media: `clips`, `placeholders`, `encoder_rows`, `encoder_clips`, `encoder_cached`,
        `encoder_torn`, and those of `RENDERED`."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    # -- what a family says of its own network --------------------------------------------------------------------

    @property
    @abstractmethod
    def marks(self) -> Mapping[str, str]:
        """By kind of media: the token that stands for one clip or image in the rendered text."""

    @property
    @abstractmethod
    def slots(self) -> Mapping[str, int]:
        """By kind of media: the id that stands in the prompt once for each media token."""

    @abstractmethod
    def render(self, messages: list[dict[str, Any]]) -> str:
        """Messages whose contents are lists of texts and media -> the text up to where the reply begins."""

    @abstractmethod
    def features(self, media: Media) -> tuple[Features, ...]:
        """What stands for a clip or image: one entry, or several when the wording says that long clips are heard in
        pieces."""

    @abstractmethod
    def stages(self, kind: str) -> Sequence[tuple[nn.Module, Step]]:
        """The steps from features to rows, each with its module. Frozen ones at the beginning are computed once for
        each distinct clip or image, however often it is met."""

    @abstractmethod
    def run_prompts(self, ids: Tensor, mask: Tensor, media: Sequence[Encoded]) -> tuple[DynamicCache, Tensor, Tensor]:
        """Left-padded ids [P, L], mask [P, L] and all media in the order of their placeholders -> the cache of L
        positions, the position [P] that follows them, hidden states [P, L, W]."""

    @abstractmethod
    def run_replies(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Ids [R, T], mask [R, L + T], positions [R, T] against a cache of L positions -> hidden states [R, T, W]."""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """The output head: hidden states [..., W] -> float32 logits [..., V]."""

    @abstractmethod
    def part(self, name: str) -> Sequence[nn.Module]:
        """The modules of a part (`language`, `audio`, `image`, `projector`); none when the model lacks it."""

    @abstractmethod
    def save_processor(self, folder: Path) -> None:
        """Writes tokenizer and processor."""

    def arithmetic(self, precision: str) -> AbstractContextManager[object]:
        """The arithmetic that `precision` asks for, for whatever runs the network."""
        return arithmetic(precision, self.device.type)

    def save(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Writes an ordinary checkpoint (weights, config, tokenizer, processor), or the adapter's when there is one.
        `weights` is the model's state by name where the model itself holds only a share of it."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.adapter is None:
            self.model.save_pretrained(folder, state_dict=None if weights is None else dict(weights))
        else:
            self.adapter.save(folder, weights)
        self.save_processor(folder)

    # -- rendering -------------------------------------------------------------------------------------------------

    def prompt(self, sample: Sample) -> Prompt:
        """The sample as the model reads it. Raises MediaError, which names the sample, for a recording or picture that
        cannot be used, RenderError where text and media would not match."""
        messages = self.messages(sample)
        text = self.render(messages)
        self._check_verbatim(sample, messages, text)
        try:
            features = [self.features(media) for media in sample.media]
        except MediaError as error:
            more = "; `auscult data check FILE --decode` lists all that are" if error.reason == "torn" else ""
            raise MediaError(f"sample {sample.id}: {error}{more}", reason=error.reason) from error
        kinds = [kind_of(media) for media in sample.media]
        found = self._kinds(text)
        if found != kinds:
            raise RenderError(
                f"sample {sample.id}: the rendered prompt has marks for {found or 'no media'}, the sample has "
                f"{kinds or 'none'}; the chat template drops, doubles or moves them, choose another template"
            )
        short = next((number for number, parts in enumerate(features) if not all(p.tokens for p in parts)), None)
        if short is not None:
            raise MediaError(
                f"sample {sample.id}: media {short + 1} is too short to become a single token; leave it out",
                reason="too_short",
            )
        pieces = self._mark.split(text)
        expanded = ["".join(part.text for part in parts) for parts in features]
        whole = "".join(chain.from_iterable(zip(pieces, [*expanded, ""], strict=True)))
        return Prompt(sample, text, tuple(self._ids(whole)), tuple(part for parts in features for part in parts))

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        """The samples as the model reads them; images are decoded ahead, while others are made ready."""
        self.pictures.prefetch(part for sample in samples for part in sample.media if isinstance(part, Image))
        return [self.prompt(sample) for sample in samples]

    def messages(self, sample: Sample) -> list[dict[str, Any]]:
        """The sample as chat messages: `role`, and `content` as a list of texts and media. Raises RenderError for media
        that the model does not take, and for text that it would obey."""
        said = messages(sample, self.wording)
        for part in (part for message in said for part in message["content"]):
            self._check(sample, part)
        return said

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

    @cached_property
    def end_id(self) -> int:
        """The token that ends a reply: what the chat template writes after one, or else the tokenizer's own."""
        turns = [{"role": "user", "content": [PROBE.upper()]}, {"role": "assistant", "content": [PROBE]}]
        after = self._ids(self.render(turns).partition(PROBE)[2].lstrip())
        if after and after[0] in self._special_ids:
            return after[0]
        return token_id(self.tokenizer, self.tokenizer.eos_token)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens at which a reply stops: its end, and whatever else the checkpoint says."""
        config: Any = self.model.generation_config
        listed: list[Any] = [self.end_id, self.tokenizer.eos_token_id]
        more = getattr(config, "eos_token_id", None)
        listed += more if isinstance(more, list) else [more]
        return frozenset(stop for stop in listed if isinstance(stop, int))

    def text(self, reply_ids: Sequence[int]) -> str:
        """A reply as text, special tokens left out."""
        return str(self.tokenizer.decode(list(reply_ids), skip_special_tokens=True))

    def pieces(self, audio: Audio, rate: int, limit: float) -> tuple[Wave, ...]:
        """A recording at `rate` Hz in pieces of at most `limit` seconds, as the wording says of long clips; counted."""
        fitted = fit(decode(audio, rate), rate, limit, self.wording.too_long)
        self.counts["trimmed_clips"] += fitted.cut_seconds > 0
        self.counts["chunked_clips"] += len(fitted.pieces) > 1
        self.counts["silent_clips"] += all(map(silent, fitted.pieces))
        return fitted.pieces

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @cached_property
    def _special(self) -> frozenset[str]:
        """Texts that the model would obey."""
        added = self.tokenizer.added_tokens_decoder.values()
        named = [*self.tokenizer.all_special_tokens, *(token.content for token in added if token.special)]
        return frozenset([*named, *self.marks.values()])

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(token_id(self.tokenizer, token) for token in self._special)

    @cached_property
    def _mark(self) -> re.Pattern[str]:
        return re.compile("|".join(re.escape(mark) for mark in self.marks.values()))

    def _kinds(self, text: str) -> list[str]:
        by_mark = {mark: kind for kind, mark in self.marks.items()}
        return [by_mark[mark] for mark in self._mark.findall(text)]

    def _check(self, sample: Sample, part: str | Media) -> None:
        if not isinstance(part, str):
            if kind_of(part) not in self.marks:
                raise RenderError(
                    f"sample {sample.id} has {kind_of(part)}, this model takes {' and '.join(self.marks)}; choose "
                    "another model or leave the sample out"
                )
            return
        found = next((token for token in self._special if token in part), None)
        if found is not None:
            raise RenderError(
                f"sample {sample.id}: its text holds the special token {found}, which the model would obey; "
                "take it out of the data"
            )

    def _check_verbatim(self, sample: Sample, messages: list[dict[str, Any]], text: str) -> None:
        """Templates are programs: some drop a thought, some a system turn. All that was said must stand in the text."""
        at = 0
        for part in (part for message in messages for part in message["content"] if isinstance(part, str)):
            found = text.find(part.strip(), at)
            if found < 0:
                raise RenderError(
                    f"sample {sample.id}: the chat template leaves out {part.strip()[:60]!r}; choose another template, "
                    "or take that text out of the sample"
                )
            at = found + len(part.strip())

    # -- the shared prefix -----------------------------------------------------------------------------------------

    def prefill(self, prompts: Sequence[Prompt], phase: str) -> Prefix:
        """Every prompt but its last token through the network, once; each distinct clip or image through its encoder,
        once.

        Raises LostMediaError, naming sample and `phase`, when placeholders, features and encoder rows differ.
        """
        width = max(len(prompt.ids) for prompt in prompts) - 1
        pad = token_id(self.tokenizer, self.tokenizer.pad_token)
        ids = torch.tensor([[pad] * (width + 1 - len(p.ids)) + list(p.ids[:-1]) for p in prompts], device=self.device)
        mask = torch.tensor(
            [[0] * (width + 1 - len(p.ids)) + [1] * (len(p.ids) - 1) for p in prompts], device=self.device
        )
        last = torch.tensor([p.ids[-1] for p in prompts], device=self.device)
        cache, start, out = self.run_prompts(ids, mask, self._hear(prompts, phase))
        return Prefix(cache, mask, last, start, out)

    def _hear(self, prompts: Sequence[Prompt], phase: str) -> list[Encoded]:
        """All media of the prompts in order; the one gate where lost media are noticed."""
        slots = set(self.slots.values())
        for prompt in prompts:
            placeholders = [token for token in prompt.ids[:-1] if token in slots]
            promised = [token for part in prompt.features for token in [self.slots[part.kind]] * part.tokens]
            clips = len(prompt.sample.media)
            if placeholders != promised or bool(prompt.features) != bool(clips):
                raise LostMediaError(
                    f"{phase}: sample {prompt.sample.id} has {clips} clips or images, {len(placeholders)} placeholders "
                    f"and features for {len(promised)}, or not in this order; the prompt was changed after it was "
                    "rendered, render it again"
                )
            self.counts["clips"] += clips
            self.counts["placeholders"] += len(placeholders)
        distinct = {part.key: part for prompt in prompts for part in prompt.features}
        rows: dict[str, Tensor] = {}
        for kind in self.slots:
            items = [part for part in distinct.values() if part.kind == kind]
            rows |= zip([part.key for part in items], self._encode(kind, items), strict=True)
        for prompt in prompts:
            for part in prompt.features:
                if (made := len(rows[part.key])) != part.tokens:
                    raise LostMediaError(
                        f"{phase}: the encoder gave {made} rows for {part.tokens} placeholders of sample "
                        f"{prompt.sample.id}; report this as a defect of the family"
                    )
        return [Encoded(part, rows[part.key]) for prompt in prompts for part in prompt.features]

    def _encode(self, kind: str, items: Sequence[Features]) -> list[Tensor]:
        """Rows of each item. The frozen steps at the beginning are taken from memory where it has them."""
        if not items:
            return []
        stages = self.stages(kind)
        trained = [any(p.requires_grad for p in module.parameters()) for module, _ in stages]
        frozen = trained.index(True) if True in trained else len(stages)
        rows = self._remembered(kind, items, frozen) if frozen else None
        for _, step in stages[frozen:]:
            rows = step(items, rows)
        if not frozen:
            self._count(items, rows or [])
        return rows or []

    def _remembered(self, kind: str, items: Sequence[Features], frozen: int) -> list[Tensor]:
        """What the first `frozen` steps make of each item; computed only for what was not heard before."""
        stages = self.stages(kind)[:frozen]
        torn = self.encoded.torn
        encoder = self._encoder(kind, [module for module, _ in stages])
        names = [f"{encoder}/{item.key}" for item in items]
        rows = [self.encoded.get(name, item.inputs, self.device) for name, item in zip(names, items, strict=True)]
        missing = [number for number, known in enumerate(rows) if known is None]
        for number in missing:
            # Each alone: what is remembered must not depend, in its last bits, on the batch in which it was first met.
            made: list[Tensor] | None = None
            with torch.no_grad():
                for module, step in stages:
                    module.eval()  # no dropout in what is kept
                    made = step([items[number]], made)
            rows[number] = (made or [])[0]
            self.encoded.put(names[number], items[number].inputs, (made or [])[0])
            self._count([items[number]], made or [])
        self.counts["encoder_cached"] += len(items) - len(missing)
        self.counts["encoder_torn"] += self.encoded.torn - torn
        return [tensor for tensor in rows if tensor is not None]

    def _encoder(self, kind: str, modules: Sequence[nn.Module]) -> str:
        """The name of frozen modules, by all that their results depend on: weights, settings, arithmetic."""
        if (kind, len(modules)) not in self._encoders:  # hashed once: they are frozen
            weights = [fingerprint(module, whole=True) for module in modules]
            settings = [getattr(module, "config", self.model.config).to_json_string() for module in modules]
            self._encoders[kind, len(modules)] = sha256("/".join([kind, *weights, *settings]).encode()).hexdigest()
        where = self.device.type
        held = torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else "as held"
        return f"{self._encoders[kind, len(modules)]}/{where}/{held}"

    def _count(self, items: Sequence[Features], rows: Sequence[Tensor]) -> None:
        self.counts["encoder_clips"] += len(items)
        self.counts["encoder_rows"] += sum(len(tensor) for tensor in rows)

    def reply(self, prefix: Prefix, index: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Hidden states [R, T, W] that predict the reply tokens `ids` [R, T] (right-padded, `mask` [R, T]).

        Reply r continues prompt `index[r]`: the network reads that prompt's last token, then the reply but its last.
        """
        prefix = prefix.rows(index)
        inputs = torch.cat([prefix.last[:, None], ids[:, :-1]], dim=1)
        positions = prefix.start[:, None] + torch.arange(ids.shape[1], device=ids.device)
        return self.run_replies(inputs, torch.cat([prefix.mask, mask], dim=1), positions, prefix.cache)


def kind_of(media: Media) -> str:
    """Which encoder takes it: `audio` (recordings and their feature frames) or `image`."""
    return "image" if isinstance(media, Image) else "audio"
