"""A small run folder as `auscult run quickstart` leaves it: three evaluations, two training stages, twenty rollouts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, sync_playwright

from auscult.core.seeds import rng

RATE = 16_000
DIGITS = ("zero", "one", "two", "three", "four")
TASKS = {"Which digit is said?": "digit", "How many knocks are there?": "count", "Which tone is higher?": "pitch"}
GUESSED = {"digit": 0.2, "count": 0.2125, "pitch": 0.225}
"""Accuracy of the best constant guess, by task."""
REPLIES = {
    "right": "<think>The vowel is long and the clip ends in a nasal.</think>\n<answer>{gold}</answer>",
    "wrong": "<think>It sounds short.</think>\n<answer>{other}</answer>",
    "unparsed": "<think>It might be {gold}, or perhaps {other}; let me listen to the beginning once more",
}


def wilson(correct: int, n: int) -> list[float]:
    """95 % Wilson interval."""
    z, p = 1.959964, correct / n
    middle, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    return [round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)]


def share(correct: int, n: int) -> dict[str, Any]:
    return {"n": n, "correct": correct, "accuracy": round(correct / n, 4), "interval": wilson(correct, n)}


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_clip(run: Path, index: int) -> dict[str, Any]:
    """Knocks or a gliding tone, one to three seconds; returns its media row."""
    draw, seconds = rng(0, "clip", index), 1 + index % 3
    time = np.arange(seconds * RATE) / RATE
    knocks = sum(
        np.exp(-40 * np.maximum(time - at, 0)) * (time >= at) for at in draw.uniform(0, seconds, 1 + index % 5)
    )
    tone = np.sin(2 * np.pi * draw.uniform(180, 500) * time * (1 + 0.2 * time))
    file = f"media/{index:064x}.wav"
    (run / "media").mkdir(parents=True, exist_ok=True)
    soundfile.write(run / file, (0.4 * tone * knocks).astype(np.float32), RATE, subtype="PCM_16")
    return {"kind": "audio", "file": file, "seconds": float(seconds)}


def result(label: str, order: int, right: dict[str, int], unparsed: dict[str, int]) -> dict[str, Any]:
    correct, n = sum(right.values()), 80 * len(right)
    return {
        "label": label, "order": order, "form": "think_answer", "scorer": "exact_choice", **share(correct, n),
        "clustered_se": 0.031, "cr2_se": 0.034, "clusters": 120, "unparsed": unparsed,
        "by": {"task": {task: {**share(count, 80), "baselines": {"chance": 0.2, "majority": GUESSED[task]}}
                        for task, count in right.items()}},
        "baselines": {"chance": 0.2, "majority": 0.2125, "shuffled": share(50 + order, n), "silence": share(46, n)},
    }  # fmt: skip


def sft_rows() -> list[dict[str, Any]]:
    draw = rng(0, "sft")
    rows: list[dict[str, Any]] = [
        {"step": step, "loss": 2.1 * np.exp(-step / 30) + 0.18 + draw.normal(0, 0.04), "lr": 2e-4 * (1 - step / 160),
         "grad_norm": 1 + draw.gamma(2, 0.2), "seconds": 0.41, "reply_tokens": 310 + int(draw.integers(40))}
        for step in range(1, 161)
    ]  # fmt: skip
    return rows + [
        {"step": step, "heldout/accuracy": 0.22 + 0.36 * (1 - np.exp(-step / 60))} for step in range(0, 161, 40)
    ]


def grpo_rows() -> list[dict[str, Any]]:
    draw, rows = rng(0, "grpo"), list[dict[str, Any]]()
    for step in range(1, 241):
        choice, form = 0.55 + 0.3 * (1 - np.exp(-step / 90)), 0.8 + 0.19 * (1 - np.exp(-step / 40))
        choice, form = choice + draw.normal(0, 0.05), min(1.0, form + draw.normal(0, 0.03))
        rows.append({
            "step": step, "loss": draw.normal(0, 0.02), "lr": 1e-5, "grad_norm": draw.gamma(3, 0.2), "seconds": 2.7,
            "reward/total/mean": choice + 0.2 * form, "reward/choice/mean": choice, "reward/form/mean": form,
            "reward/choice/std": 0.42 - step / 1200,
            "reward/choice/flat_groups": 0.3 + step / 600 + draw.normal(0, 0.04),
            "agreement/abs_diff": abs(draw.normal(0, 2e-6)), "length/mean": 38 - step / 16 + draw.normal(0, 2),
            "entropy": 0.9 * np.exp(-step / 200) + draw.normal(0, 0.02),
        })  # fmt: skip
    return rows + [
        {"step": step, "heldout/accuracy": 0.57 + 0.25 * (1 - np.exp(-step / 90))} for step in range(0, 241, 40)
    ]


def rollout(run: Path, index: int) -> dict[str, Any]:
    (question, task), kind = list(TASKS.items())[index % 3], ("right", "right", "wrong", "right", "unparsed")[index % 5]
    gold, other = DIGITS[index % 5], DIGITS[(index + 2) % 5]
    choice = float(kind == "right")
    return {
        "id": f"scenes/heldout/{index:05d}", "question": question, "choices": list(DIGITS), "gold": gold,
        "media": [write_clip(run, index)], "reply": REPLIES[kind].format(gold=gold, other=other),
        "prompt": f"<|user|><|audio|>\n{question}\nOptions: {', '.join(DIGITS)}\nThink first.<|end|>\n<|assistant|>",
        "answer": {"right": gold, "wrong": other}.get(kind),
        "problem": "unclosed_thinking" if kind == "unparsed" else None,
        "parts": {"choice": choice, "form": float(kind != "unparsed")}, "total": choice + 0.2 * (kind != "unparsed"),
        "tags": {"task": task, "snr": f"{5 * (index % 4)} dB"},
    }  # fmt: skip


def write_run(run: Path) -> Path:
    """A complete run folder."""
    write_json(run / "environment.json", {
        "command": "auscult run quickstart", "started": "2026-11-20T09:14:03+00:00", "seconds": 742.3,
        "versions": {"auscult": "0.1.0", "python": "3.12.3", "torch": "2.13.0", "transformers": "5.23.0"},
        "git": {"commit": "4f1d2c9a7be05d33aa1c", "dirty": False},
        "hardware": {"cpu": "Intel Xeon Platinum 8481C", "cores": 2, "memory_gib": 7.8, "gpu": None},
    })  # fmt: skip
    (run / "config.yaml").write_text(
        "recipe: quickstart\nseed: 0\nsft:\n  steps: 160\n  lr: 0.0002\n", encoding="utf-8"
    )
    write_json(
        run / "results_start.json", result("start", 0, {"digit": 17, "count": 16, "pitch": 20}, {"no_answer": 61})
    )
    unparsed = {"no_answer": 3, "unclosed_thinking": 5}
    write_json(run / "results_sft.json", result("sft", 1, {"digit": 58, "count": 35, "pitch": 44}, unparsed))
    write_json(
        run / "results_grpo.json", result("grpo", 2, {"digit": 74, "count": 55, "pitch": 68}, {"several_answers": 1})
    )
    write_json(run / "results_comparison.json", [
        {"before": "start", "after": "sft", "n": 240, "difference": 0.35, "interval": [0.27, 0.429], "mcnemar_p": 1e-14,
         "both_right": 38, "only_before": 15, "only_after": 99, "both_wrong": 88},
        {"before": "sft", "after": "grpo", "n": 240, "difference": 0.25, "interval": [0.183, 0.317], "mcnemar_p": 3e-11,
         "both_right": 129, "only_before": 8, "only_after": 68, "both_wrong": 35},
    ])  # fmt: skip
    write_lines(run / "sft" / "metrics.jsonl", sft_rows())
    write_lines(run / "grpo" / "metrics.jsonl", grpo_rows())
    write_lines(run / "rollouts" / "showcase.jsonl", [rollout(run, index) for index in range(20)])
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A complete run folder of the test's own."""
    return write_run(tmp_path / "quickstart")


@pytest.fixture
def edit() -> Callable[[Path, Callable[[Any], None]], None]:
    """Changes a JSON file, or the rows of a JSON lines file, in place."""

    def change(path: Path, how: Callable[[Any], None]) -> None:
        lines = path.suffix == ".jsonl"
        text = path.read_text(encoding="utf-8")
        value = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
        how(value)
        (write_lines if lines else write_json)(path, value)

    return change


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium of the system that looks for nothing on the network."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "no chromium on the PATH: install it (apt-get install chromium) to test the report in a browser"
        if os.environ.get("AUSCULT_REQUIRE_TESTDATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    quiet = "no-sandbox disable-gpu disable-quic no-first-run disable-sync"
    quiet += " disable-background-networking disable-component-update"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=[f"--{flag}" for flag in quiet.split()])
        yield chromium
        chromium.close()
