"""Pretraining: it learns, and it goes on where it was killed, to the same bits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.core.errors import ConfigError
from auscult.core.runs import Run
from auscult.data.frames import About, FrameSet, writing
from auscult.models.mae_shape import Shape
from auscult.train.checkpoint import newest
from auscult.train.masked import Stage, Training, _restore, train
from auscult.train.pretraining import Pretrain

SHAPE = Shape(width=32, layers=1, heads=2, decoder_width=16, decoder_layers=1, decoder_heads=2)
OPTIONS = Pretrain(epochs=6, batch=8, window=10, learning_rate=3e-3, average=0.9, log_every=3, save_seconds=0.0)


@pytest.fixture
def frames(tmp_path: Path) -> FrameSet:
    """Clips that begin anywhere and rise: what is hidden can be told from what is seen, and where."""
    draw = np.random.default_rng(0)
    with writing(tmp_path / "set", About(8, 1.0, "uint8", scale=4 / 255, shift=-2.0)) as writer:
        for name in range(60):
            level = draw.integers(60, 120, 8)
            rise = 8 * np.arange(int(draw.integers(6, 16)))[:, None]  # which the mean of a few frames does not tell
            writer.add(f"clip{name}", np.clip(level + rise, 0, 255).astype(np.uint8))
    return FrameSet.open(tmp_path / "set")


def stage(run: Run, frames: FrameSet, **changes) -> Stage:
    return replace(
        Stage(
            run=run, frames=frames, source="frames", shape=SHAPE, options=OPTIONS, seed=0, device=torch.device("cpu")
        ),
        **changes,
    )


def weights(model) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def rows(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


class Killed(Exception):
    """What stands for a kill: nothing of the run is asked to clean up."""


def test_it_learns_what_the_mean_of_the_visible_does_not_tell(tmp_path: Path, frames: FrameSet):
    with Run.open(tmp_path / "run", {}, "test") as run:
        train(stage(run, frames, options=replace(OPTIONS, epochs=30, average=0.0)), lambda *_: None)
    found = rows(tmp_path / "run")
    last = {key: np.mean([row[key] for row in found[-5:]]) for key in ("loss", "loss_of_mean", "cosine")}
    assert last["loss"] < 0.5 * last["loss_of_mean"]
    assert last["cosine"] > 0.8


@pytest.mark.parametrize("at", [3, 9, 21])
def test_killed_it_goes_on_to_the_same_bits(tmp_path: Path, frames: FrameSet, at: int):
    with Run.open(tmp_path / "whole", {}, "test") as run:
        whole = train(stage(run, frames), lambda *_: None)

    def kill(step: int, *_: object) -> None:
        if step >= at:
            raise Killed

    with Run.open(tmp_path / "killed", {}, "test") as run, pytest.raises(Killed):
        train(stage(run, frames), kill)
    with Run.open(tmp_path / "killed", {}, "test") as run:
        again = train(stage(run, frames), lambda *_: None)
    assert weights(again) == weights(whole)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore:.*is a no-op:UserWarning")  # of weights; this is about what the optimiser holds
def test_all_that_the_optimiser_remembers_goes_on_where_the_weights_are(tmp_path: Path, frames: FrameSet):
    """torch's fused step reads the count of updates on the device, and does not ask where it is."""
    with Run.open(tmp_path / "run", {}, "test") as run:
        now = Training(train(stage(run, frames, options=replace(OPTIONS, average=0.0)), lambda *_: None), None, None)
    now.model.to("meta")
    now.optimizer = torch.optim.AdamW(now.model.parameters())
    _restore(newest(tmp_path / "run" / "checkpoints")[1], now)
    assert {value.device.type for state in now.optimizer.state.values() for value in state.values()} == {"meta"}


@pytest.mark.parametrize("kind", ["random", "time", "chunk"])
def test_a_clip_of_one_frame_has_nothing_to_hide_and_is_left_out(tmp_path: Path, kind):
    """AudioSet has segments of a second: what all others teach must not end with them."""
    with writing(tmp_path / "set", About(8, 1.0, "uint8")) as writer:
        for name in range(9):
            writer.add(f"clip{name}", np.full((1 if name % 3 else 10, 8), 9 * name, np.uint8))
    with Run.open(tmp_path / "run", {}, "test") as run:
        train(stage(run, FrameSet.open(tmp_path / "set"), options=replace(OPTIONS, masking=kind)), lambda *_: None)
    assert rows(tmp_path / "run")[-1]["epoch"] == OPTIONS.epochs


def test_a_moving_average_is_kept_apart_from_the_weights(tmp_path: Path, frames: FrameSet):
    kept = []
    for average in (0.0, 0.9):
        with Run.open(tmp_path / str(average), {}, "test") as run:
            kept.append(train(stage(run, frames, options=replace(OPTIONS, average=average)), lambda *_: None))
    assert rows(tmp_path / "0.0") == rows(tmp_path / "0.9")  # the average changes no step
    assert weights(kept[0]) != weights(kept[1])


def test_another_seed_is_another_run(tmp_path: Path, frames: FrameSet):
    for seed in (0, 1):
        with Run.open(tmp_path / str(seed), {}, "test") as run:
            train(stage(run, frames, seed=seed, options=replace(OPTIONS, epochs=1)), lambda *_: None)
    assert rows(tmp_path / "0") != rows(tmp_path / "1")


def test_features_stand_around_0_with_deviation_1(tmp_path: Path, frames: FrameSet):
    with Run.open(tmp_path / "run", {}, "test") as run:
        model = train(stage(run, frames, options=replace(OPTIONS, epochs=1, average=0.0)), lambda *_: None)
    values = torch.from_numpy(frames.convert(np.array(frames.frames)))
    scaled = model.encoder.patches(values[None])[0]
    torch.testing.assert_close(scaled.mean(0), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(8), atol=1e-4, rtol=0)


def test_probes_are_asked_after_their_epochs_and_at_the_end(tmp_path: Path, frames: FrameSet):
    asked = []

    def probe(model) -> dict[str, float]:
        asked.append(model)
        return {"probe": 0.5}

    options = replace(OPTIONS, epochs=5, probe_every=2, log_every=1)
    with Run.open(tmp_path / "run", {}, "test") as run:
        train(stage(run, frames, options=options, probe=probe), lambda *_: None)
    assert len(asked) == 3
    assert [row["epoch"] for row in rows(tmp_path / "run") if "probe" in row] == [2.0, 4.0, 5.0]


def test_the_learning_rate_rises_and_falls_to_nothing(tmp_path: Path, frames: FrameSet):
    with Run.open(tmp_path / "run", {}, "test") as run:
        train(stage(run, frames, options=replace(OPTIONS, log_every=1, warmup=0.2)), lambda *_: None)
    rates = [row["lr"] for row in rows(tmp_path / "run")]
    top = rates.index(max(rates))
    assert 2 <= top < len(rates) // 2
    assert rates[top] == pytest.approx(OPTIONS.learning_rate)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.05 * OPTIONS.learning_rate


def test_a_window_that_cuts_a_patch_is_refused(tmp_path: Path, frames: FrameSet):
    with Run.open(tmp_path / "run", {}, "test") as run, pytest.raises(ConfigError, match="multiple of patch_rows, 4"):
        train(stage(run, frames, shape=replace(SHAPE, patch_rows=4)), lambda *_: None)
