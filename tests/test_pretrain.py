"""`auscult pretrain` and `auscult probe`, from recordings to what an encoder knows."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auscult.cli import main
from auscult.data.frames import About, FrameSet, writing
from auscult.encoders import labelled

SMALL = shlex.split(
    "--shape.width 16 --shape.layers 1 --shape.heads 2 --shape.decoder_width 8 --shape.decoder_layers 1 "
    "--shape.decoder_heads 2 --pretrain.epochs 2 --pretrain.log_every 1 --device cpu"
)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Class folders: tones, and noises, 12 of each, named as ESC names them."""
    draw = np.random.default_rng(0)
    for label in ("tone", "noise"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for take in range(12):
            time = np.arange(8000) / 16000
            tone = np.sin(2 * np.pi * draw.uniform(300, 3000) * time)
            wave = 0.3 * (tone if label == "tone" else draw.standard_normal(8000) / 3)
            name = f"{take % 2 + 1}-{100 * (label == 'tone') + take}-A.wav"
            soundfile.write(tmp_path / "sounds" / label / name, wave, 16000)
    return tmp_path / "sounds"


def test_from_recordings_to_what_the_encoder_knows(recordings: Path, tmp_path: Path, capsys):
    out = tmp_path / "run"
    words = ["pretrain", str(recordings), "--probe", str(recordings), "--out", str(out), "--json", *SMALL]
    assert main(words) == 0
    first = capsys.readouterr()
    told = json.loads(first.out)
    assert "24 clips" in first.err
    found = told["probe"]
    assert found["clips"] == 24
    assert found["split"] == "folds [1, 2] of the names"
    assert found["linear"]["features"]["accuracy"] > 0.9  # a tone is no noise
    assert {"pretrained", "random", "features", "over_random", "over_features"} == found["linear"].keys()
    each = found["linear"]["random"]["each"]
    assert len(each) == found["random_encoders"] == 8
    assert found["linear"]["random"]["accuracy"] == pytest.approx(sum(each) / 8)
    over = found["linear"]["pretrained"]["accuracy"] - found["linear"]["random"]["accuracy"]
    assert found["linear"]["over_random"]["difference"] == pytest.approx(over)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["epoch"] == 2.0
    assert {"loss", "loss_of_mean", "cosine", "grad_norm", "lr", "seconds"} <= rows[-1].keys()
    assert (out / "done").exists()
    # Again it is finished; its own folder runs it again; and the probe by itself says the same.
    assert main(words) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == told
    assert (told["loss"], told["loss_of_mean"]) == (rows[-1]["loss"], rows[-1]["loss_of_mean"])
    assert "is finished" in again.err
    assert main([word for word in words if word != "--json"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out / 'encoder'}\nof what is hidden it misses {told['loss']:.3g}; saying the mean of")
    assert main(["pretrain", str(out), "--out", str(tmp_path / "second"), "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert {**second["probe"], "encoder": ""} == {**found, "encoder": ""}
    assert (tmp_path / "second/encoder/model.safetensors").read_bytes() == (
        out / "encoder/model.safetensors"
    ).read_bytes()
    assert main(["probe", str(out / "encoder"), str(recordings), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert main(["probe", str(out / "encoder"), str(recordings)]) == 0
    assert "8 random ones of its shape" in capsys.readouterr().out


def test_features_are_the_recordings_in_their_order(recordings: Path, tmp_path: Path):
    assert main(["pretrain", str(recordings), "--out", str(tmp_path / "run"), *SMALL]) == 0
    mels = ["--mels", "64", "--shape.patch_features", "16"]
    assert main(["pretrain", str(recordings), "--out", str(tmp_path / "mels"), *SMALL, *mels]) == 0
    assert FrameSet.open(tmp_path / "mels" / "features").about.features == 64
    frames = FrameSet.open(tmp_path / "run" / "features", check=True)
    assert [frames.id(index) for index in range(len(frames))] == sorted(map(str, recordings.rglob("*.wav")))
    assert frames.about.features == 80
    assert set(np.diff(frames.offsets)) == {50}  # half a second


def test_what_is_left_out_or_silent_is_named_in_the_run_and_on_its_page(recordings: Path, tmp_path: Path, capsys):
    soundfile.write(recordings / "tone" / "1-900-A.wav", np.zeros(8000), 16000)
    soundfile.write(recordings / "tone" / "1-901-A.wav", np.ones(800) / 9, 16000)
    assert main(["pretrain", str(recordings), "--out", str(tmp_path / "run"), *SMALL]) == 0
    printed = capsys.readouterr().err
    said = json.loads((tmp_path / "run" / "data.json").read_text())["said"]
    assert said[0].startswith("pretraining hears 25 of 26 clips, 0.00 hours, 80 features a row")
    short, silent = (str(recordings / "tone" / f"1-90{number}-A.wav") for number in (1, 0))
    assert said[1:] == [
        f"left out, of fewer than 16 rows, too few to hide some of: 1 ({short})",
        f"heard though silent, which teaches nothing: 1 ({silent}); `ignore` leaves them out",
    ]
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(sentence in page and sentence in printed for sentence in said)
    assert FrameSet.open(tmp_path / "run" / "features").silent == (silent,)
    # Whoever takes the frames of that run is told the same, and what was left out when they were written.
    with writing(tmp_path / "set", About(16, 1.0, "uint8")) as writer:
        for name in range(8):
            writer.add(f"c{name}", np.full((10, 16), name, np.uint8))
        writer.drop("torn", "x: record at byte 7", "x", 7)
    assert main(["pretrain", str(tmp_path / "set"), "--out", str(tmp_path / "taken"), *SMALL]) == 0
    said = json.loads((tmp_path / "taken" / "data.json").read_text())["said"]
    assert said[1:] == [f"left out when the frames were written: 1 clips ({tmp_path / 'set' / 'dropped.jsonl'})"]


def test_a_frame_set_is_taken_as_it_is(tmp_path: Path, capsys):
    draw = np.random.default_rng(0)
    with writing(tmp_path / "set", About(16, 1.0, "uint8", scale=4 / 255, shift=-2.0)) as writer:
        for name in range(20):
            writer.add(f"c{name}", draw.integers(0, 255, (10, 16)).astype(np.uint8))
    assert main(["pretrain", str(tmp_path / "set"), "--out", str(tmp_path / "run"), *SMALL]) == 0
    assert "20 clips" in capsys.readouterr().err
    config = json.loads((tmp_path / "run/encoder/config.json").read_text())
    assert (config["source"], config["features"], config["patch_rows"]) == ("frames", 16, 1)
    assert not (tmp_path / "run/features").exists()


def test_log_mel_that_was_written_before_is_recordings(recordings: Path, tmp_path: Path, capsys):
    """With the settings of recordings, to the same weights; and the encoder is probed on recordings."""
    made = tmp_path / "recordings" / "features"
    for data, out in ((recordings, made.parent), (made, tmp_path / "set")):
        words = ["pretrain", str(data), "--probe", str(recordings), "--out", str(out), "--json"]
        assert main([*words, *SMALL, "--pretrain.probe_every", "1"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert {**first["probe"], "encoder": ""} == {**second["probe"], "encoder": ""}
    for name in ("model.safetensors", "config.json"):
        assert (made.parent / "encoder" / name).read_bytes() == (tmp_path / "set/encoder" / name).read_bytes()
    assert json.loads((tmp_path / "set/encoder/config.json").read_text())["source"] == "mel"


def test_clips_of_one_upload_stay_in_one_fold(tmp_path: Path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for take in range(14):
            name = f"{label}{take}.wav"
            soundfile.write(tmp_path / label / name, np.random.default_rng(take).standard_normal(800) / 9, 16000)
    found = labelled(tmp_path, ())
    assert found.split == "5 folds by recording"
    assert set(found.folds) == {0, 1, 2, 3, 4}
    assert all(sum(fold == number for fold in found.folds) >= 4 for number in range(5))
    (tmp_path / "c").mkdir()
    for take in range(12):  # now some names say an upload, so their takes stay together
        soundfile.write(
            tmp_path / "c" / f"1-{take // 3}-{'ABC'[take % 3]}.wav", np.ones(800) / 9 * (take + 1) / 12, 16000
        )
    found = labelled(tmp_path, ())
    by_upload: dict[str, set[int]] = {}
    for clip, fold in zip(found.clips, found.folds, strict=True):
        by_upload.setdefault(clip.group, set()).add(fold)
    assert all(len(folds) == 1 for folds in by_upload.values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name the data"),
        (["{sounds}", "--pretrain.epoch", "3"], "pretrain.epochs"),
        (["{sounds}", "--overwrit"], "--overwrite"),
        (["{sounds}", "--pretrain.ratio", "1.5"], "set a share between 0 and 1"),
        (["{nothing}"], "is no folder; name the folder that holds the recordings (DATA)"),
        (["{sounds}", "--probe", "{nothing}"], "recordings (the folder to probe on)"),
        (["{sounds}", "--pretrain.window", "100"], "set a multiple of patch_rows, 16, of at least 16 rows"),
        (["{sounds}", "--shape.patch_features", "7"], "80 features are no multiple of patch_features, 7"),
        (["{sounds}", "--shape.patch_features", "0", "--pretrain.masking", "frequency"], "take another masking"),
    ],
)
def test_mistakes_are_a_sentence_and_leave_nothing(recordings: Path, tmp_path: Path, capsys, words, said):
    places = {"sounds": str(recordings), "nothing": str(tmp_path / "nothing")}
    out = tmp_path / "run"
    assert main(["pretrain", *(word.format(**places) for word in words), "--out", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_foreign_and_torn_files_are_counted(recordings: Path, tmp_path: Path, capsys):
    (recordings / "notes.txt").write_text("x")
    assert main(["pretrain", str(recordings), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "1 file other than recordings: notes.txt" in said
    assert "for example --ignore '.*' '*.md'" in said
    assert main(["pretrain", str(recordings), "--ignore", "*.txt", "--out", str(tmp_path / "taken"), *SMALL]) == 0
    (recordings / "notes.txt").unlink()
    broken = next(recordings.rglob("*.wav"))
    broken.write_bytes(broken.read_bytes()[:2000])
    assert main(["pretrain", str(recordings), "--out", str(tmp_path / "run")]) == 2
    assert "1 of 24 recordings cannot be used (torn 1)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_is_no_encoder_is_refused(recordings: Path, capsys):
    assert main(["probe", str(recordings), str(recordings)]) == 2
    assert "is no encoder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["pretrain", "probe"])
def test_help_says_the_settings(command: str, capsys):
    assert main([command, "--help"]) == 0
    assert "default" in capsys.readouterr().out
