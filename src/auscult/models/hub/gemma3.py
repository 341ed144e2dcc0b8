"""Gemma 3 and MedGemma (arXiv 2503.19786): a SigLIP tower, 256 tokens an image, and a Gemma with sliding windows.

The tokens of one image see each other in both directions, in the full layers and, within their window, in the sliding
ones; replies come after all images and see them as any other token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma3.modeling_gemma3 import create_masks_for_vision_model, get_block_sequence_ids_for_mask

from auscult.core.errors import MediaError
from auscult.core.types import Wave
from auscult.models.gemma3_shape import Shape
from auscult.models.hub.listener import HubListener, seeded
from auscult.models.listener import Encoded, Features, Step, token_id
from auscult.models.tokens import EOS, GEMMA_TURNS, TURN, Chat, build_tokenizer, turns
from auscult.models.wording import Wording

NAMED = {"boi_token": "<start_of_image>", "image_token": "<image_soft_token>", "eoi_token": "<end_of_image>"}
CHAT = Chat(template=turns(GEMMA_TURNS, image="<start_of_image>"), others=(EOS, TURN), named=NAMED)


class Gemma3Listener(HubListener):
    """Images; several a prompt."""

    @property
    def marks(self) -> dict[str, str]:
        return {"image": self.processor.boi_token}

    @property
    def slots(self) -> dict[str, int]:
        return {"image": cast(Any, self.model.config).image_token_id}

    @property
    def max_seconds(self) -> float:
        return 0.0

    def audio_features(self, wave: Wave) -> tuple[Mapping[str, Tensor], int, str]:
        raise MediaError("Gemma 3 does not listen; choose gemma3n, or graft an encoder", reason="kind")

    def image_features(self, pixels: np.ndarray) -> tuple[Mapping[str, Tensor], int, str]:
        found = self.processor.image_processor(images=[pixels], return_tensors="pt")
        tokens = self.processor.image_seq_length
        return {"pixel_values": found["pixel_values"][0]}, tokens, self.processor.full_image_sequence

    def stages(self, kind: str) -> Sequence[tuple[nn.Module, Step]]:
        core = cast(Any, self.core)
        return [(core.vision_tower, self._tower), (core.multi_modal_projector, self._project)]

    def _tower(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        tower = cast(Any, self.core).vision_tower
        pixels = torch.stack([item.inputs["pixel_values"] for item in items]).to(self.device, tower.dtype)
        return list(tower(pixel_values=pixels).last_hidden_state)

    def _project(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        return list(cast(Any, self.core).multi_modal_projector(torch.stack(passed or [])))

    def prompt_arguments(self, ids: Tensor, mask: Tensor, embeds: Tensor, media: Sequence[Encoded]) -> dict[str, Any]:
        blocks = get_block_sequence_ids_for_mask((ids == self.slots["image"]).long())
        masks = create_masks_for_vision_model(
            config=self.language.config,
            inputs_embeds=embeds,
            attention_mask=mask,
            past_key_values=None,
            position_ids=self.positions(ids, mask, media)[0],
            block_sequence_ids=blocks,
        )
        return {"attention_mask": masks}


def load(path: str | Path, wording: Wording, **how: Any) -> Gemma3Listener:
    """The checkpoint in the folder, or of the hub id, `path`."""
    model = Gemma3ForConditionalGeneration.from_pretrained(path, **how)
    processor: Any = Gemma3Processor.from_pretrained(path)
    # The same pixels whether torchvision is installed or not.
    processor.image_processor = Gemma3ImageProcessorPil.from_pretrained(path)
    return Gemma3Listener(model, processor, wording)


def tiny(texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int = 0, **shape: int) -> Gemma3Listener:
    """A random one whose `Shape` has the fields `shape`."""
    return build(Shape(**shape), texts, tags, wording, seed)


def build(shape: Shape, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int) -> Gemma3Listener:
    """Random weights by `seed`, real architecture; a tokenizer learnt from `texts`, each of `tags` one token."""
    tokenizer = build_tokenizer(texts, tags, shape.vocabulary, CHAT)
    config = Gemma3Config(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": shape.width,
            "intermediate_size": 2 * shape.width,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.heads // 2,
            "head_dim": shape.width // shape.heads,
            "query_pre_attn_scalar": shape.width // shape.heads,
            "sliding_window": shape.sliding,
            "layer_types": ["sliding_attention", "full_attention"] * (shape.layers // 2),
            "initializer_range": shape.width**-0.5,
            "max_position_embeddings": 8192,
        },
        vision_config={
            "hidden_size": shape.width,
            "intermediate_size": 2 * shape.width,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.vision_heads,
            "image_size": shape.side,
            "patch_size": shape.patch,
            "vision_use_head": False,
        },
        mm_tokens_per_image=shape.image_tokens,
        image_token_index=token_id(tokenizer, NAMED["image_token"]),
        boi_token_index=token_id(tokenizer, NAMED["boi_token"]),
        eoi_token_index=token_id(tokenizer, NAMED["eoi_token"]),
        initializer_range=shape.width**-0.5,
        pad_token_id=token_id(tokenizer, CHAT.pad),  # pyright: ignore[reportCallIssue]
        eos_token_id=token_id(tokenizer, CHAT.end),  # pyright: ignore[reportCallIssue]
    )
    model = seeded(Gemma3ForConditionalGeneration, config, seed)
    projection = cast(Any, model.model).multi_modal_projector.mm_input_projection_weight
    nn.init.normal_(projection, std=shape.width**-0.5, generator=torch.Generator().manual_seed(seed))
    images = Gemma3ImageProcessorPil(size={"height": shape.side, "width": shape.side})
    processor = Gemma3Processor(images, tokenizer, chat_template=CHAT.template, image_seq_length=shape.image_tokens)
    return Gemma3Listener(model, processor, wording)
