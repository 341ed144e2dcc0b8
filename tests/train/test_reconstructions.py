"""What is drawn of an autoencoder is what it was given, and what it predicted, in their places."""

from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.core.seeds import rng
from auscult.data.frames import About, FrameSet, writing
from auscult.models.mae import MaeConfig, MaskedAutoencoder, pick
from auscult.train import reconstructions
from auscult.train.pretraining import Pretrain
from auscult.train.reconstructions import filled_in, unpatched

SMALL = {"width": 16, "layers": 1, "heads": 2, "decoder_width": 8, "decoder_layers": 1, "decoder_heads": 2}


def autoencoder(normalise: bool = False) -> MaskedAutoencoder:
    torch.manual_seed(0)
    model = MaskedAutoencoder(MaeConfig("mel", 12, 4, 3, normalise=normalise, **SMALL)).eval()
    model.encoder.mean.copy_(torch.arange(12.0))
    model.encoder.deviation.copy_(torch.linspace(0.5, 2.0, 12))
    return model


def test_patches_go_back_where_they_came_from():
    model, rows = autoencoder(), torch.randn(2, 20, 12)
    torch.testing.assert_close(unpatched(model.encoder, model.encoder.patches(rows)), rows)


@pytest.mark.parametrize("normalise", [False, True])
def test_what_was_seen_stays_and_what_was_hidden_is_predicted(normalise: bool):
    model, rows = autoencoder(normalise), 3 * torch.randn(20, 12)
    order = torch.randperm(20)[None]
    filled, (error, of_mean) = filled_in(model, rows, order, 5)
    made = model(rows[None], order, 5)
    found, true = model.encoder.patches(torch.from_numpy(filled)[None]), model.encoder.patches(rows[None])
    torch.testing.assert_close(pick(found, order[:, :5]), pick(true, order[:, :5]), atol=1e-5, rtol=1e-5)
    hidden = model._target(pick(true, order[:, 5:])) if normalise else pick(true, order[:, 5:])
    assert error == pytest.approx((made.predicted - hidden).square().mean().item(), rel=1e-4)
    assert of_mean > 0
    back = pick(found, order[:, 5:])
    if normalise:  # each patch has the mean and, as far as predicted, the deviation that it had
        held = pick(true, order[:, 5:])
        back = (back - held.mean(-1, keepdim=True)) / (held.var(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(back, made.predicted, atol=1e-4, rtol=1e-4)


def test_the_file_says_what_was_seen(tmp_path: Path):
    autoencoder().save_pretrained(tmp_path / "encoder")
    with writing(tmp_path / "set", About(12, 100.0, "float32")) as writer:
        for number, length in enumerate((3, 9, 40, 200, 8, 50, 60, 70)):
            writer.add(f"c{number}", rng(number).normal(0, 1, (length, 12)).astype(np.float32))
    frames, options, cpu = FrameSet.open(tmp_path / "set"), Pretrain(window=50, ratio=0.75), torch.device("cpu")
    path = tmp_path / "reconstructions.npz"
    reconstructions.write(path, tmp_path / "encoder", frames, options, 0, cpu)
    first = path.read_bytes()
    with np.load(path) as found:
        assert len(found["ids"]) == 6
        assert "c0" not in found["ids"]  # shorter than a patch
        for number, name in enumerate(found["ids"]):
            rows = frames.values(int(name[1:]))
            heard, filled, visible = (found[f"{what}-{number}"] for what in ("heard", "filled", "visible"))
            assert heard.shape == filled.shape == (min(len(rows) // 4 * 4, 48), 12)
            np.testing.assert_allclose(heard, rows[: len(heard)], atol=1e-2)
            assert visible.shape == (len(heard) // 4, 4) == tuple(found["sizes"][number])
            assert visible.sum() == max(1, visible.size // 4)
            seen = visible.repeat(4, axis=0).repeat(3, axis=1)
            np.testing.assert_allclose(filled[seen], heard[seen], atol=1e-2)
            assert np.abs(filled - heard)[~seen].mean() > 0.1  # nothing was learnt yet
    reconstructions.write(path, tmp_path / "none", frames, options, 0, cpu)  # it is there
    path.unlink()
    reconstructions.write(path, tmp_path / "encoder", frames, options, 0, cpu)
    assert path.read_bytes() == first
