"""Graft: ears for any causal language model.

    log-mel [T, 80] or frames [T, F] -> encoder [P, D] -> projector [N, W] -> the LM's input embeddings

The encoder is a small one of our own that learns with the rest, or one that `auscult pretrain` made (`mae.py`, its
decoder dropped); `projectors.py` has the projectors. A clip of T feature rows becomes N = `tokens(T)` rows that stand
where its `<audio>` placeholders stand in the prompt. N depends on the clip's length at most, and padding is masked at
every layer, so what a clip sounds like does not depend on its batch.

An ordinary `PreTrainedModel`: `save_pretrained`, `from_pretrained`, `generate` and the auto classes work. A language
model that is somebody's and did not learn is not written again: the config says where it is (`base`), and the weights
are those of the ears.

Letters: B batch, C clips, T feature rows, F features, P patches of a clip, N audio tokens, D encoder width, L prompt
tokens, W LM width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Cache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.gemma3 import Gemma3TextConfig
from transformers.utils.hub import cached_file

from auscult.core.errors import ConfigError, LostMediaError
from auscult.models.base import language_model as opened
from auscult.models.base import located, named
from auscult.models.mae import MaeConfig, PatchEncoder
from auscult.models.projectors import Mlp, Resampler
from auscult.models.transformer import Block, alive, positions

EARS = ("encoder.", "projector.")
"""What the names of the ears' weights begin with."""
WEIGHTS = "model.safetensors"


class GraftConfig(PreTrainedConfig):
    """Shape of the ears, and the whole config of the language model they are grafted on."""

    model_type = "auscult_graft"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        text_config: dict[str, Any] | PreTrainedConfig | None = None,
        features: int = 80,
        source: Literal["mel", "frames"] = "mel",
        encoder_width: int = 128,
        encoder_layers: int = 2,
        encoder_heads: int = 4,
        encoder_dropout: float = 0.0,
        pool: int = 4,
        max_seconds: float = 30.0,
        audio_token_id: int = 0,
        mae: dict[str, Any] | None = None,
        projector_kind: Literal["mlp", "qformer", "perceiver"] = "mlp",
        projector_tokens: int = 32,
        projector_layers: int = 2,
        base: str | None = None,
        **kwargs: Any,
    ) -> None:
        """`mae` is the config of a pretrained encoder, which then says what `features`, `source` and `encoder_*` are;
        `base` is where the language model's weights are, None where they are among the others."""
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = text_config if text_config is not None else Gemma3TextConfig()
        self.features = features
        self.source = source
        self.encoder_width = encoder_width
        self.encoder_layers = encoder_layers
        self.encoder_heads = encoder_heads
        self.encoder_dropout = encoder_dropout
        self.pool = pool
        self.max_seconds = max_seconds
        self.audio_token_id = audio_token_id
        self.mae = mae
        self.projector_kind = projector_kind
        self.projector_tokens = projector_tokens
        self.projector_layers = projector_layers
        self.base = base
        kwargs.setdefault("tie_word_embeddings", False)  # the language model ties its own
        super().__init__(**kwargs)

    @property
    def bands(self) -> int:
        """Patches at one moment."""
        return 1 if self.mae is None else MaeConfig(**self.mae).bands

    @property
    def stride(self) -> int:
        """Feature rows of one moment of the encoder."""
        if self.mae is not None:
            return MaeConfig(**self.mae).patch_rows
        return self.pool * (2 if self.source == "mel" else 1)

    def patches(self, rows: int) -> int:
        """Patches P that the encoder makes of a clip of `rows` feature rows."""
        return -(-rows // self.stride) * self.bands

    def tokens(self, rows: int) -> int:
        """Audio tokens N that a clip of `rows` feature rows becomes."""
        if self.projector_kind == "mlp":
            return -(-rows // self.stride)
        return self.projector_tokens if rows else 0


class AudioEncoder(nn.Module):
    """Feature rows to audio tokens: a strided stem, stacking of `pool` rows, positions, Transformer layers."""

    def __init__(self, config: GraftConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.config = config
        if config.source == "mel":  # Whisper's stem: neighbouring 10 ms rows say nearly the same
            self.strides = (1, 2)
            self.stem = nn.ModuleList(
                [nn.Conv1d(config.features, width, 3, padding=1), nn.Conv1d(width, width, 3, stride=2, padding=1)]
            )
        else:
            self.strides = (1,)
            self.stem = nn.ModuleList([nn.Conv1d(config.features, width, 1)])
        self.stack = nn.Linear(width * config.pool, width)
        self.blocks = nn.ModuleList(
            Block(width, config.encoder_heads, config.encoder_dropout) for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [C, T, F] right-padded, lengths [C] in rows -> tokens [C, N, D]; rows past a clip's N are junk."""
        x = (features * alive(lengths, features.shape[1])[..., None]).transpose(1, 2)
        for conv, stride in zip(self.stem, self.strides, strict=True):
            x = functional.gelu(conv(x))
            lengths = -(-lengths // stride)
            x = x * alive(lengths, x.shape[2])[:, None]  # a convolution would hear bias beyond the clip's end
        pool = self.config.pool
        x = functional.pad(x, (0, -x.shape[2] % pool)).transpose(1, 2)
        x = self.stack(x.unflatten(1, (-1, pool)).flatten(2))
        lengths = -(-lengths // pool)
        x = x + positions(x.shape[1], x.shape[2]).to(x)
        mask = alive(lengths, x.shape[1])[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


class GraftForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """A causal language model that hears: `input_ids` hold `<audio>` placeholders, `features` what they stand for."""

    config_class = GraftConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Block"]  # noqa: RUF012 - transformers reads a class attribute

    def __init__(
        self,
        config: GraftConfig,
        language_model: PreTrainedModel | None = None,
        encoder: PatchEncoder | None = None,
    ) -> None:
        """With `language_model` and `encoder` the graft takes their weights; without, the config says what random ones
        are made."""
        super().__init__(config)
        for module in (part for given in (language_model, encoder) if given is not None for part in given.modules()):
            module._is_hf_initialized = True  # type: ignore[assignment] # transformers' mark of weights to keep
        text, width = config.text_config, config.encoder_width
        self.encoder = encoder or (
            AudioEncoder(config) if config.mae is None else PatchEncoder(MaeConfig(**config.mae))
        )
        if config.projector_kind == "mlp":
            self.projector = Mlp(width, config.bands, text.hidden_size)
        else:
            self.projector = Resampler(
                config.projector_kind,
                width,
                config.bands,
                text.hidden_size,
                tokens=config.projector_tokens,
                layers=config.projector_layers,
                heads=config.encoder_heads,
            )
        self.language_model = language_model or AutoModelForCausalLM.from_config(text)
        self.post_init()

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, path: str | Path, *arguments: Any, base: str | None = None, **how: Any
    ) -> Self:
        """As every model; a language model that is elsewhere comes from there, or from `base` if it is no longer there.
        Raises ConfigError when it is nowhere or another one."""
        config = GraftConfig.from_pretrained(path)
        if config.base is None:
            return super().from_pretrained(path, *arguments, **how)
        there = located(config.base, path)
        config.base = there if base is None or Path(there).exists() else base
        how.pop("config", None)
        adapter = (how.pop("adapter_kwargs", None) or {}).get("_adapter_model_path")  # the auto classes found one
        text = opened(config.base, str(path), **how)
        model = cls(config, _checked(text, config, path))
        found = model.load_state_dict(load_file(str(cached_file(path, WEIGHTS))), strict=False)
        if lost := [*found.unexpected_keys, *(name for name in found.missing_keys if name.startswith(EARS))]:
            raise ConfigError(f"{path}: {WEIGHTS} does not fit its config.json ({lost[0]}); copy the folder again")
        model.adopt(text, config.base)
        if adapter is not None:
            model.load_adapter(adapter)
        return model.eval()

    def adopt(self, text: PreTrainedModel, base: str | None) -> None:
        """Takes the language model's word on where replies stop; with `base` its weights are the base's and rest."""
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(self.generation_config, name, getattr(text.generation_config, name, None))
        self.config.base = base
        if base is not None:
            text.requires_grad_(False)

    @property
    def changed(self) -> bool:
        """Whether the language model's own weights learn, and so are no longer what they are in its base."""
        return any(p.requires_grad for name, p in self.language_model.named_parameters() if "lora_" not in name)

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, folder: str | Path, *, state_dict: Mapping[str, Tensor] | None = None, **how: Any
    ) -> None:
        """As every model; of a language model with a base, and none of whose weights learns, no weight is written."""
        config = self.config
        if self.changed:
            config.base = None
        if config.base is None:
            super().save_pretrained(folder, state_dict=None if state_dict is None else dict(state_dict), **how)
        else:
            self._save_ears(Path(folder), self.state_dict() if state_dict is None else state_dict)

    def _save_ears(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ears = {name: t.detach().cpu().contiguous() for name, t in state.items() if name.startswith(EARS)}
        save_file(ears, folder / WEIGHTS, metadata={"format": "pt"})
        told = GraftConfig.from_dict({**self.config.to_dict(), "base": named(self.config.base, folder)})
        told.architectures = [type(self).__name__]
        told.save_pretrained(folder)
        self.generation_config.save_pretrained(folder)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module | None:
        return self.language_model.get_output_embeddings()

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [C, T, F] with lengths [C] -> what the encoder makes of all clips, one after another [sum P, D]."""
        features = features.to(next(self.encoder.parameters()).dtype)
        if isinstance(self.encoder, PatchEncoder):
            encoded, heard = self.encoder.hear(features, lengths)
            return encoded[heard]
        encoded = self.encoder(features, lengths)
        counts = torch.div(lengths + self.config.stride - 1, self.config.stride, rounding_mode="floor")
        return encoded[alive(counts, encoded.shape[1])]

    def hear(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features [C, T, F] with lengths [C] -> the audio tokens of all clips, one after another [sum N, W]."""
        counts = [self.config.patches(rows) for rows in lengths.tolist()]
        return self.projector(self.encode(features, lengths), counts)

    def embed(self, input_ids: Tensor, heard: Tensor | None) -> Tensor:
        """Ids [B, L] and audio tokens [sum N, W] in the order of their placeholders -> embeddings [B, L, W]."""
        places = input_ids == self.config.audio_token_id
        rows = 0 if heard is None else len(heard)
        if rows != int(places.sum()):
            raise LostMediaError(
                f"{int(places.sum())} <audio> placeholders in the ids but {rows} audio tokens from the encoder; "
                "give every clip whose placeholders stand in the prompt, in their order"
            )
        # The placeholder's own embedding is never used; id 0 is in every vocabulary, the audio token may not be.
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(places, 0))
        if heard is None:
            return embeddings
        return embeddings.masked_scatter(places[..., None], heard.to(embeddings.dtype))

    def forward(
        self,
        input_ids: Tensor | None = None,
        features: Tensor | None = None,
        feature_lengths: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Ids [B, L], features [C, T, F], feature_lengths [C] -> logits [B, L, V]; with `labels` also the mean NLL."""
        if inputs_embeds is None:
            if input_ids is None or (features is None) != (feature_lengths is None):
                raise ValueError("give input_ids or inputs_embeds, and features together with feature_lengths")
            heard = None if features is None or feature_lengths is None else self.hear(features, feature_lengths)
            inputs_embeds = self.embed(input_ids, heard)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            **kwargs,
        )

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Clips are heard in the first pass only; afterwards they stand in the cache."""
        inputs = GenerationMixin.prepare_inputs_for_generation(  # pyright: ignore[reportAttributeAccessIssue]
            self, input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration:
            inputs["features"] = inputs["feature_lengths"] = None
        return inputs


def _checked(text: PreTrainedModel, config: GraftConfig, path: str | Path) -> PreTrainedModel:
    """The language model, if it has the shape of the one that the ears were grafted on."""
    for name in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size"):
        have, want = (getattr(which, name, None) for which in (text.config, config.text_config))
        if have != want:
            raise ConfigError(
                f"{path} was grafted on a language model of {name} {want}, {config.base} has {have}; name the right "
                "one with --model.base"
            )
    return text


AutoConfig.register(GraftConfig.model_type, GraftConfig)
AutoModel.register(GraftConfig, GraftForConditionalGeneration)
AutoModelForCausalLM.register(GraftConfig, GraftForConditionalGeneration)
