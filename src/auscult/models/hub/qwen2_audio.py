"""Qwen2-Audio (arXiv 2407.10759): a Whisper encoder on windows of fixed length, pooled by two, and a Qwen2.

The encoder always reads its whole window (30 s), padding masked; a clip of l log-mel frames becomes about l / 4 tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoProcessor,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)
from transformers.masking_utils import create_bidirectional_mask

from auscult.core.types import Wave
from auscult.models.hub.listener import HubListener, seeded
from auscult.models.listener import Features, Step, token_id
from auscult.models.tokens import CHATML_TURNS, Chat, build_tokenizer, turns
from auscult.models.wording import Wording

CHAT = Chat(
    template=turns(CHATML_TURNS, audio="<|audio_bos|><|AUDIO|><|audio_eos|>"),
    pad="<|endoftext|>",
    bos=None,
    end="<|im_end|>",
    others=("<|im_start|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"),
)


class Qwen2AudioListener(HubListener):
    """Audio; several clips a prompt."""

    @property
    def slots(self) -> dict[str, int]:
        return {"audio": cast(Any, self.model.config).audio_token_id}

    @property
    def max_seconds(self) -> float:
        return self.processor.feature_extractor.n_samples / self.rate

    def audio_features(self, wave: Wave) -> tuple[Mapping[str, Tensor], int, str]:
        found = self.processor.feature_extractor(
            wave,
            sampling_rate=self.rate,
            padding="max_length",
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = found["attention_mask"][0]
        tokens = int(self._lengths(mask.sum())[1])
        inputs = {"input_features": found["input_features"][0], "mask": mask}
        return inputs, tokens, self.processor.audio_token * tokens

    def stages(self, kind: str) -> Sequence[tuple[nn.Module, Step]]:
        core = cast(Any, self.core)
        return [(core.audio_tower, self._tower), (core.multi_modal_projector, self._project)]

    def _tower(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        tower = cast(Any, self.core).audio_tower
        features = torch.stack([item.inputs["input_features"] for item in items]).to(self.device)
        frames = torch.stack([item.inputs["mask"] for item in items]).sum(1).to(self.device)
        width = (features.shape[2] - 2) // 2 + 1
        alive = torch.arange(width, device=self.device) < self._lengths(frames)[0][:, None]
        mask = create_bidirectional_mask(
            config=tower.config, inputs_embeds=features.new_zeros(len(items), width, 1), attention_mask=alive.long()
        )
        encoded = tower(features, attention_mask=mask).last_hidden_state
        return [row[: item.tokens] for row, item in zip(encoded, items, strict=True)]

    def _project(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        rows = cast(Any, self.core).multi_modal_projector(torch.cat(passed or []))
        return list(rows.split([item.tokens for item in items]))

    def _lengths(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel frames -> rows after the convolutions, media tokens."""
        return cast(Any, self.core).audio_tower._get_feat_extract_output_lengths(frames)


def load(path: str | Path, wording: Wording, **how: Any) -> Qwen2AudioListener:
    """The checkpoint in the folder, or of the hub id, `path`."""
    model = Qwen2AudioForConditionalGeneration.from_pretrained(path, **how)
    return Qwen2AudioListener(model, AutoProcessor.from_pretrained(path), wording)


def tiny(
    texts: Iterable[str],
    tags: Iterable[str],
    wording: Wording,
    seed: int = 0,
    *,
    width: int = 32,
    layers: int = 2,
    seconds: int = 4,
) -> Qwen2AudioListener:
    """Random weights, real architecture; hears up to `seconds`."""
    heads = max(4, width // 128)
    tokenizer = build_tokenizer(texts, tags, 512, CHAT)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=seconds)
    common = {"max_position_embeddings": 8192, "vocab_size": len(tokenizer)}
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 16,
            "d_model": width,
            "encoder_layers": layers,
            "encoder_attention_heads": max(2, width // 256),
            "encoder_ffn_dim": 2 * width,
            "max_source_positions": seconds * 50,
            "initializer_range": width**-0.5,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "initializer_range": width**-0.5,
            "eos_token_id": token_id(tokenizer, CHAT.end),
            "pad_token_id": token_id(tokenizer, CHAT.pad),
            **common,
        },
        audio_token_index=token_id(tokenizer, "<|AUDIO|>"),
    )
    processor = Qwen2AudioProcessor(extractor, tokenizer, chat_template=CHAT.template)
    return Qwen2AudioListener(seeded(Qwen2AudioForConditionalGeneration, config, seed), processor, wording)
