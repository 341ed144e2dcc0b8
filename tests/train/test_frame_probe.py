"""The probe of a frame set's labels, on written TFRecords whose labels can, or cannot, be heard."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from auscult.cli import main
from auscult.core.errors import DataError
from auscult.core.seeds import rng
from auscult.data import tfrecord
from auscult.data.audioset import Clip, encode
from auscult.data.convert import convert
from auscult.data.frames import About, FrameSet, writing
from auscult.models.mae import MaeConfig, MaskedAutoencoder
from auscult.train import frame_probe
from auscult.train.frame_probe import brief, divide, probe_frames
from auscult.train.probing import mean_average_precision, mean_average_precisions

NAMES = "index,mid,display_name\n" + "".join(f"{n},/m/{n},name {n}\n" for n in range(527))
CPU = torch.device("cpu")
HEARD = (0, 17, 300, 526)
"""The labels that clips have."""


def quiet(*_: object) -> None:
    pass


def written(folder: Path, part: str, count: int, *, planted: bool = True, first: int = 0) -> FrameSet:
    """TFRecords of `count` videos converted: each has one or two labels, which its frames tell where `planted`."""
    directions = rng(0, "directions").normal(0, 25, (len(HEARD), 128))
    records = []
    for number in range(first, first + count):
        draw = rng(number, "video")
        chosen = draw.choice(len(HEARD), size=draw.integers(1, 3), replace=False)
        told = chosen if planted else rng(number, "other").choice(len(HEARD), size=1)
        rows = 128 + directions[told].sum(0) + draw.normal(0, 20, (int(draw.integers(2, 11)), 128))
        labels = tuple(HEARD[place] for place in chosen)
        records.append(encode(Clip(f"vid{number:08d}", 0.0, 10.0, labels, rows.clip(0, 255).astype(np.uint8))))
    (folder / part).mkdir(parents=True)
    (folder / "class_labels_indices.csv").write_text(NAMES)
    tfrecord.write(folder / part / "00.tfrecord", records)
    convert(folder, folder / "sets", only=[part])
    return FrameSet.open(folder / "sets" / part)


@pytest.fixture(scope="module")
def model() -> MaskedAutoencoder:
    torch.manual_seed(0)
    small = {"width": 32, "layers": 1, "heads": 2, "decoder_width": 16, "decoder_layers": 1, "decoder_heads": 2}
    return MaskedAutoencoder(MaeConfig(**small))


def test_labels_that_are_heard_are_found_and_others_are_not(tmp_path: Path, model: MaskedAutoencoder):
    train, test = written(tmp_path / "a", "train", 120), written(tmp_path / "b", "eval", 60, first=500)
    found = probe_frames(model, divide(train, test, 0), 0, CPU, quiet)
    assert found["clips"] == {"learnt": 120, "asked": 60}
    assert found["labels"] == {"all": 527, "asked": 4}
    for probe in ("linear", "knn"):
        for source in ("pretrained", "random", "features"):
            assert found[probe][source]["map"] > 0.9, (probe, source)
        low, high = found[probe]["features"]["interval"]
        assert low <= found[probe]["features"]["map"] <= high
    deaf = (
        written(tmp_path / "c", "train", 120, planted=False),
        written(tmp_path / "d", "eval", 60, planted=False, first=500),
    )
    found = probe_frames(model, divide(*deaf, 0), 0, CPU, quiet)
    assert found["linear"]["pretrained"]["map"] < found["chance"] + 0.2
    assert abs(found["linear"]["over_random"]["difference"]) < 0.2


def test_an_interval_holds_what_is_true_as_often_as_it_says():
    draw = torch.Generator().manual_seed(0)

    def holds() -> bool:
        truth = torch.rand(60, 4, generator=draw) < 0.4
        groups = torch.randperm(60, generator=draw) % frame_probe.GROUPS
        kept = torch.cat([torch.ones(1, 60, dtype=torch.bool), groups != torch.arange(frame_probe.GROUPS)[:, None]])
        one, other = (
            mean_average_precisions(0.7 * truth + torch.randn(60, 4, generator=draw), truth, kept) for _ in range(2)
        )
        low, high = frame_probe._interval(one - other) or (1.0, -1.0)
        return low <= 0 <= high

    assert 0.87 <= sum(holds() for _ in range(150)) / 150 <= 0.99


def test_one_set_is_divided_by_recording(tmp_path: Path, model: MaskedAutoencoder):
    with writing(tmp_path / "set", About(128, 1.0, "uint8", labels=("a", "b"))) as writer:
        for number in range(60):  # three clips of each video, alike, whose labels nothing but the video tells
            rows = rng(number // 3, "video").integers(0, 255, (4, 128)).astype(np.uint8)
            writer.add(f"v{number // 3}", rows, labels=[int(rng(number // 3, "label").integers(0, 2))])
    exam = divide(FrameSet.open(tmp_path / "set"), None, 0)
    assert not set(exam.train.recordings) & set(exam.test.recordings)
    assert (len(exam.train.clips), len(exam.test.clips)) == (48, 12)
    assert brief(model, exam, CPU)["probe/knn"] < 0.9  # neighbours of the same video would tell all


def test_what_cannot_be_asked_or_learnt_is_counted(tmp_path: Path):
    about = About(8, 1.0, "uint8", labels=("a", "b"))
    for name, clips in (("train", range(6)), ("test", range(4, 9))):
        with writing(tmp_path / name, about) as writer:
            for number in clips:
                writer.add(f"v{number}", np.full((2, 8), number, np.uint8), labels=[] if number == 8 else [number % 2])
    exam = divide(FrameSet.open(tmp_path / "train"), FrameSet.open(tmp_path / "test"), 0)
    assert exam.train.recordings == [b"v0", b"v1", b"v2", b"v3"]
    assert exam.test.recordings == [b"v4", b"v5", b"v6", b"v7"]
    assert exam.left_out == {"without_labels": 1, "recordings_that_are_asked_about": 2}
    assert exam.test.targets.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    with pytest.raises(DataError, match="all of its recordings are in"):
        divide(FrameSet.open(tmp_path / "train"), FrameSet.open(tmp_path / "train"), 0)


def test_sets_that_do_not_fit_are_refused(tmp_path: Path, model: MaskedAutoencoder, monkeypatch):
    for name, about in {
        "plain": About(8, 1.0, "uint8"),
        "other": About(8, 1.0, "uint8", labels=("b", "a")),
        "named": About(8, 1.0, "uint8", labels=("a", "b")),
        "quick": About(128, 100.0, "uint8", labels=("a", "b")),
    }.items():
        with writing(tmp_path / name, about) as writer:
            for number in range(10):
                rows = np.full((2, about.features), number, np.uint8)
                writer.add(f"v{number}", rows, labels=[] if name == "plain" else [number % 2])
    plain, other, named, quick = (FrameSet.open(tmp_path / name) for name in ("plain", "other", "named", "quick"))
    with pytest.raises(DataError, match="no clip has labels"):
        divide(plain, None, 0)
    with pytest.raises(DataError, match="other names for labels"):
        divide(named, other, 0)
    with pytest.raises(DataError, match="8 features, and the encoder hears 128"):
        probe_frames(model, divide(named, None, 0), 0, CPU, quiet)
    monkeypatch.setattr(model.config, "rate", 1 / 0.96)
    with pytest.raises(DataError, match=r"100 frames a second, and the encoder hears 1\.04"):
        probe_frames(model, divide(quick, None, 0), 0, CPU, quiet)


def test_a_vector_does_not_depend_on_the_batch(tmp_path: Path):
    config = MaeConfig(features=8, patch_rows=4, patch_features=4, width=16, layers=2, heads=2, decoder_width=8,
                       decoder_layers=1, decoder_heads=2)  # fmt: skip
    torch.manual_seed(0)
    model = MaskedAutoencoder(config)
    model.encoder.mean.fill_(3.0)
    with writing(tmp_path / "set", About(8, 1.0, "float32", labels=("a",))) as writer:
        for number, length in enumerate((9, 1, 30, 4, 17, 8)):
            writer.add(f"v{number}", rng(number).normal(2, 1, (length, 8)).astype(np.float32), labels=[0])
    frames = FrameSet.open(tmp_path / "set")
    side = frame_probe.Side(frames, np.arange(6), 1)
    found = frame_probe._vectors({"pretrained": model.encoder}, side, CPU, quiet)
    for clip in range(6):
        rows = torch.from_numpy(frames.values(clip))[None]
        alone = model.encoder.hear(rows, torch.tensor([rows.shape[1]]))[0][0].mean(0)
        torch.testing.assert_close(found["pretrained"][clip], alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found["features"][clip], rows[0].mean(0), atol=1e-5, rtol=1e-5)


def test_several_choices_of_clips_at_once_are_each_by_itself():
    draw = torch.Generator().manual_seed(0)
    scores = torch.randint(5, (40, 6), generator=draw).float()
    truth = (torch.rand(40, 6, generator=draw) < 0.2).float()
    truth[:, 5] = 0
    truth[1:, 4] = 0  # a label that is lost with one clip
    kept = torch.rand(8, 40, generator=draw) < 0.7
    found = mean_average_precisions(scores, truth, kept)
    for choice, value in zip(kept, found.tolist(), strict=True):
        assert value == pytest.approx(mean_average_precision(scores[choice], truth[choice]))


def test_from_the_command_line(tmp_path: Path, model: MaskedAutoencoder, capsys: pytest.CaptureFixture[str]):
    written(tmp_path / "a", "bal_train", 80)
    written(tmp_path / "b", "eval", 40, first=500)
    model.save_pretrained(tmp_path / "encoder")
    words = ["probe", str(tmp_path / "encoder"), str(tmp_path / "a/sets/bal_train")]
    assert main([*words, "--test", str(tmp_path / "b/sets/eval"), "--json", "--out", str(tmp_path / "told.json")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "told.json").read_text())
    assert told["asked_on"].endswith("eval")
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Learnt on 64 clips, asked about 16 (20% of its recordings), 4 of 527 labels" in said
    assert "The mean frame" in said
    assert main([*words[:2], str(tmp_path), "--test", str(tmp_path / "b/sets/eval")]) == 2
    assert "--test goes with a frame set" in capsys.readouterr().err


SMALL = shlex.split(
    "--shape.width 16 --shape.layers 1 --shape.heads 2 --shape.decoder_width 8 --shape.decoder_layers 1 "
    "--shape.decoder_heads 2 --pretrain.epochs 4 --pretrain.log_every 1 --device cpu"
)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    with writing(tmp_path / "set", About(16, 1.0, "uint8", labels=("a", "b"))) as writer:
        for number in range(40):
            rows = rng(number).integers(0, 99, (10, 16)).astype(np.uint8) + 100 * (number % 2)
            writer.add(f"v{number}", rows.astype(np.uint8), labels=[number % 2])
    return tmp_path / "set"


def logged(run: Path) -> list[float]:
    """After which epochs it was probed, each time by both."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = [row for row in rows if "probe/knn" in row]
    assert all(row["probe/linear"] > 0.6 for row in found)
    return [row["epoch"] for row in found]


def test_while_it_trains_labels_are_asked(frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["pretrain", str(frames), "--probe", str(frames), *SMALL, "--pretrain.probe_every", "2"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "Learnt on 32 clips, asked about 8" in " ".join(capsys.readouterr().out.split())
    assert logged(tmp_path / "run") == [2.0, 4.0]
    assert json.loads((tmp_path / "run/results_probe.json").read_text())["linear"]["pretrained"]["map"] > 0.9
    assert "What it knows meanwhile" in (tmp_path / "run/report.html").read_text()
    plain = [*words[:-2], "--out", str(tmp_path / "plain")]
    assert main(plain) == 0
    weights = [(tmp_path / run / "encoder/model.safetensors").read_bytes() for run in ("run", "plain")]
    assert weights[0] == weights[1]  # asking teaches nothing
    assert logged(tmp_path / "plain") == []


def test_while_it_trains_classes_are_asked(tmp_path: Path):
    for label in ("tone", "noise"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for take in range(10):
            wave = rng(take, label).normal(0, 0.1, 8000)
            wave = np.sin(np.arange(8000) * (0.1 + take / 50)) / 3 if label == "tone" else wave
            soundfile.write(tmp_path / "sounds" / label / f"{label}{take}.wav", wave, 16_000)
    words = ["pretrain", str(tmp_path / "sounds"), "--probe", str(tmp_path / "sounds"), "--out", str(tmp_path / "run")]
    assert main([*words, *SMALL, "--pretrain.probe_every", "4"]) == 0
    assert logged(tmp_path / "run") == [4.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{set}", "--pretrain.probe_every", "1"], "pretrain.probe_every is 1, and nothing says what to probe on"),
        (["{set}", "--probe", "{sounds}"], "an encoder of frames hears none; probe it on frames with labels"),
        (["{sounds}", "--probe", "{set}"], "frames of 16 features, and the encoder hears 80"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_trains(frames: Path, tmp_path: Path, capsys, words, said):
    (tmp_path / "sounds/a").mkdir(parents=True)
    soundfile.write(tmp_path / "sounds/a/one.wav", rng(0).normal(0, 0.1, 8000), 16_000)
    places = {"set": str(frames), "sounds": str(tmp_path / "sounds")}
    assert main(["pretrain", *(word.format(**places) for word in words), "--out", str(tmp_path / "run"), *SMALL]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
