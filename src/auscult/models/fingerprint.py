"""A short name for a model's present weights, so that a rollout can say who made it.

Every batch of rollouts asks for it, so it is computed where the weights are: their bits, taken as integers, are
multiplied by fixed odd numbers and summed modulo 2^64. Integers round nothing, so the name is the same on every device
and however the sum is split. It tells policies apart; it does not withstand somebody who wants two to look alike."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor, nn

PIECE = 1 << 16
"""Numbers that are summed at once: a processor keeps so many at hand."""
AT_ONCE = {"cpu": 1, "cuda": 256}
"""Pieces that a device takes at once; changes no sum."""
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""The integer of as many bytes."""
GOLDEN, MIX = -7046029254386353131, -4658895280553007687
"""2^64 over the golden ratio and a multiplier of splitmix64, as signed numbers."""


def fingerprint(model: nn.Module, *, whole: bool = False) -> str:
    """16 hex digits of a hash over the trainable parameters, bit for bit (frozen ones cannot have changed); over all
    parameters with `whole`."""
    named = [(name, p.detach()) for name, p in model.named_parameters() if whole or p.requires_grad]
    sums = [total for _, p in named for total in _sums(p)]  # asked for all, then waited for
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr([(name, tuple(p.shape), str(p.dtype)) for name, p in named]).encode())
    digest.update(repr([one for total in sums for one in total.tolist()]).encode())
    return digest.hexdigest()


def _sums(parameter: Tensor) -> list[Tensor]:
    """The sums of the pieces of a parameter, in order; the last piece may be short."""
    bits = parameter.contiguous().flatten().view(INTEGERS[parameter.element_size()])
    multipliers = _multipliers(bits.device)
    full = len(bits) // PIECE * PIECE
    blocks = bits[:full].view(-1, PIECE).split(AT_ONCE.get(bits.device.type, 1))
    sums = [(block.long() * multipliers).sum(1) for block in blocks if len(block)]
    rest = bits[full:]
    return [*sums, (rest.long() * multipliers[: len(rest)]).sum(0, keepdim=True)]


@lru_cache(maxsize=8)
def _multipliers(device: torch.device) -> Tensor:
    """[PIECE] odd numbers without a pattern that a change of weights could cancel."""
    mixed = torch.arange(1, PIECE + 1, device=device) * GOLDEN
    mixed = (mixed ^ (mixed >> 29)) * MIX
    return (mixed ^ (mixed >> 32)) | 1
