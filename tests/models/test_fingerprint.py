"""A policy's name changes with any bit of its trainable weights, and with nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.models import fingerprint as module
from auscult.models.fingerprint import fingerprint


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(300, 250), torch.nn.Linear(250, 3)).to(dtype)


@settings(deadline=None, max_examples=60)
@given(place=st.integers(0, 300 * 250 - 1), bit=st.integers(0, 31), other=st.integers(0, 300 * 250 - 1))
def test_a_flipped_bit_and_two_numbers_that_change_places_are_seen(place, bit, other):
    model = network()
    before = fingerprint(model)
    with torch.no_grad():
        bits = model[0].weight.view(torch.int32).flatten()
        flipped = bits[place] ^ torch.tensor(1 << bit, dtype=torch.int64).to(torch.int32)
        kept, bits[place] = bits[place].clone(), flipped
        assert fingerprint(model) != before
        bits[place] = kept
        assert fingerprint(model) == before
        if bits[place] != bits[other]:
            bits[[place, other]] = bits[[other, place]]
            assert fingerprint(model) != before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_how_the_sum_is_split_and_what_is_frozen_do_not_count(monkeypatch, dtype):
    model = network(dtype)
    model[1].requires_grad_(False)
    before = fingerprint(model)
    monkeypatch.setattr(module, "AT_ONCE", {"cpu": 7})
    assert fingerprint(model) == before
    with torch.no_grad():
        model[1].weight += 1
    assert fingerprint(model) == before
    assert fingerprint(model, whole=True) != before
    assert fingerprint(network(dtype)[:1]) == fingerprint(model[:1])


def test_a_differing_name_or_shape_is_seen():
    one, other = torch.nn.Linear(4, 2, bias=False), torch.nn.Linear(2, 4, bias=False)
    with torch.no_grad():
        other.weight.copy_(one.weight.reshape(4, 2))
    assert fingerprint(one) != fingerprint(other)
