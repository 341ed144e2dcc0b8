"""A key/value cache with room for the tokens to come.

transformers' own layers copy all they hold to add one token; with a long prompt, many replies and a token a pass,
decoding then copies more than it computes. Here keys and values are written into memory that has room for `ROOM` more
tokens, and copied only when that is full. Nothing is rounded differently: they are the same numbers, which attention
reads through a view. For passes without a graph only (memory is written in place).
"""

from __future__ import annotations

import copy
from typing import cast

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from auscult.models.listener import attention_layers

ROOM = 32
"""Tokens between two copies."""


class _Roomy(DynamicLayer):
    """Keys and values [R, heads, L, D] that are a part of a longer memory, from `begin` to `end`."""

    keys: Tensor
    values: Tensor

    def hold(self, layer: DynamicLayer, index: Tensor) -> None:
        """Begins with the rows `index` [R] of `layer`, which stays as it is."""
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        held = (cast(Tensor, layer.keys), cast(Tensor, layer.values))
        self._place([tensor.index_select(0, index) for tensor in held])

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds keys and values [R, heads, T, D] at the end; all there are now."""
        tokens = keys.shape[-2]
        if self.end + tokens > self._memory[0].shape[-2]:
            self._place([self.keys, self.values], tokens)
        for memory, states in zip(self._memory, (keys, values), strict=True):
            memory[:, :, self.end : self.end + tokens] = states
        self.see(self.begin, self.end + tokens)
        return self.keys, self.values

    def see(self, begin: int, end: int) -> None:
        """What is held is the memory from `begin` to `end`."""
        self.begin, self.end = begin, end
        self.keys, self.values = (memory[:, :, begin:end] for memory in self._memory)

    def _place(self, held: list[Tensor], more: int = 0) -> None:
        """Puts `held` at the beginning of a memory with room for `more` tokens, and `ROOM` of them besides."""
        rows, heads, length, width = held[0].shape
        self._memory = [tensor.new_empty(rows, heads, length + more + ROOM, width) for tensor in held]
        for memory, tensor in zip(self._memory, held, strict=True):
            memory[:, :, :length] = tensor
        self.see(0, length)


class Growing(_Roomy):
    """A layer that sees all that was."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        return self.append(key_states, value_states)


class GrowingWindow(_Roomy, DynamicSlidingWindowLayer):
    """A layer that sees the last `sliding_window` tokens: behind each pass one fewer stays held, as in its model."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        self.cumulative_length += key_states.shape[-2]
        seen = self.append(key_states, value_states)
        self.see(max(self.begin, self.end - self.sliding_window + 1), self.end)
        return seen


def growing(cache: DynamicCache, index: Tensor) -> DynamicCache:
    """A new cache of the rows `index` [R] of `cache`, which stays as it is, with room to grow."""
    new = copy.copy(cache)
    new.layers = []
    for layer in attention_layers(cache):
        if isinstance(layer, DynamicSlidingWindowLayer):
            twin = GrowingWindow(layer.sliding_window)
            twin.cumulative_length = layer.cumulative_length
        else:
            twin = Growing()
        twin.hold(layer, index)
        new.layers.append(twin)
    return new
