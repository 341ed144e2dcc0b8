"""What the families of transformers have in common: a processor that renders, towers that encode, a language model.

The network is run in parts: towers on each distinct clip or image, their rows laid into the embeddings where the
placeholders stand, then the language model with a cache. A family's own file says what its processor writes for a clip,
what its towers take, and how its positions and masks differ. The tests hold ids, features, logits and gradients equal
to transformers' own processor and forward pass.

Letters: P prompts, L prompt tokens, R replies, T reply tokens, W width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, ProcessorMixin

from auscult.core.errors import MediaError
from auscult.core.forms import form
from auscult.core.types import Audio, Frames, Image, Media, Wave
from auscult.models.hub.parts import Parts
from auscult.models.listener import Encoded, Features, Listener, kind_of
from auscult.models.wording import Wording

PROJECTORS = ("multi_modal_projector", "embed_audio", "embed_vision")


class HubListener(Listener):
    """A model of transformers' with its processor. `model.model` holds the towers and `language_model`, `model.lm_head`
    the output head."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin | Parts, wording: Wording) -> None:
        super().__init__(model, cast(Any, processor).tokenizer, form(wording.form), wording)
        self.processor = cast(Any, processor)

    @property
    @abstractmethod
    def max_seconds(self) -> float:
        """Longest clip that is heard whole, seconds."""

    @abstractmethod
    def audio_features(self, wave: Wave) -> tuple[Mapping[str, Tensor], int, str]:
        """A clip at the extractor's rate -> what its tower takes, media tokens, the text that stands for it."""

    def image_features(self, pixels: np.ndarray) -> tuple[Mapping[str, Tensor], int, str]:
        """RGB pixels [H, W, 3] -> what their tower takes, media tokens, the text that stands for them."""
        raise MediaError("this model does not look at images; choose another family", reason="kind")

    def positions(self, ids: Tensor, mask: Tensor, media: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
        """Position ids of the prompts, and the position [P] after them."""
        return (mask.cumsum(1) - 1).clamp(min=0), mask.sum(1)

    def prompt_arguments(self, ids: Tensor, mask: Tensor, embeds: Tensor, media: Sequence[Encoded]) -> dict[str, Any]:
        """What else the language model wants to know of the prompts; may replace `attention_mask`."""
        return {}

    @property
    def marks(self) -> dict[str, str]:
        tokens = {kind: getattr(self.processor, f"{kind}_token", None) for kind in ("audio", "image")}
        return {kind: token for kind, token in tokens.items() if token is not None}

    # -- what follows is the same for all ------------------------------------------------------------------------------

    @cached_property
    def core(self) -> nn.Module:
        """Towers and language model; the whole model where they stand in it beside the head (the Thinkers of
        transformers 5.17)."""
        inner = cast(nn.Module, self.model.model)
        return inner if hasattr(inner, "language_model") else self.model

    @property
    def language(self) -> PreTrainedModel:
        """The language model without its head."""
        return cast(Any, self.core).language_model if self.core is not self.model else cast(Any, self.model).model

    @property
    def rate(self) -> int:
        """Samples per second that the extractor takes."""
        return self.processor.feature_extractor.sampling_rate

    def render(self, messages: list[dict[str, Any]]) -> str:
        told = [{**turn, "content": [_part(part) for part in turn["content"]]} for turn in messages]
        return str(self.processor.apply_chat_template(told, tokenize=False, add_generation_prompt=True))

    def features(self, media: Media) -> tuple[Features, ...]:
        if isinstance(media, Image):
            pixels = self.pictures.get(media)
            return (Features(Image.of(pixels).sha256 or "", "image", *self.image_features(pixels)),)
        if isinstance(media, Frames):
            raise MediaError("this model hears recordings, not feature frames; graft an encoder", reason="kind")
        pieces = self.pieces(media, self.rate, self.max_seconds)
        return tuple(
            Features(Audio.of(wave, self.rate).sha256 or "", "audio", *self.audio_features(wave)) for wave in pieces
        )

    def embed(self, ids: Tensor, media: Sequence[Encoded]) -> Tensor:
        """Ids [P, L] -> embeddings [P, L, W] with the rows of all media laid in where their placeholders stand."""
        slots = torch.tensor(sorted(self.slots.values()), device=ids.device)
        places = torch.isin(ids, slots)
        # A placeholder's own embedding is never read; id 0 is in every table, the placeholder's may not be.
        embeds = self.language.get_input_embeddings()(ids.masked_fill(places, 0))
        if not media:
            return embeds
        rows = torch.cat([item.rows[:, : embeds.shape[-1]] for item in media])
        return embeds.masked_scatter(places[..., None], rows.to(embeds.dtype))

    def run_prompts(self, ids: Tensor, mask: Tensor, media: Sequence[Encoded]) -> tuple[DynamicCache, Tensor, Tensor]:
        positions, start = self.positions(ids, mask, media)
        embeds = self.embed(ids, media)
        arguments = {"attention_mask": mask, **self.prompt_arguments(ids, mask, embeds, media)}
        out = self.language(
            inputs_embeds=embeds,
            position_ids=positions,
            past_key_values=DynamicCache(config=self.language.config),
            use_cache=True,
            **arguments,
        )
        return out.past_key_values, start, out.last_hidden_state

    def run_replies(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        return self.language(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        logits = cast(nn.Module, self.model.lm_head)(hidden).float()
        cap = getattr(self.language.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def part(self, name: str) -> Sequence[nn.Module]:
        if name == "language":
            return [self.language, cast(nn.Module, self.model.lm_head)]
        names = {"audio": ("audio_tower",), "image": ("vision_tower", "visual"), "projector": PROJECTORS}[name]
        return [module for name in names if (module := getattr(self.core, name, None)) is not None]

    def save_processor(self, folder: Path) -> None:
        self.processor.save_pretrained(folder)


def _part(part: str | Media) -> dict[str, Any]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": kind_of(part)}


def seeded(cls: type[PreTrainedModel], config: Any, seed: int) -> PreTrainedModel:
    """A random model of the class; one seed gives one set of weights. The global generator stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return cls(config)
