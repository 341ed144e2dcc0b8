"""Gemma 3n (ai.google.dev/gemma/docs/gemma-3n): a conformer that hears 30 s, a MobileNet that sees, a nested Gemma.

Every clip becomes 188 tokens: one for 160 ms, the rest filled with the embedding of the last id there is. The conformer
pads its convolutions where a clip ends, so each clip goes through it alone and sounds the same in every batch.

Ids behind the text's own ("hard" tokens, for example the end of a clip) have their embeddings in `embed_vision` and
`embed_audio`. Each layer reads a small embedding of the token itself too (`per_layer_inputs`), and the last layers read
keys and values of earlier ones and have none in the cache.

The MobileNet comes from timm. Without timm the model has no vision tower and refuses images; what is saved in full then
gets the tower's weights from the checkpoint that was opened, untouched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    AutoModel,
    DynamicCache,
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nProcessor,
    Gemma3nVisionConfig,
    PreTrainedModel,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file

from auscult.core.errors import MediaError
from auscult.core.types import Wave
from auscult.models.hub.listener import HubListener, seeded
from auscult.models.listener import Encoded, Features, Step, token_id
from auscult.models.tokens import EOS, GEMMA_TURNS, TURN, Chat, build_tokenizer, turns
from auscult.models.wording import Wording

NAMED = {"boi_token": "<start_of_image>", "boa_token": "<start_of_audio>"}
SEEN = {"eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
HEARD = {"audio_token": "<audio_soft_token>", "eoa_token": "<end_of_audio>"}
"""Tokens whose embeddings are the vision's and the audio's."""
CHAT = Chat(
    template=turns(GEMMA_TURNS, audio=HEARD["audio_token"], image=SEEN["image_token"]),
    others=(EOS, TURN),
    named=NAMED,
)
IN_FULL = ["altup", "embed_audio", "embed_vision"]
"""Never held in 4 bits: AltUp clamps the numbers of its matrices in training, which would change packed ones."""


class Unseen(Gemma3nVisionConfig):
    """What stands for the vision tower while a model is made without timm."""

    model_type = "gemma3n_unseen"


class UnseenTower(PreTrainedModel):
    """No weights, and those of a checkpoint are passed over."""

    config_class = Unseen
    _keys_to_ignore_on_load_unexpected = [r"vision_tower\."]  # noqa: RUF012 - so transformers declares it


AutoModel.register(Unseen, UnseenTower)


class Gemma3nListener(HubListener):
    """Audio and, with timm, images; several a prompt."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Gemma3nProcessor,
        wording: Wording,
        unseen: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`unseen` are the vision tower's weights where the model itself has no such tower."""
        super().__init__(model, processor, wording)
        self._unseen = unseen or {}

    @property
    def slots(self) -> dict[str, int]:
        config = cast(Any, self.model.config)
        seen = {"image": config.image_token_id} if self.part("image") else {}
        return {"audio": config.audio_token_id, **seen}

    @property
    def max_seconds(self) -> float:
        extractor, config = self.processor.feature_extractor, cast(Any, self.model.config).audio_config
        frames = math.prod(stride[0] for stride in config.sscp_conv_stride_size) * config.conf_reduction_factor
        return self.processor.audio_seq_length * frames * extractor.hop_length // extractor.sampling_rate

    def audio_features(self, wave: Wave) -> tuple[Mapping[str, Tensor], int, str]:
        frames = self.processor.feature_extractor([wave], return_tensors="pt")["input_features"][0]
        tokens = self.processor.audio_seq_length if len(frames) else 0
        return {"input_features": frames}, tokens, self.processor.full_audio_sequence

    def image_features(self, pixels: np.ndarray) -> tuple[Mapping[str, Tensor], int, str]:
        if not self.part("image"):
            raise MediaError(
                "Gemma 3n sees through timm, which cannot be imported; install timm or leave images out", reason="kind"
            )
        found = self.processor.image_processor(images=[pixels], return_tensors="pt")
        tokens = self.processor.image_seq_length
        return {"pixel_values": found["pixel_values"][0]}, tokens, self.processor.full_image_sequence

    def stages(self, kind: str) -> Sequence[tuple[nn.Module, Step]]:
        core = cast(Any, self.core)
        if kind == "audio":
            return [(core.audio_tower, self._hear_alone), (core.embed_audio, self._fill)]
        return [(core.vision_tower, self._see), (core.embed_vision, self._project)]

    def _hear_alone(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        tower = cast(Any, self.core).audio_tower
        clips = [item.inputs["input_features"].to(self.device) for item in items]
        return [tower(clip[None], clip.new_zeros(1, len(clip), dtype=torch.bool))[0][0] for clip in clips]

    def _fill(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        config = cast(Any, self.language.config)
        last = torch.tensor([config.vocab_size - 1], device=self.device)
        filling = cast(Any, self.core).embed_audio(input_ids=last)
        rows = [cast(Any, self.core).embed_audio(inputs_embeds=clip) for clip in passed or []]
        return [
            torch.cat([clip, filling.expand(item.tokens - len(clip), -1)])
            for clip, item in zip(rows, items, strict=True)
        ]

    def _see(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        pixels = torch.stack([item.inputs["pixel_values"] for item in items]).to(self.device)
        maps = cast(Any, self.core).vision_tower(pixel_values=pixels, do_pooling=False, return_dict=True)
        rows = maps.last_hidden_state.flatten(2).transpose(1, 2)
        return list(rows * rows.shape[-1] ** 0.5)

    def _project(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        return list(cast(Any, self.core).embed_vision(inputs_embeds=torch.stack(passed or [])))

    def embed(self, ids: Tensor, media: Sequence[Encoded]) -> Tensor:
        slots = torch.tensor(sorted(self.slots.values()), device=ids.device)
        return torch.where(torch.isin(ids, slots)[..., None], super().embed(ids, media), self._words(ids))

    def _words(self, ids: Tensor) -> Tensor:
        """Embeddings [..., W] of ids [...], of the text's own and of hard ones."""
        embeds = self.language.get_input_embeddings()(ids)
        for embedder in (cast(Any, self.core).embed_vision, cast(Any, self.core).embed_audio):
            first = embedder.vocab_offset
            hard = (ids >= first) & (ids < first + embedder.vocab_size)
            embeds = embeds.masked_scatter(hard[..., None], embedder(input_ids=ids[hard]).to(embeds.dtype))
        return embeds

    def _identities(self, ids: Tensor) -> Tensor:
        """What each layer reads of the tokens themselves; hard ones have nothing of their own."""
        language = cast(Any, self.language)
        return language.get_per_layer_inputs(ids.masked_fill(ids >= language.config.vocab_size_per_layer_input, 0))

    def prompt_arguments(self, ids: Tensor, mask: Tensor, embeds: Tensor, media: Sequence[Encoded]) -> dict[str, Any]:
        return {"per_layer_inputs": self._identities(ids)}

    def run_prompts(self, ids: Tensor, mask: Tensor, media: Sequence[Encoded]) -> tuple[DynamicCache, Tensor, Tensor]:
        cache, start, out = super().run_prompts(ids, mask, media)
        config = cast(Any, self.language.config)
        del cache.layers[config.num_hidden_layers - config.num_kv_shared_layers :]  # they hold nothing
        return cache, start, out

    def run_replies(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        return self.language(
            inputs_embeds=self._words(ids),
            per_layer_inputs=self._identities(ids),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state

    def save(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        if self.adapter is None and self._unseen:
            weights = {**(self.model.state_dict() if weights is None else weights), **self._unseen}
        super().save(folder, weights)


def vision_weights(path: str | Path) -> dict[str, Tensor]:
    """The vision tower's weights as they stand in the checkpoint in the folder, or of the hub id, `path`."""
    index = cached_file(path, SAFE_WEIGHTS_INDEX_NAME, _raise_exceptions_for_missing_entries=False)
    files = {SAFE_WEIGHTS_NAME} if index is None else set(json.loads(Path(index).read_text())["weight_map"].values())
    found: dict[str, Tensor] = {}
    for name in sorted(files):
        with safe_open(cached_file(path, name), "pt") as file:
            found |= {key: file.get_tensor(key) for key in file.keys() if "vision_tower." in key}  # noqa: SIM118
    return found


def timm_imports() -> bool:
    """Whether timm is here and works."""
    try:
        import_module("timm")
    except (ImportError, RuntimeError):  # beside another build of torch, torchvision, which it needs, fails so
        return False
    return True


def load(path: str | Path, wording: Wording, **how: Any) -> Gemma3nListener:
    """The checkpoint in the folder, or of the hub id, `path`."""
    if quantization := how.get("quantization_config"):
        quantization.llm_int8_skip_modules += [f".*{name}" for name in IN_FULL]
    model = _made(
        Gemma3nConfig.from_pretrained(path),
        lambda config: Gemma3nForConditionalGeneration.from_pretrained(path, config=config, **how),
    )
    processor: Any = Gemma3nProcessor.from_pretrained(path)
    # The same pixels whether torchvision is installed or not.
    processor.image_processor = SiglipImageProcessorPil.from_pretrained(path)
    return Gemma3nListener(model, processor, wording, {} if timm_imports() else vision_weights(path))


def _made(config: Gemma3nConfig, make: Callable[[Gemma3nConfig], PreTrainedModel]) -> PreTrainedModel:
    """What `make` makes of the configuration, without a vision tower where timm is missing."""
    if timm_imports():
        return make(config)
    vision = cast(Any, config.vision_config)
    shared = ("hidden_size", "vocab_size", "vocab_offset", "rms_norm_eps")
    config.vision_config = Unseen(**{name: getattr(vision, name) for name in shared})
    model = make(config)
    cast(Any, model.model).vision_tower = None
    cast(Any, model.config).vision_config = vision
    return model


def tiny(
    texts: Iterable[str],
    tags: Iterable[str],
    wording: Wording,
    seed: int = 0,
    *,
    width: int = 32,
    layers: int = 4,
    sliding: int = 24,
    seconds: int = 4,
) -> Gemma3nListener:
    """Random weights, real architecture: hard tokens, a `sliding` window shorter than a clip, and a second half of the
    layers that reads the keys and values of the first; a conformer half as deep. Hears up to `seconds`."""
    heads = max(4, width // 128)
    length = math.ceil(6.25 * seconds)
    tokenizer = build_tokenizer(texts, tags, 512, CHAT)
    words = len(tokenizer)
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [*SEEN.values(), *HEARD.values()]}, replace_extra_special_tokens=False
    )
    tokenizer._set_model_specific_special_tokens({**SEEN, **HEARD})
    config = Gemma3nConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "vocab_size_per_layer_input": words,
            "hidden_size": width,
            "hidden_size_per_layer_input": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_kv_shared_layers": layers // 2,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "head_dim": 2 * width // heads,
            "laurel_rank": width // 2,
            "activation_sparsity_pattern": [0.5] + [0.0] * (layers - 1),
            "sliding_window": sliding,
            "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
            "initializer_range": width**-0.5,
            "max_position_embeddings": 8192,
            "pad_token_id": token_id(tokenizer, CHAT.pad),
            "bos_token_id": token_id(tokenizer, CHAT.bos),
            "eos_token_id": token_id(tokenizer, CHAT.end),
        },
        audio_config={
            "vocab_size": len(HEARD),
            "vocab_offset": words + len(SEEN),
            "input_feat_size": 16,
            "hidden_size": width,
            "conf_num_attention_heads": max(2, width // 256),
            "conf_num_hidden_layers": layers // 2,
            "sscp_conv_channel_size": (8, 4),
            "initializer_range": width**-0.5,
        },
        vision_config={
            "architecture": "test_convnext",
            "hidden_size": 64,
            "vocab_size": len(SEEN),
            "vocab_offset": words,
        },
        audio_soft_tokens_per_image=length,
        vision_soft_tokens_per_image=16,
        boi_token_id=token_id(tokenizer, NAMED["boi_token"]),
        boa_token_id=token_id(tokenizer, NAMED["boa_token"]),
        eoi_token_id=token_id(tokenizer, SEEN["eoi_token"]),
        eoa_token_id=token_id(tokenizer, HEARD["eoa_token"]),
        image_token_id=token_id(tokenizer, SEEN["image_token"]),
        audio_token_id=token_id(tokenizer, HEARD["audio_token"]),
        initializer_range=width**-0.5,
    )
    model = _made(config, lambda config: seeded(Gemma3nForConditionalGeneration, config, seed))
    language = cast(Any, model.model).language_model
    nn.init.zeros_(language.embed_tokens.weight[words:])  # no greedy reply holds a placeholder
    for layer in language.layers:
        # At zero, where it begins, what a layer reads of the token itself would be lost.
        nn.init.ones_(layer.altup.correct_output_scale)
        # Attention does not divide by the root of the head's width; a trained norm does.
        nn.init.constant_(layer.self_attn.q_norm.weight, (2 * width // heads) ** -0.5)
    processor = Gemma3nProcessor(
        Gemma3nAudioFeatureExtractor(feature_size=16),
        SiglipImageProcessorPil(size={"height": 128, "width": 128}),
        tokenizer,
        chat_template=CHAT.template,
        audio_seq_length=length,
        image_seq_length=16,
    )
    return Gemma3nListener(model, processor, wording)
