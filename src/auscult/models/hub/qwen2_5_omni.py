"""The Thinker of Qwen2.5-Omni (arXiv 2503.20215)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from transformers import (
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from auscult.models.hub.listener import seeded
from auscult.models.hub.omni import OmniListener, Voice
from auscult.models.hub.parts import Parts
from auscult.models.listener import token_id
from auscult.models.tokens import CHATML_TURNS, Chat, build_tokenizer, turns
from auscult.models.wording import Wording

NAMED = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
CHAT = Chat(
    template=turns(
        CHATML_TURNS, audio="<|audio_bos|><|AUDIO|><|audio_eos|>", image="<|vision_bos|><|IMAGE|><|vision_eos|>"
    ),
    pad="<|endoftext|>",
    bos=None,
    end="<|im_end|>",
    others=("<|im_start|>",),
    named=NAMED,
)


class Qwen25OmniListener(OmniListener):
    """Audio and images."""

    def audio_tokens(self, frames: int) -> int:
        return ((frames - 1) // 2 + 1 - 2) // 2 + 1

    def run_audio_tower(self, frames: Tensor, lengths: Tensor) -> Tensor:
        tower = cast(Any, self.core).audio_tower
        after, _ = tower._get_feat_extract_output_lengths(lengths)
        return tower(frames, feature_lens=lengths, aftercnn_lens=after).last_hidden_state


def load(path: str | Path, wording: Wording, **how: Any) -> Qwen25OmniListener:
    """The Thinker of the checkpoint in the folder, or of the hub id, `path`: a full model, or a Thinker alone."""
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(path, **how)
    return Qwen25OmniListener(model, Parts.load(path, "Qwen2_5OmniProcessor"), wording, Voice.of(path))


def tiny(
    texts: Iterable[str],
    tags: Iterable[str],
    wording: Wording,
    seed: int = 0,
    *,
    width: int = 32,
    layers: int = 2,
    window: int = 40,
) -> Qwen25OmniListener:
    """Random weights, real architecture: multimodal RoPE, windowed audio and vision towers. The audio tower attends
    within `window` log-mel frames."""
    heads = max(4, width // 128)
    eighth = width // heads // 8
    tokenizer = build_tokenizer(texts, tags, 512, CHAT)
    config = Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": 16,
            "d_model": width,
            "encoder_layers": layers,
            "encoder_attention_heads": max(2, width // 256),
            "encoder_ffn_dim": 2 * width,
            "n_window": window // 2,
            "output_dim": width,
            "initializer_range": width**-0.5,
        },
        vision_config={
            "depth": layers,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_heads": max(2, width // 256),
            "patch_size": 7,
            "window_size": 28,
            "out_hidden_size": width,
            "fullatt_block_indexes": [layers - 1],
            "initializer_range": width**-0.5,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "initializer_range": width**-0.5,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [eighth, eighth, 2 * eighth],
            },
            "eos_token_id": token_id(tokenizer, CHAT.end),
            "pad_token_id": token_id(tokenizer, CHAT.pad),
        },
        audio_token_index=token_id(tokenizer, NAMED["audio_token"]),
        image_token_index=token_id(tokenizer, NAMED["image_token"]),
        video_token_index=token_id(tokenizer, NAMED["video_token"]),
        audio_start_token_id=token_id(tokenizer, NAMED["audio_bos_token"]),
        initializer_range=width**-0.5,
        audio_end_token_id=token_id(tokenizer, NAMED["audio_eos_token"]),  # pyright: ignore[reportCallIssue]
        vision_start_token_id=token_id(tokenizer, NAMED["vision_bos_token"]),  # pyright: ignore[reportCallIssue]
    )
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=30)
    images = Qwen2VLImageProcessorPil(patch_size=7, size={"shortest_edge": 14 * 14, "longest_edge": 56 * 56})
    parts = Parts(tokenizer, extractor, images, "Qwen2_5OmniProcessor")
    return Qwen25OmniListener(seeded(Qwen2_5OmniThinkerForConditionalGeneration, config, seed), parts, wording)
