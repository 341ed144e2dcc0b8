"""A tokenizer and a chat template from nothing: byte-level BPE learnt from the training texts, no download.

All 256 bytes are in the vocabulary, so every text has tokens and nothing is unknown. The tags of an answer's form are
one token each: they are structure, and a small model should not have to spell them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
TURN, TURN_END = "<start_of_turn>", "<end_of_turn>"
AUDIO = "<audio>"

ROLES = "user\nmodel\nassistant\nsystem\n"
ROLE_WEIGHT = 100
"""Every prompt holds its roles, so they are worth tokens of their own whatever the texts are."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """The special tokens of a family and how it writes a conversation."""

    template: str
    """Jinja, as transformers renders it."""
    pad: str = PAD
    """Padding."""
    bos: str | None = BOS
    """What a text begins with, if anything."""
    end: str = TURN_END
    """What ends a turn, and so a reply."""
    others: tuple[str, ...] = (EOS, TURN)
    """Further special tokens."""
    named: Mapping[str, str] = field(default_factory=dict[str, str])
    """Special tokens that the family's processor asks the tokenizer for by name."""


GEMMA_TURNS = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    f"{TURN}"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ marks[part['type']] }}{% endif %}"
    "{% endfor %}{% endif %}"
    f"{TURN_END}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    f"{TURN}model\n"
    "{% endif %}"
)
"""Turns as the Gemma family writes them."""

CHATML_TURNS = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ marks[part['type']] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "<|im_start|>assistant\n"
    "{% endif %}"
)
"""Turns as the Qwen family writes them."""


def turns(template: str, **marks: str) -> str:
    """A template of turns in which `marks` stand for media by their kind."""
    told = ", ".join(f"'{kind}': '{mark}'" for kind, mark in marks.items())
    return f"{{% set marks = {{{told}}} %}}{template}"


GRAFT = Chat(template=turns(GEMMA_TURNS, audio=AUDIO), others=(EOS, TURN, AUDIO))


def build_tokenizer(
    texts: Iterable[str], tags: Iterable[str] = (), vocabulary: int = 512, chat: Chat = GRAFT
) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `vocabulary` tokens learnt from `texts`; each of `tags` is one token that stays
    visible."""
    first = [chat.pad, *([chat.bos] if chat.bos else []), *chat.others, chat.end]
    special = list(dict.fromkeys([*first, *chat.named.values()]))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(chain([ROLES] * ROLE_WEIGHT, texts), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=chat.pad,
        bos_token=chat.bos,
        eos_token=chat.end,  # a reply ends where its turn ends
        extra_special_tokens=dict(chat.named) or list(chat.others),
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens(sorted(tags))
    tokenizer.chat_template = chat.template
    return tokenizer
