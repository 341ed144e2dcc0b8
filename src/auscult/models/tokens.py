"""A tokenizer and a chat template from nothing: byte-level BPE learnt from the training texts, no download.

All 256 bytes are in the vocabulary, so every text has tokens and nothing is unknown. The tags of an answer's form are
one token each: they are structure, and a small model should not have to spell them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
TURN, TURN_END = "<start_of_turn>", "<end_of_turn>"
AUDIO = "<audio>"

ROLES = "user\nmodel\nsystem\n"
ROLE_WEIGHT = 100
"""Every prompt holds its roles, so they are worth tokens of their own whatever the texts are."""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    f"{TURN}"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{{ message['content'] }}"
    f"{TURN_END}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    f"{TURN}model\n"
    "{% endif %}"
)


def build_tokenizer(texts: Iterable[str], tags: Iterable[str] = (), vocabulary: int = 512) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `vocabulary` tokens learnt from `texts`; each of `tags` is one token that stays
    visible."""
    special = [PAD, BOS, EOS, TURN, TURN_END, AUDIO]
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
        pad_token=PAD,
        bos_token=BOS,
        eos_token=TURN_END,  # a reply ends where its turn ends
        extra_special_tokens=[EOS, TURN, AUDIO],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens(sorted(tags))
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
