"""Trackers get what metrics.jsonl has; one that is not there is a sentence, and one that fails ends no run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from auscult.cli import main
from auscult.core.runs import read_jsonl
from auscult.trackers import TRACKERS, Tracking, tracking

SMALL = """
    --data.heldout 4 --model.width 32 --model.layers 2 --model.heads 2 --model.encoder_width 32 --model.encoder_layers 1
    --sft.steps 2 --sft.prompts 2 --grpo null --evaluate.max_tokens 4 --evaluate.showcase 1
"""


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What is in a folder of tensorboard's, read by its own reader."""
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_has_the_figures_of_the_metrics_and_of_the_results(tmp_path: Path, capsys):
    command = ["run", "quickstart", "--out", str(tmp_path / "run"), "--json", *SMALL.split()]
    assert main([*command, "--tracker", "tensorboard"]) == 0
    rows = read_jsonl(tmp_path / "run/sft/metrics.jsonl").rows
    found = scalars(tmp_path / "run/tensorboard")
    for name in ("loss", "grad_norm", "reply_tokens"):
        assert found[f"sft/{name}"] == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows]
    assert [step for step, _ in found["results/sft/n"]] == [1]
    assert found["results/sft/n"][0][1] == 4.0
    capsys.readouterr()
    assert main(command) == 0, "a tracker is no part of a run's configuration"


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_a_sentence_before_anything_is_done(
    name, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    assert main(["run", "quickstart", "--out", str(tmp_path / "run"), "--tracker", name, *SMALL.split()]) == 2
    said = capsys.readouterr().err
    assert f"--tracker {name}: the package does not load" in said
    assert f"pip install {name}" in said
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_there_is_not_is_a_sentence(capsys):
    assert main(["run", "quickstart", "--tracker", "mlflow"]) == 2
    assert "tensorboard" in capsys.readouterr().err


def test_a_tracker_that_fails_is_told_of_once_and_left_alone():
    said: list[str] = []
    asked: list[int] = []

    def log(what: str, step: int, figures) -> None:
        asked.append(step)
        raise RuntimeError("no room")

    made = Tracking(lambda: (log, lambda: None), said.append)
    for step in range(3):
        made.log("sft", step, {"loss": 1.0})
    made.close()
    assert asked == [0]
    assert said == ["the tracker failed and is left alone, metrics.jsonl has all figures (no room)"]


def test_only_numbers_are_handed_on():
    told: list[tuple] = []
    made = Tracking(lambda: (lambda *found: told.append(found), lambda: None), print)
    made.log("sft", 3, {"step": 3, "loss": 1, "text": "x", "null": None, "flag": True, "not_finite": ["a"]})
    made.log("sft", 4, {})
    assert told == [("sft", 3, {"loss": 1.0})]


def test_without_a_tracker_nothing_listens(tmp_path: Path):
    heard: list[tuple] = []
    with tracking(None, tmp_path, {}, lambda *found: heard.append(found), print) as (tell, tracker):
        tell("sft", 1, 2, {"loss": 1.0})
    assert tracker is None
    assert heard == [("sft", 1, 2, {"loss": 1.0})]
    assert list(tmp_path.iterdir()) == []


def test_of_several_processes_the_first_one_tracks(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with tracking("wandb", tmp_path, {}, lambda *_: None, print) as (_, tracker):
        assert tracker is None


def test_wandb_offline_keeps_all_on_the_disk(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    said: list[str] = []
    with tracking("wandb", tmp_path, {"seed": 0}, lambda *_: None, said.append) as (tell, tracker):
        for step in range(3):
            tell("sft", step + 1, 3, {"step": step, "loss": 1.0 / (step + 1)})
        assert tracker is not None
        tracker.results({"sft": {"order": 1, "n": 4}})
    assert said == []
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    for name in (b"sft/loss", b"results/sft"):
        assert name in file.read_bytes()
