"""The language model that ears are grafted on: any causal one, the language part of one that also sees or hears, or
that of another graft; with its tokenizer.

A model of several parts gives its decoder and its output head, weights in place; its other towers are let go.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers import (
    AddedToken,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from auscult.core.errors import ConfigError
from auscult.models.fetching import fetching
from auscult.models.tokens import AUDIO

PLAIN = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' }}{{ '\n' }}{% endfor %}"
)
"""Turns for a base that never had a conversation and brings no chat template: line after line."""


def located(base: str, folder: str | Path) -> str:
    """Where the base is that a checkpoint in `folder` names: relative to it, absolute, or a hub id."""
    beside = os.path.normpath(Path(folder).absolute() / base)
    return beside if Path(beside).exists() or base.startswith(".") else base


def named(base: str, folder: str | Path) -> str:
    """How a checkpoint in `folder` names it: a folder relative to itself, so that a run can be moved as a whole."""
    return os.path.relpath(base, folder) if Path(base).exists() else base


def config_of(base: str, asked: str) -> PreTrainedConfig:
    """The config of the model in the folder or hub id `base`. Raises as `language_model` does."""
    with _named(base, asked):
        return AutoConfig.from_pretrained(base)


def causal_config(base: str, asked: str) -> PreTrainedConfig:
    """`config_of` a model that is, or has, a causal language model, as its config says: its weights are not looked at.
    Raises ConfigError for any other."""
    config = config_of(base, asked)
    if type(config.get_text_config()) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ConfigError(
            f"{asked}: {base} holds a model of type {config.model_type!r}, which has no causal language model; say "
            "where one is with --model.base (an encoder goes with --model.encoder)"
        )
    return config


def language_model(base: str, asked: str, **how: Any) -> PreTrainedModel:
    """The causal language model in, or of, the folder or hub id `base`; `how` goes to `from_pretrained`, `asked` says
    what wants it. Raises ConfigError when it is not there or has no language model."""
    config = causal_config(base, asked)
    whole = config.get_text_config() is config
    cls = None if whole else getattr(transformers, (config.architectures or [""])[0], None)
    with _named(base, asked):
        model = (cls or AutoModelForCausalLM).from_pretrained(base, **how)
    return model if whole else _language_part(model, base)


@contextmanager
def _named(base: str, asked: str) -> Generator[None]:
    """Says of which base it is that it cannot be opened, and what to do."""
    try:
        with fetching(base, "--model.base"):
            yield
    except (OSError, ValueError) as error:
        gone = base.startswith((".", "/")) and not Path(base).exists()
        why = "is not there; put it there, or" if gone else f"cannot be opened ({str(error).splitlines()[0]});"
        raise ConfigError(
            f"{asked}: the language model {base} {why} say where a causal one is with --model.base"
        ) from error


def _language_part(model: PreTrainedModel, base: str) -> PreTrainedModel:
    """The language model within a model of several parts."""
    decoder = cast(PreTrainedModel, model.get_decoder())
    if decoder.can_generate():  # a graft holds one whole
        return decoder
    try:
        with torch.device("meta"):  # a shell that is given the weights that are there
            whole = AutoModelForCausalLM.from_config(decoder.config)
    except ValueError as error:
        raise ConfigError(f"{base} has no language model that could stand alone; name a causal one") from error
    setattr(whole, whole.base_model_prefix, decoder)
    whole.set_output_embeddings(cast(Any, model.get_output_embeddings()))
    whole.generation_config = model.generation_config
    return whole


def tokenizer_of(base: str) -> PreTrainedTokenizerBase:
    """The base's tokenizer and chat template, with one token more: the mark of a clip. It may lie beyond the
    embeddings, which never see it."""
    with fetching(base, "--model.base"):
        tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([AddedToken(AUDIO, special=True, normalized=False)], special_tokens=True)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # what is padded is masked, so any token will do
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN
    return tokenizer
