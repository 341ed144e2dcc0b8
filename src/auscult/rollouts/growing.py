"""A key/value cache with room for the tokens to come.

transformers' own dynamic layer copies all it holds to add one token; with a long prompt, many replies and a token a
pass, decoding then copies more than it computes. Here a layer is written into memory that has room for `ROOM` more
tokens, and copied only when that is full. Nothing is rounded differently: keys and values are the same numbers, and
attention reads them through a view. For passes without a graph only (memory is written in place).

Layers with a sliding window copy no more than their window and stay transformers' own.
"""

from __future__ import annotations

import copy

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from auscult.models.listener import attention_layers

ROOM = 64
"""Tokens between two copies."""


class Growing(DynamicLayer):
    """A layer of keys and values [R, heads, L, D] that are the first L of a longer memory."""

    keys: Tensor
    values: Tensor

    def __init__(self, layer: DynamicLayer, index: Tensor) -> None:
        """Begins with the rows `index` [R] of `layer`, which stays as it is."""
        super().__init__()
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        self._memory = [_roomy(held, index) for held in (layer.keys, layer.values) if held is not None]
        self._view(layer.get_seq_length())

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Appends keys and values [R, heads, T, D]; all there are now."""
        length = self.keys.shape[-2]
        longer = length + key_states.shape[-2]
        if longer > self._memory[0].shape[-2]:
            self._memory = [_roomy(held, None, longer) for held in (self.keys, self.values)]
        for memory, states in zip(self._memory, (key_states, value_states), strict=True):
            memory[:, :, length:longer] = states
        self._view(longer)
        return self.keys, self.values

    def _view(self, length: int) -> None:
        self.keys, self.values = (memory[:, :, :length] for memory in self._memory)


def growing(cache: DynamicCache, index: Tensor) -> DynamicCache:
    """A new cache of the rows `index` [R] of `cache`, which stays as it is, with room to grow."""
    new = copy.copy(cache)
    new.layers = []
    for layer in attention_layers(cache):
        if layer.is_sliding:
            twin = copy.copy(layer)
            twin.keys, twin.values = layer.keys[index], layer.values[index]
        else:
            twin = Growing(layer, index)
        new.layers.append(twin)
    return new


def _roomy(held: Tensor, index: Tensor | None, length: int = 0) -> Tensor:
    """Memory that begins with `held` [R, heads, L, D], or with its rows `index`, and goes on for `ROOM` more."""
    rows, heads, known, width = held.shape
    rows = rows if index is None else len(index)
    memory = held.new_empty(rows, heads, max(length, known) + ROOM, width)
    memory[:, :, :known] = held if index is None else held[index]
    return memory
