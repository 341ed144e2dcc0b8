"""The Thinker of Qwen3-Omni (arXiv 2509.17765): mixture of experts, and images that feed the first layers too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from auscult.models.hub.listener import seeded
from auscult.models.hub.omni import OmniListener, Voice
from auscult.models.hub.parts import Parts
from auscult.models.listener import Encoded, token_id
from auscult.models.tokens import CHATML_TURNS, Chat, build_tokenizer, turns
from auscult.models.wording import Wording

NAMED = {
    "image_token": "<|image_pad|>",
    "audio_token": "<|audio_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
CHAT = Chat(
    template=turns(
        CHATML_TURNS,
        audio="<|audio_start|><|audio_pad|><|audio_end|>",
        image="<|vision_start|><|image_pad|><|vision_end|>",
    ),
    pad="<|endoftext|>",
    bos=None,
    end="<|im_end|>",
    others=("<|im_start|>",),
    named=NAMED,
)
CHUNK_TOKENS = 13
"""Media tokens of a whole window of 2 * n_window log-mel frames; three convolutions of stride 2 make 100 frames 13."""


class Qwen3OmniListener(OmniListener):
    """Audio and images."""

    @property
    def max_seconds(self) -> float:
        return 60.0 * 40  # the extractor's 30 s are for its padding; the model card names 40 minutes

    def audio_tokens(self, frames: int) -> int:
        window = 2 * cast(Any, self.core).audio_tower.n_window
        rest = frames % window
        for _ in range(3):
            rest = (rest - 1) // 2 + 1
        return frames // window * CHUNK_TOKENS + rest

    def run_audio_tower(self, frames: Tensor, lengths: Tensor) -> Tensor:
        return cast(Any, self.core).audio_tower(frames, feature_lens=lengths).last_hidden_state

    def prompt_arguments(self, ids: Tensor, mask: Tensor, embeds: Tensor, media: Sequence[Encoded]) -> dict[str, Any]:
        images = [item.rows for item in media if item.features.kind == "image"]
        if not images:
            return {}
        _, *deeper = torch.cat(images).split(embeds.shape[-1], dim=1)
        return {"visual_pos_masks": ids == self.slots["image"], "deepstack_visual_embeds": deeper}


def load(path: str | Path, wording: Wording, **how: Any) -> Qwen3OmniListener:
    """The Thinker of the checkpoint in the folder, or of the hub id, `path`: a full model, or a Thinker alone."""
    model = Qwen3OmniMoeThinkerForConditionalGeneration.from_pretrained(path, **how)
    return Qwen3OmniListener(model, Parts.load(path, "Qwen3OmniMoeProcessor"), wording, Voice.of(path))


def tiny(
    texts: Iterable[str],
    tags: Iterable[str],
    wording: Wording,
    seed: int = 0,
    *,
    width: int = 32,
    layers: int = 2,
    window: int = 200,
) -> Qwen3OmniListener:
    """Random weights, real architecture: experts, deep image features, multimodal RoPE. The audio tower attends within
    `window` log-mel frames, a multiple of 100."""
    heads = max(4, width // 128)
    eighth = width // heads // 8
    tokenizer = build_tokenizer(texts, tags, 512, CHAT)
    config = Qwen3OmniMoeThinkerConfig(
        audio_config={
            "num_mel_bins": 16,
            "d_model": width,
            "encoder_layers": layers,
            "encoder_attention_heads": max(2, width // 256),
            "encoder_ffn_dim": 2 * width,
            "n_window": 50,
            "n_window_infer": window,
            "output_dim": width,
            "downsample_hidden_size": 8,
            "initializer_range": width**-0.5,
        },
        vision_config={
            "depth": layers + 1,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_heads": max(2, width // 256),
            "patch_size": 8,
            "out_hidden_size": width,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
            "initializer_range": width**-0.5,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "head_dim": width // heads,
            "moe_intermediate_size": width,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "initializer_range": width**-0.5,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [2 * eighth, eighth, eighth],
                "mrope_interleaved": True,
            },
            "eos_token_id": token_id(tokenizer, CHAT.end),
            "pad_token_id": token_id(tokenizer, CHAT.pad),
        },
        audio_token_id=token_id(tokenizer, NAMED["audio_token"]),
        image_token_id=token_id(tokenizer, NAMED["image_token"]),
        video_token_id=token_id(tokenizer, NAMED["video_token"]),
        audio_start_token_id=token_id(tokenizer, NAMED["audio_bos_token"]),
        initializer_range=width**-0.5,
        audio_end_token_id=token_id(tokenizer, NAMED["audio_eos_token"]),  # pyright: ignore[reportCallIssue]
        vision_start_token_id=token_id(tokenizer, NAMED["vision_bos_token"]),  # pyright: ignore[reportCallIssue]
    )
    extractor = WhisperFeatureExtractor(feature_size=16)
    images = Qwen2VLImageProcessorPil(patch_size=8, size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64})
    parts = Parts(tokenizer, extractor, images, "Qwen3OmniMoeProcessor")
    return Qwen3OmniListener(seeded(Qwen3OmniMoeThinkerForConditionalGeneration, config, seed), parts, wording)
