"""A cache with room holds the very numbers that transformers' own layers hold, and leaves the prefix alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from auscult.core.types import Sampling
from auscult.models.listener import select
from auscult.rollouts import growing as module
from auscult.rollouts.growing import growing
from auscult.rollouts.local import LocalEngine


def prefilled(rows, length, window):
    cache = DynamicCache()
    cache.layers = [DynamicLayer(), DynamicSlidingWindowLayer(window)]
    for layer in range(2):
        cache.update(torch.randn(rows, 2, length, 4), torch.randn(rows, 2, length, 4), layer)
    return cache


@settings(deadline=None, max_examples=40)
@given(
    room=st.integers(1, 5),
    passes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    index=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    leave=st.integers(0, 5),
    window=st.integers(2, 12),
)
def test_it_equals_concatenation_however_it_grows_and_whoever_leaves(room, passes, index, leave, window):
    prefix = prefilled(3, 5, window)
    before = [layer.keys.clone() for layer in prefix.layers]
    index = torch.tensor(index)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROOM", room)
        ours, theirs = growing(prefix, index), select(prefix, index)
        for number, length in enumerate(passes):
            if number == leave:
                ours, theirs = (
                    change(cache, torch.tensor([0])) for change, cache in ((growing, ours), (select, theirs))
                )
            rows = theirs.layers[0].keys.shape[0]
            for layer in range(2):
                states = torch.randn(2, rows, 2, length, 4)
                for one, two in zip(ours.update(*states, layer), theirs.update(*states, layer), strict=True):
                    assert torch.equal(one, two)
                assert ours.layers[layer].get_seq_length() == theirs.layers[layer].get_seq_length()
                assert ours.layers[layer].get_mask_sizes(1) == theirs.layers[layer].get_mask_sizes(1)
                assert torch.equal(ours.layers[layer].values, theirs.layers[layer].values)
    assert all(torch.equal(layer.keys, was) for layer, was in zip(prefix.layers, before, strict=True))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_replies_and_their_log_probabilities_do_not_feel_where_it_is_copied(listener, heard, monkeypatch, temperature):
    prompts = [listener.prompt(heard(n, seconds=s)) for n, s in enumerate((0.2, 1.1))]
    sampling = Sampling(temperature=temperature, max_tokens=12)
    roomy = LocalEngine(listener).roll(prompts, 3, sampling, 0)
    monkeypatch.setattr(module, "ROOM", 1)
    tight = LocalEngine(listener).roll(prompts, 3, sampling, 0)
    assert roomy == tight
