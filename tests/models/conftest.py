"""Fixtures of the models' tests."""

import pytest
import torch


@pytest.fixture
def moved():
    """Makes a listener's learning weights others, as if it had been trained, and hands it back."""

    def move(listener):
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in listener.model.parameters():
                if p.requires_grad:
                    p.add_(torch.randn(p.shape, generator=generator) * 0.05)
        return listener

    return move
