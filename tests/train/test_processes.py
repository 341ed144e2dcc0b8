"""Several processes against one: the same gradient, the same weights, the same run folder; and nobody waits forever.

Every process here is a real one, over gloo, started as a launcher starts them; all have a time limit.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file

from auscult.core.errors import ConfigError
from auscult.core.runs import read_jsonl
from auscult.core.seeds import rng
from auscult.data.frames import About, writing
from auscult.train import processes

SCRIPT = Path(__file__).with_name("one_of_several.py")
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}


def launch(count: int, *words: object, limit: float = 240, **variables: str) -> list[tuple[int, str]]:
    """Exit code and words of each process; fails when they do not end in `limit` seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **variables}
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, words)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        told = [process.communicate(timeout=limit)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return [(process.returncode, words) for process, words in zip(running, told, strict=True)]


def succeed(*launched: object, **variables: str) -> None:
    for code, told in launch(*launched, **variables):
        assert code == 0, told[-3000:]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> Path:
    """Gradients and weights of the same batches, from one process and from two."""
    folder = tmp_path_factory.mktemp("learnt")
    succeed(1, "checkpoints", folder)
    succeed(1, "gradients", folder)
    succeed(2, "gradients", folder)
    return folder


def distance(one: Path, other: Path) -> float:
    """The worst relative difference of any tensor; small ones are measured against the largest."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    floor = 1e-3 * max(value.norm() for value in first.values())
    return max(float((first[name] - second[name]).norm() / first[name].norm().clamp(min=floor)) for name in first)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["parallel", "sharded"])
def test_two_processes_learn_as_one(learnt, kind):
    """Even and uneven batches, one prompt on two processes, text beside media; then a step of two updates with a
    reference, and one of nothing to learn."""
    found = sorted(learnt.glob(f"{kind} *.json"))
    assert len(found) == len(list(learnt.glob("alone *.json"))) >= 12
    for path in found:
        stem = path.stem.removeprefix(f"{kind} ")
        gradient, weights = (
            distance(learnt / f"alone {stem} {what}.safetensors", learnt / f"{kind} {stem} {what}.safetensors")
            for what in ("gradient", "weights")
        )
        assert gradient < 1e-6, stem
        assert weights < 1e-4, stem  # Adam magnifies the rounding of small gradients
        alone, told = (json.loads((learnt / f"{which} {stem}.json").read_text()) for which in ("alone", kind))
        assert told["held"] == pytest.approx(1.0) if kind == "parallel" else told["held"] < 0.99
        for figure in alone.keys() - {"held"}:
            assert told[figure] == pytest.approx(alone[figure], rel=1e-4, abs=1e-6), (stem, figure)


@pytest.mark.long
@pytest.mark.parametrize("defect", ["left out", "averaged"])
def test_a_gradient_left_out_or_averaged_is_noticed(learnt, defect):
    stem = "graft full even"
    wrong = learnt / f"defect {defect} gradient.safetensors"
    assert distance(learnt / f"alone {stem} gradient.safetensors", wrong) > 0.1


def test_two_processes_pretrain_as_one_and_log_what_both_lost(tmp_path: Path):
    folders = {count: tmp_path / str(count) for count in (1, 2)}
    for count, folder in folders.items():
        draw = rng(0, "frames")
        with writing(folder / "set", About(8, 1.0, "uint8", scale=4 / 255, shift=-2.0)) as writer:
            for name in range(10):
                writer.add(f"clip{name}", draw.integers(60, 180, (int(draw.integers(6, 16)), 8)).astype("uint8"))
        succeed(count, "pretrain", folder)
    assert distance(folders[1] / "end.safetensors", folders[2] / "end.safetensors") < 1e-4
    alone, both = (read_jsonl(folder / "run/metrics.jsonl").rows for folder in folders.values())
    assert len(alone) == len(both) > 3
    for one, other in zip(alone, both, strict=True):
        for name in ("loss", "loss_of_mean", "cosine", "grad_norm"):
            assert other[name] == pytest.approx(one[name], rel=1e-4), name


def trained(start: Path, folder: Path, *legs: tuple[int, int, dict[str, str]], name: str = "grpo") -> Path:
    """A stage of 3 steps in `folder`, each leg on so many processes until it is killed after so many steps."""
    folder.mkdir()
    (folder / "graft").symlink_to(start)
    (folder / "letters.py").write_text(LETTERS)
    for count, stop, variables in legs:
        for code, told in launch(count, "stage", folder, name, 3, stop, **variables):
            assert code == (9 if stop else 0), told[-3000:]
    return folder


LETTERS = """
import random

def letters(sample, rollout):
    return len(set(rollout.text)) / 20 + 0.01 * random.random()
"""


@pytest.mark.long
@pytest.mark.parametrize("legs", [[(2, 2, {}), (1, 0, {})], [(1, 2, {}), (2, 0, ZERO)], [(2, 2, FSDP), (2, 0, {})]])
def test_killed_and_resumed_on_other_processes_it_ends_alike(tmp_path, checkpoint, legs):
    whole = trained(checkpoint, tmp_path / "whole", (1, 0, {}))
    killed = trained(checkpoint, tmp_path / "killed", *legs)
    assert distance(whole / "end.safetensors", killed / "end.safetensors") < 1e-2
    rows, expected = (read_jsonl(folder / "run" / "metrics.jsonl").rows for folder in (killed, whole))
    assert [row["step"] for row in rows] == [0, 1, 2]
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        for key in ("reward/total/mean", "reply_tokens", "media/clips", "samples", "heldout/accuracy"):
            assert row.get(key) == other.get(key), key
    for path in sorted((whole / "run" / "rollouts").iterdir()):
        same = [read_jsonl(folder / "run" / "rollouts" / path.name).rows for folder in (killed, whole)]
        said = [[reply["reply_ids"] for row in rows for reply in row["rollouts"]] for rows in same]
        assert said[0] == said[1]


@pytest.mark.long
def test_two_processes_killed_and_resumed_end_bit_for_bit_alike(tmp_path, checkpoint):
    """One prompt a step, redrawn until it teaches: one of the processes is always idle."""
    whole = trained(checkpoint, tmp_path / "whole", (2, 0, {}), name="dapo")
    killed = trained(checkpoint, tmp_path / "killed", (2, 1, {}), (2, 0, {}), name="dapo")
    one, other = (load_file(folder / "end.safetensors") for folder in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_nobody_waits_for_a_process_that_died(tmp_path):
    (code, told), (died, _) = launch(2, "dies", tmp_path, limit=60)
    assert died == 9
    assert code == 1
    assert "another process stopped" in told


def test_weights_that_came_apart_are_noticed(tmp_path):
    for code, told in launch(2, "apart", tmp_path, limit=60):
        assert code == 1
        assert "the processes hold different weights" in told


def test_a_failure_of_process_0_ends_them_all_with_its_sentence(tmp_path):
    (_, first), (_, second) = launch(2, "refuses", tmp_path, limit=60)
    assert "RunError: the disk is full" in first
    assert "process 0 stopped, and this one with it: the disk is full" in second


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ACCELERATE_USE_CPU": "true", "MASTER_PORT": "29500", "WORLD_SIZE": ""}, "starts one process only"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "4"}, "set 0, 1, 2 or 3"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "add --fsdp_version 2"),
    ],
)
def test_what_is_not_there_is_refused(monkeypatch, variables, words):
    for name, value in {"WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=words):
        processes.join()


def test_one_process_looks_for_leaks_and_the_others_are_told(tmp_path):
    for name, numbers in (("train", (0, 1, 2)), ("benchmark", (1, 3))):
        for number in numbers:
            soundfile.write(tmp_path / f"{number}.wav", 0.1 * rng(number, "guarded").standard_normal(32_000), 8000)
        rows = [{"id": f"{n}", "audio": f"{n}.wav", "question": "What?", "answer": "x"} for n in numbers]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (first, told), (second, heard) = launch(2, "guard", tmp_path)
    assert (first, second) == (0, 0), told + heard
    assert (told, heard) == ("5 1 ['0', '2']\n", "0 1 ['0', '2']\n")
