"""A short name for a model's present weights, so that a rollout can say who made it."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def fingerprint(model: nn.Module, *, whole: bool = False) -> str:
    """16 hex digits of a hash over the trainable parameters, bit for bit (frozen ones cannot have changed); over all
    parameters with `whole`."""
    digest = hashlib.blake2b(digest_size=8)
    for name, parameter in model.named_parameters():
        if whole or parameter.requires_grad:
            digest.update(name.encode())
            # A copy: memory that numpy has seen cannot be given back, and sharding gives back what it put together.
            copied = parameter.detach().clone(memory_format=torch.contiguous_format)
            digest.update(copied.view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()
