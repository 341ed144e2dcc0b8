"""The graft as a listener: how its network is made from nothing, opened, prompted and continued."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, DynamicCache, PreTrainedTokenizerFast
from transformers.models.gemma3 import Gemma3TextConfig

from auscult.core.errors import ConfigError
from auscult.core.forms import Form, form
from auscult.core.types import Audio, Frames, Media
from auscult.models.graft import GraftConfig, GraftForConditionalGeneration
from auscult.models.graft_shape import Shape
from auscult.models.listener import Encoded, Features, Listener, Step, token_id
from auscult.models.mel import RATE, log_mel
from auscult.models.tokens import AUDIO, BOS, PAD, TURN_END, build_tokenizer
from auscult.models.wording import Wording


def build(shape: Shape, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int) -> GraftListener:
    """A random listener of the given shape, its tokenizer learnt from `texts`; one seed gives one set of weights."""
    tokenizer = build_tokenizer(texts, tags, shape.vocabulary)
    head = shape.width // shape.heads
    text = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=3 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=max(1, shape.heads // 2),
        head_dim=head,
        query_pre_attn_scalar=head,
        initializer_range=shape.width**-0.5,  # Gemma's 0.02 is for widths of thousands
        sliding_window=512,
        max_position_embeddings=8192,
        pad_token_id=token_id(tokenizer, PAD),
        bos_token_id=token_id(tokenizer, BOS),
        eos_token_id=token_id(tokenizer, TURN_END),
    )
    config = GraftConfig(
        text_config=text,
        source=shape.source,
        features=shape.features,
        encoder_width=shape.encoder_width,
        encoder_layers=shape.encoder_layers,
        encoder_heads=4,
        encoder_dropout=shape.encoder_dropout,
        pool=shape.pool,
        max_seconds=shape.max_seconds,
        audio_token_id=token_id(tokenizer, AUDIO),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GraftForConditionalGeneration(config)
    return GraftListener(model, tokenizer, form(wording.form), wording)


def load(path: str | Path, wording: Wording, **how: Any) -> GraftListener:
    """The listener that `GraftListener.save` wrote to the folder `path`."""
    if not (Path(path) / "config.json").is_file():
        raise ConfigError(
            f"{path}: no config.json there; give the folder of a saved listener, for example RUN/sft/model"
        )
    model = GraftForConditionalGeneration.from_pretrained(path, **{"dtype": torch.float32, **how})
    return GraftListener(model, AutoTokenizer.from_pretrained(path), form(wording.form), wording)


class GraftListener(Listener):
    """Ears grafted on a causal language model (`models/graft.py`)."""

    model: GraftForConditionalGeneration

    def __init__(
        self, model: GraftForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, form: Form, wording: Wording
    ) -> None:
        super().__init__(model, tokenizer, form, wording)
        self.config = cast(GraftConfig, model.config)

    @property
    def marks(self) -> dict[str, str]:
        return {"audio": AUDIO}

    @property
    def slots(self) -> dict[str, int]:
        return {"audio": self.config.audio_token_id}

    def render(self, messages: list[dict[str, Any]]) -> str:
        joined = [
            {**turn, "content": "".join(part if isinstance(part, str) else AUDIO for part in turn["content"])}
            for turn in messages
        ]
        return str(self.tokenizer.apply_chat_template(joined, tokenize=False, add_generation_prompt=True))

    def features(self, media: Media) -> tuple[Features, ...]:
        config = self.config
        if isinstance(media, Frames):
            if config.source != "frames" or media.values.shape[1] != config.features:
                raise ConfigError(
                    f"this model hears {config.source} of {config.features} values, the sample has frames of "
                    f"{media.values.shape[1]}; set --model.source frames and --model.features for a new one"
                )
            return (self._features(media.sha256, torch.from_numpy(media.values)),)
        if config.source != "mel" or not isinstance(media, Audio):
            raise ConfigError("this model hears feature frames; give frames, or train a model with source: mel")
        return tuple(
            self._features(Audio.of(wave, RATE).sha256 or "", log_mel(wave, config.features))
            for wave in self.pieces(media, RATE, config.max_seconds)
        )

    def _features(self, key: str, rows: Tensor) -> Features:
        tokens = self.config.tokens(len(rows))
        return Features(key, "audio", {"rows": rows}, tokens, AUDIO * tokens)

    def stages(self, kind: str) -> Sequence[tuple[nn.Module, Step]]:
        return [(self.model.encoder, self._encoded), (self.model.projector, self._projected)]

    def _encoded(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        rows = [item.inputs["rows"] for item in items]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)
        encoded = self.model.encode(padded, torch.tensor([len(row) for row in rows], device=self.device))
        return list(encoded.split([item.tokens for item in items]))

    def _projected(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        return list(self.model.projector(torch.cat(passed or [])).split([item.tokens for item in items]))

    def run_prompts(self, ids: Tensor, mask: Tensor, media: Sequence[Encoded]) -> tuple[DynamicCache, Tensor, Tensor]:
        text = self.model.language_model
        out = text.base_model(
            inputs_embeds=self.model.embed(ids, torch.cat([item.rows for item in media]) if media else None),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=DynamicCache(config=text.config),
            use_cache=True,
        )
        return out.past_key_values, mask.sum(1), out.last_hidden_state

    def run_replies(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        return self.model.language_model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        text = self.model.language_model
        head = cast(torch.nn.Module, text.get_output_embeddings())
        logits = head(hidden).float()
        cap = getattr(text.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def part(self, name: str) -> Sequence[nn.Module]:
        parts = {
            "language": self.model.language_model,
            "audio": self.model.encoder,
            "projector": self.model.projector,
        }
        return [parts[name]] if name in parts else []

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
