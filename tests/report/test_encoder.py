"""The page of a pretraining run: its curves, what the encoder knows, and pictures that show what was hidden."""

import base64
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from auscult.cli import main
from auscult.core.errors import RunError
from auscult.core.seeds import rng
from auscult.data.frames import About, writing
from auscult.report.encoder import SHADES, encoder_of
from auscult.report.page import write_page
from auscult.report.reading import figures_of

SMALL = shlex.split(
    "--shape.width 16 --shape.layers 1 --shape.heads 2 --shape.decoder_width 8 --shape.decoder_layers 1 "
    "--shape.decoder_heads 2 --pretrain.epochs 2 --pretrain.log_every 1 --pretrain.batch 8 --device cpu"
)


def accuracy(share: float) -> dict[str, object]:
    return {"accuracy": share, "interval": [share - 0.1, share + 0.1]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished pretraining run: a clip of 8 moments by 6 bands in patches of 4 by 3, its first patch hidden."""
    run = tmp_path / "ears"
    (run / "encoder").mkdir(parents=True)
    (run / "config.yaml").write_text("data: [sounds]\n")
    rows = [{"step": at, "loss": 1.0 - at / 10, "loss_of_mean": 1.1, "cosine": 0.2, "lr": 1e-3} for at in range(5)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    over = {"difference": 0.12, "interval": [0.01, 0.2]}
    told = {"pretrained": accuracy(0.62), "random": accuracy(0.5), "features": accuracy(0.44), "over_random": over}
    probe = {"encoder": "e", "clips": 100, "classes": ["a", "b"], "split": "2 folds", "chance": 0.5}
    (run / "results_probe.json").write_text(json.dumps({**probe, "linear": told, "knn": told}))
    heard = np.arange(48, dtype=np.float16).reshape(8, 6)
    filled, visible = heard.copy(), np.ones((2, 2), dtype=bool)
    visible[0, 0], filled[:4, :3] = False, 47
    clip = {"heard-0": heard, "filled-0": filled, "visible-0": visible, "ids": ["/a/dog/<b>.wav"], "error": [0.25]}
    np.savez(run / "reconstructions.npz", rate=4.0, error_of_mean=[0.5], **clip)
    return run


def pixels(uri: str) -> np.ndarray:
    """RGBA values [features, moments], the first row on top."""
    kind, _, content = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA"))


def test_pictures_show_what_was_hidden_where_it_was(folder: Path):
    found = encoder_of(folder, figures_of(folder).stages)
    assert found is not None
    (picture,) = found.pictures
    assert (picture.name, picture.hidden, picture.seconds) == ("dog/<b>.wav", 0.25, 2.0)
    heard, seen, filled = map(pixels, (picture.heard, picture.seen, picture.filled))
    assert heard.shape == (6, 8, 4)
    opaque = seen[..., 3] == 255
    expected = np.ones((6, 8), dtype=bool)
    expected[3:, :4] = False  # low features at the bottom, the beginning on the left
    assert np.array_equal(opaque, expected)
    assert np.array_equal(heard[opaque], seen[opaque])
    assert np.array_equal(filled[opaque], heard[opaque])
    assert (filled[~opaque][:, :3] == SHADES[-1]).all()
    lightness = heard[..., :3].astype(int).sum(-1)
    assert lightness[-1, 0] == lightness.min()  # the softest is first in time and lowest
    assert lightness[0, -1] == lightness.max()


def test_the_page_says_it_all(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(folder)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    page = (folder / "report.html").read_text()
    for text in (said, page):
        assert "Of what is hidden the autoencoder misses 0.6; saying the mean of what is seen misses 1.1." in text
        assert "62.0%" in text
        assert "taught a linear layer +12.0 points (+1.0 to +20.0, paired)" in text
    assert page.count("data:image/png") == 3
    assert "dog/&lt;b&gt;.wav" in page
    assert "Error on what is hidden" in page
    assert "nats per token" not in page
    assert 'id="accuracy"' not in page
    assert "Error 0.25; of the mean 0.5" in page
    assert main(["report", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["probe"]["clips"] == 100


def test_parts_that_are_not_there_are_not_measured(folder: Path):
    for name in ("reconstructions.npz", "results_probe.json", "metrics.jsonl"):
        (folder / name).unlink()
        page = write_page(folder).read_text()
    assert page.count("not measured") == 4  # the headline too


def test_in_a_recipe_it_is_a_part_of_the_page(folder: Path, tmp_path: Path):
    run = tmp_path / "recipe"
    run.mkdir()
    folder.rename(run / "pretrain")
    (run / "config.yaml").write_text("name: recipe\n")
    (run / "sft").mkdir()
    (run / "sft/metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    page = write_page(run).read_text()
    assert page.count(">Error on what is hidden</h4>") == 1
    assert page.count("data:image/png") == 3
    assert 'id="accuracy"' in page
    assert "nats per token" in page


def test_labels_are_told_as_map(folder: Path):
    told = json.loads((folder / "results_probe.json").read_text())
    told |= {"metric": "mAP", "clips": {"learnt": 80, "asked": 20}, "asked_on": "eval", "chance": 0.01}
    for probe in ("linear", "knn"):
        for source in ("pretrained", "random", "features"):
            told[probe][source] = {"map": 0.1234, "interval": None}
    (folder / "results_probe.json").write_text(json.dumps(told))
    page = write_page(folder).read_text()
    assert "0.1234" in page
    assert "Learnt on 80 clips, asked about 20 (eval); chance 0.0100" in page


@pytest.mark.parametrize("content", [b"", b"no archive", "cut"])
def test_a_torn_file_is_named(folder: Path, content: bytes | str):
    path = folder / "reconstructions.npz"
    path.write_bytes(path.read_bytes()[:300] if isinstance(content, str) else content)
    with pytest.raises(RunError, match=r"reconstructions.npz: cannot be read"):
        write_page(folder)


def test_pretraining_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with writing(tmp_path / "set", About(16, 1.0, "uint8", scale=4 / 255, shift=-2.0)) as writer:
        for name in range(20):
            writer.add(f"c{name}", rng(name).integers(0, 255, (10, 16)).astype(np.uint8))
    assert main(["pretrain", str(tmp_path / "set"), "--out", str(tmp_path / "run"), *SMALL]) == 0
    page = (tmp_path / "run/report.html").read_text()
    assert len(re.findall("data:image/png", page)) == 18
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "What it knows: not measured." in capsys.readouterr().out
    assert (tmp_path / "run/report.html").read_text() == page
