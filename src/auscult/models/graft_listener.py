"""The graft as a listener: how its network is put together, opened, prompted, continued and saved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    DynamicCache,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.gemma3 import Gemma3TextConfig
from transformers.utils import SAFE_WEIGHTS_NAME

from auscult.core.errors import ConfigError
from auscult.core.forms import Form, form
from auscult.core.types import Audio, Frames, Image, Media
from auscult.models.adapters import Adapter, plain_state
from auscult.models.base import language_model, tokenizer_of
from auscult.models.graft import GraftConfig, GraftForConditionalGeneration
from auscult.models.graft_shape import RANDOM, Shape
from auscult.models.listener import Encoded, Features, Listener, Step, token_id
from auscult.models.mae import MaeConfig, MaskedAutoencoder, PatchEncoder, near
from auscult.models.mel import RATE, log_mel
from auscult.models.tokens import AUDIO, BOS, PAD, TURN_END, build_tokenizer
from auscult.models.wording import Wording


def build(
    shape: Shape, texts: Iterable[str], tags: Iterable[str], wording: Wording, seed: int, *, copied: bool = True
) -> GraftListener:
    """A new listener. What is random is so by `seed`; without a base its tokenizer is learnt from `texts`, `tags` one
    token each, while a base spells tags as it spells everything. With `copied` a base's weights are to be the
    listener's own, which may learn; without they stay where they are. Raises ConfigError for a base or encoder that is
    none."""
    encoder = None
    if shape.encoder is not None:
        found = encoder_at(shape.encoder)
        Ears.of_encoder(found).refuse_otherwise(shape)
        encoder = MaskedAutoencoder.from_pretrained(found).encoder
    text, tokenizer, language = _language(shape, texts, tags)
    config = GraftConfig(
        text_config=text,
        max_seconds=shape.max_seconds,
        audio_token_id=token_id(tokenizer, AUDIO),
        projector_kind=shape.projector_kind,
        projector_tokens=shape.tokens,
        projector_layers=shape.projector_layers,
        **_hearing(shape, encoder),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GraftForConditionalGeneration(config, language, encoder)
    if language is not None and shape.base is not None:
        model.adopt(language, None if copied else shape.base)
    return GraftListener(model, tokenizer, form(wording.form), wording)


def _language(
    shape: Shape, texts: Iterable[str], tags: Iterable[str]
) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedModel | None]:
    """Config and tokenizer of the language model; and itself, where there is one already."""
    if shape.base is not None:
        language = language_model(shape.base, "model.base", dtype="auto")
        return language.config, tokenizer_of(shape.base), language
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
    return text, tokenizer, None


class Ears(NamedTuple):
    """What an encoder hears, and how large it is."""

    source: str
    """`mel` or `frames`."""
    features: int
    """Values of a row."""
    rate: float | None
    """Rows a second; None where that is not known, or whatever comes is heard."""
    encoder_width: int
    """Its width."""
    encoder_layers: int
    """Its layers."""

    @classmethod
    def of_encoder(cls, folder: Path) -> Ears:
        """Of the pretrained encoder in a folder that `encoder_at` found."""
        config = MaeConfig.from_pretrained(folder)
        return cls(config.source, config.features, config.rate, config.width, config.layers)

    @classmethod
    def of_random(cls, shape: Shape) -> Ears:
        """Of an encoder that is made from nothing."""
        made = shape.random()
        return cls(made["source"], made["features"], None, made["encoder_width"], made["encoder_layers"])

    def refuse_otherwise(self, shape: Shape) -> None:
        """Raises ConfigError for a setting that a pretrained encoder of these ears would not follow."""
        for name in RANDOM:
            said, known = getattr(shape, name), getattr(self, name, None)
            if said is not None and said != known:
                why = "a pretrained encoder has none" if known is None else f"the pretrained encoder has {known}"
                raise ConfigError(f"model.{name} is {said}, but {why}; leave it out, or set null")

    def refuse_unheard(self, media: Media) -> None:
        """Raises ConfigError for media that they do not hear, with what else could be done."""
        if isinstance(media, Frames):
            if self.source not in ("frames", media.kind) or media.values.shape[1] != self.features:
                raise ConfigError(
                    f"this model hears {self.source} of {self.features} values, the sample has {media.kind} of "
                    f"{media.values.shape[1]}; pretrain an encoder on such frames (auscult pretrain) and name it with "
                    "--model.encoder, or set --model.source frames and --model.features for a random one"
                )
            if not near(media.rate, self.rate):
                raise ConfigError(
                    f"this model hears {self.rate:g} frames a second, the sample has {media.rate:g}; give frames like "
                    "those that its encoder was pretrained on"
                )
        elif isinstance(media, Image):
            raise ConfigError("this model hears and does not see, and the sample has an image; take one that sees")
        elif self.source != "mel":
            raise ConfigError(
                f"this model hears feature frames of {self.features} values, and the sample has a recording; give "
                "frames (auscult data frames writes them, auscult ask --frames asks about them), or pretrain an "
                "encoder on recordings (auscult pretrain) and name it with --model.encoder, or train a model with "
                "--model.source mel"
            )


def encoder_at(path: str) -> Path:
    """The folder of the encoder that `auscult pretrain` made in the run folder `path`, or `path` itself. Raises
    ConfigError where there is none."""
    for folder in (Path(path), Path(path) / "encoder"):
        if not (config := folder / "config.json").is_file():
            continue
        try:
            kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
        except (ValueError, AttributeError) as problem:
            raise ConfigError(f"model.encoder: {config} cannot be read ({problem}); pretrain it again") from problem
        if kind == MaeConfig.model_type:
            if not (folder / SAFE_WEIGHTS_NAME).is_file():
                raise ConfigError(f"model.encoder: {folder} has no {SAFE_WEIGHTS_NAME}; pretrain it again")
            return folder
    raise ConfigError(f"model.encoder: {path} is no pretrained encoder; name the run folder of `auscult pretrain`")


def _hearing(shape: Shape, encoder: PatchEncoder | None) -> dict[str, Any]:
    """What is heard, and by what encoder: a pretrained one says so itself."""
    if encoder is None:
        return {**shape.random(), "encoder_heads": 4}
    config = encoder.config
    return {
        "mae": config.to_dict(),
        "source": config.source,
        "features": config.features,
        "encoder_width": config.width,
        "encoder_layers": config.layers,
        "encoder_heads": config.heads,
    }


def load(path: str | Path, wording: Wording, base: str | None = None, **how: Any) -> GraftListener:
    """The listener that `GraftListener.save` wrote to the folder `path`; `base` is where its language model is now, if
    it has one elsewhere."""
    if not (Path(path) / "config.json").is_file():
        raise ConfigError(
            f"{path}: no config.json there; give the folder of a saved listener, for example RUN/sft/model"
        )
    model = GraftForConditionalGeneration.from_pretrained(path, base=base, **{"dtype": torch.float32, **how})
    return GraftListener(model, AutoTokenizer.from_pretrained(path), form(wording.form), wording)


class GraftListener(Listener):
    """Ears grafted on a causal language model (`models/graft.py`)."""

    model: GraftForConditionalGeneration

    def __init__(
        self, model: GraftForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, form: Form, wording: Wording
    ) -> None:
        super().__init__(model, tokenizer, form, wording)
        self.config = cast(GraftConfig, model.config)

    @property
    def ears(self) -> Ears:
        """What it hears."""
        config = self.config
        rate = MaeConfig(**config.mae).rate if config.mae else None
        return Ears(config.source, config.features, rate, config.encoder_width, config.encoder_layers)

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
        self.ears.refuse_unheard(media)
        if isinstance(media, Frames):
            return (self._features(media.sha256, torch.from_numpy(media.values)),)
        config, media = self.config, cast(Audio, media)
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
        return list(encoded.split([self.config.patches(len(row)) for row in rows]))

    def _projected(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        clips = passed or []
        tokens = self.model.projector(torch.cat(clips), [len(clip) for clip in clips])
        return list(tokens.split([item.tokens for item in items]))

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
        text = self.model.language_model
        parts: dict[str, Sequence[nn.Module]] = {
            # The head by itself, so that it is not adapted: tied weights could not be merged.
            "language": [text.base_model, cast(nn.Module, text.get_output_embeddings())],
            "audio": [self.model.encoder],
            "projector": [self.model.projector],
        }
        return parts.get(name, [])

    def save(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Writes encoder, projector, tokenizer and config, the adapter when there is one, and the language model where
        it learnt or has no other place: all that is ours in one folder, which says what it stands on."""
        if not isinstance(self.adapter, Adapter) or self.model.changed:
            return super().save(folder, weights)  # in parts where the language model learnt beside adapted ears
        folder.mkdir(parents=True, exist_ok=True)
        self.config.base = self.config.base or self.adapter.base
        self.adapter.save_layers(folder, self.config.base, weights)
        self.model.save_pretrained(folder, state_dict=plain_state(self.model, weights))
        self.save_processor(folder)
        return None

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
