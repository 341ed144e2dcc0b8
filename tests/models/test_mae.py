"""The masked autoencoder: what is hidden stays hidden, places are true ones, and it is the plain computation."""

import importlib.util
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.models import masking
from auscult.models.mae import MaeConfig, MaskedAutoencoder, codes

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("mae_benchmark", ROOT / "benchmarks" / "mae.py")
plain = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(plain)

SHAPE = {"width": 32, "layers": 2, "heads": 2, "decoder_width": 16, "decoder_layers": 2, "decoder_heads": 2}


def tiny(seed: int = 0, **shape) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    model = MaskedAutoencoder(MaeConfig(**{"features": 8, "patch_features": 8, **SHAPE, **shape}))
    with torch.no_grad():
        for parameter in model.parameters():  # no bias at 0, no norm at 1: each must count
            parameter.add_(0.05 * torch.randn(parameter.shape))
        model.encoder.mean.copy_(torch.randn(model.config.features))
        model.encoder.deviation.copy_(torch.rand(model.config.features) + 0.5)
    return model


def clips(rows: int, count: int = 3, features: int = 8) -> torch.Tensor:
    return torch.randn(count, rows, features, generator=torch.Generator().manual_seed(1))


def shown(rows: int, bands: int = 1, count: int = 3) -> torch.Tensor:
    return masking.order("random", count, rows, bands, 1, torch.Generator().manual_seed(2))


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(1, 9), patch_rows=st.integers(1, 4), patch_features=st.sampled_from([2, 4, 8]))
def test_a_patch_holds_its_rectangle(rows, patch_rows, patch_features):
    model = tiny(patch_rows=patch_rows, patch_features=patch_features)
    values = clips(rows)
    found = model.encoder.patches(values)
    bands, columns = model.config.bands, model.config.columns(rows)
    assert found.shape == (3, columns * bands, patch_rows * patch_features)
    scaled = (values - model.encoder.mean) / model.encoder.deviation
    scaled = torch.cat([scaled, torch.zeros(3, columns * patch_rows - rows, 8)], dim=1)
    for place in range(columns * bands):
        column, band = divmod(place, bands)
        part = scaled[:, column * patch_rows :, band * patch_features :][:, :patch_rows, :patch_features]
        assert torch.equal(found[:, place], part.flatten(1))


def test_the_order_of_what_is_seen_changes_nothing_and_its_places_do():
    model = tiny().eval()
    patches = model.encoder.patches(clips(10))
    places = torch.tensor([[1, 4, 7]]).expand(3, -1)
    seen = patches[:, [1, 4, 7]]
    there = model.encoder(seen, places, 10)
    turned = model.encoder(seen[:, [2, 0, 1]], places[:, [2, 0, 1]], 10)
    torch.testing.assert_close(turned, there[:, [2, 0, 1]], atol=1e-5, rtol=0)
    moved = model.encoder(seen, torch.tensor([[1, 5, 7]]).expand(3, -1), 10)
    assert (moved - there).abs().max() > 1e-2


def test_the_code_of_a_place_is_its_own():
    for bands in (1, 5):
        table = codes(40, bands, 32)
        assert torch.cdist(table, table).fill_diagonal_(1.0).min() > 1e-2


def test_nothing_of_what_is_hidden_reaches_a_prediction():
    model = tiny()
    values, order = clips(10), shown(10)
    other = values.clone()
    for clip in range(3):
        other[clip, order[clip, 2:]] += 5.0
    first, second = model(values, order, 2), model(other, order, 2)
    assert torch.equal(first.predicted, second.predicted)
    assert first.loss != second.loss
    swapped = model(values.flip(0), order, 2)  # another clip's visible frames give other predictions
    assert not torch.allclose(first.predicted, swapped.predicted)


def test_every_hidden_patch_counts_alike_and_no_visible_one():
    model = tiny()
    values, order = clips(10), shown(10)
    made = model(values, order, 3)
    hidden = model.encoder.patches(values).gather(1, order[:, 3:, None].expand(-1, -1, 8))
    assert torch.equal(made.target, hidden)
    torch.testing.assert_close(made.loss, (made.predicted - hidden).square().mean())


def test_normalised_targets_have_mean_0_and_deviation_1():
    made = tiny(normalise=True)(clips(10), shown(10), 3)
    torch.testing.assert_close(made.target.mean(-1), torch.zeros(3, 7), atol=1e-6, rtol=0)
    torch.testing.assert_close(made.target.std(-1), torch.ones(3, 7), atol=1e-4, rtol=0)


@pytest.mark.parametrize("visible", [1, 2, 9])
def test_it_is_the_plain_computation(visible):
    ours = tiny()
    with torch.no_grad():
        ours.encoder.mean.zero_()
        ours.encoder.deviation.fill_(1.0)
    theirs = plain.Plain(ours)
    values, order = clips(10), shown(10)
    loss, other = ours(values, order, visible).loss, theirs(values, order, visible)
    torch.testing.assert_close(loss, other, atol=1e-6, rtol=1e-6)
    loss.backward()
    other.backward()
    pairs = [
        (ours.encoder.embed.weight, theirs.embed.weight),
        (ours.encoder.blocks[0].qkv.weight, theirs.blocks[0].qkv.weight),
        (ours.decoder[-1].qkv.weight, theirs.decoder[-1].qkv.weight),
        (ours.decoder[0].down.weight, theirs.decoder[0].down.weight),
        (ours.mask_token, theirs.mask_token),
        (ours.head.bias, theirs.head.bias),
    ]
    for mine, same in pairs:
        assert (mine.grad - same.grad).norm() <= 1e-5 * same.grad.norm()


def test_a_clip_sounds_the_same_beside_a_longer_one():
    model = tiny(patch_rows=2, patch_features=4).eval()
    long, short = clips(12, 1), clips(5, 1)
    alone, _ = model.encoder.hear(short, torch.tensor([5]))
    padded = torch.cat([short, torch.full((1, 7, 8), 9.0)], dim=1)
    padded[:, 5] = model.encoder.mean  # the padding of its last patch
    both, heard = model.encoder.hear(torch.cat([long, padded]), torch.tensor([12, 5]))
    torch.testing.assert_close(both[1][heard[1]], alone[0], atol=1e-5, rtol=0)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    again = MaskedAutoencoder.from_pretrained(tmp_path)
    assert torch.equal(model(clips(10), shown(10), 3).loss, again(clips(10), shown(10), 3).loss)


def test_features_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of patch_features"):
        MaeConfig(features=80, patch_features=128)
