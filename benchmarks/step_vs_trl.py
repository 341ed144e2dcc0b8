"""A whole GRPO step against TRL 1.16's: image prompts, the same tiny Gemma 3, the same data and sampling.

Both sides sample G replies to each prompt, score them, and take one optimiser step (per iteration); each runs in its
own process, TRL's Trainer by the clock between its steps, auscult's by `train.loop`'s. Checkpoints are off the clock on
both sides. TRL's model has torch's linear layers, as it has by itself; --our-layers lends it ours, where
`models/linear.py` gains by them. The vision tower is frozen, as it usually is, unless --train-tower. Its rows (images
encoded) and the calls of the image processor are counted by hooks on both sides; memory is the peak of the whole
training above what was held before it.

    python benchmarks/step_vs_trl.py [--group 8] [--prompts 2] [--reply 64] [--iterations 1] [--kl 0] [--steps 6]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from learner import peak, token_limit
from torch import nn

from auscult.core.seeds import rng
from auscult.models.linear import Linear

IMAGE = 224
"""Pixels a side; 1,024 patches of 7 pixels become `TOKENS` media tokens."""
TOKENS = 256
WIDTH, LAYERS = 256, 6
RATE = 1e-5


def question(number: int) -> tuple[np.ndarray, str]:
    """An image and what is asked about it."""
    return rng(number, "image").integers(0, 256, (IMAGE, IMAGE, 3)).astype("uint8"), f"What is in image {number}?"


def build(train_tower: bool) -> Any:
    """The Gemma 3 of both sides, with images of a realistic number of tokens."""
    from auscult.models.hub import gemma3
    from auscult.models.wording import Wording

    wording = Wording(instruction=False, choices=False)
    listener = gemma3.tiny(
        ["What is in image 0 1 2 3 4 5 6 7 8 9?"],
        [],
        wording,
        width=WIDTH,
        layers=LAYERS,
        sliding=512,
        image_tokens=TOKENS,
    )
    model: Any = listener.model
    model.model.vision_tower.requires_grad_(train_tower)
    model.model.multi_modal_projector.requires_grad_(train_tower)
    return listener


def score(completions: list[Any], **_: Any) -> list[float | None]:
    """A reward in which replies of random weights differ: their share of digits."""
    texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
    return [sum(letter.isdigit() for letter in text) / max(1, len(text)) for text in texts]


class Counts:
    """Images through the vision tower, and calls of the image processor."""

    def __init__(self, tower: Any, processor: Any) -> None:
        self.images = self.calls = 0
        self.watch(tower)
        whole = type(processor).__call__

        def counted(this: Any, *arguments: Any, **options: Any) -> Any:
            self.calls += 1
            return whole(this, *arguments, **options)

        type(processor).__call__ = counted

    def watch(self, tower: Any) -> None:
        """Counts the images of another tower too."""
        tower.register_forward_hook(self._tower, with_kwargs=True)

    def _tower(self, module: Any, arguments: Any, options: Any, output: Any) -> None:
        self.images += len(options["pixel_values"] if "pixel_values" in options else arguments[0])


def trl(options: argparse.Namespace) -> dict[str, float]:
    """Seconds and counts a step of TRL's trainer."""
    warnings.simplefilter("ignore")
    from datasets import Dataset
    from PIL import Image
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    listener = build(options.train_tower)
    if not options.our_layers:
        for module in listener.model.modules():
            if type(module) is Linear:
                module.__class__ = nn.Linear
    counts = Counts(listener.model.model.vision_tower, listener.processor.image_processor)
    rows = []
    for number in range(options.prompts * options.steps):
        pixels, text = question(number)
        rows.append({"prompt": [{"role": "user", "content": text}], "image": Image.fromarray(pixels)})
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    size = options.group * options.prompts
    with tempfile.TemporaryDirectory() as folder:
        listener.save(Path(folder) / "start")  # TRL opens the reference where the model says it came from
        listener.model.config._name_or_path = str(Path(folder) / "start")
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=size,
            num_generations=options.group,
            max_completion_length=options.reply,
            num_iterations=options.iterations,
            beta=options.kl,
            learning_rate=RATE,
            temperature=1.0,
            max_steps=options.steps * options.iterations,
            loss_type="grpo",
            scale_rewards="none",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=1000,
            disable_tqdm=True,
            generation_kwargs={"min_new_tokens": options.reply},
        )
        trainer = GRPOTrainer(
            model=listener.model,
            processing_class=listener.processor,
            reward_funcs=score,
            args=config,
            train_dataset=Dataset.from_list(rows),
            callbacks=[Clock()],
        )
        reference = getattr(trainer, "ref_model", None)
        if reference is not None:
            counts.watch(trainer.accelerator.unwrap_model(reference).model.vision_tower)
        peak_mb = peak(listener, trainer.train)
    steps = [after - before for before, after in itertools.pairwise(times)]
    grouped = [sum(steps[i : i + options.iterations]) for i in range(0, len(steps), options.iterations)]
    whole = [value for value in grouped if value][: options.steps - 1]
    return {
        "seconds": statistics.median(whole),
        "mb": peak_mb,
        "images": counts.images / options.steps,
        "processor_calls": counts.calls / options.steps,
    }


def auscult(options: argparse.Namespace) -> dict[str, float]:
    """Seconds and counts a step of auscult's loop."""
    from auscult.core.runs import Run
    from auscult.core.types import Image, Sample, Turn
    from auscult.data.source import Listed
    from auscult.rollouts.local import LocalEngine
    from auscult.train import loop
    from auscult.train.algorithms import grpo
    from auscult.train.options import Train

    listener = build(options.train_tower)
    counts = Counts(listener.model.model.vision_tower, listener.processor.image_processor)
    # Every reply has its full length, as on the other side: no token ends one.
    listener.__dict__["stop_ids"] = frozenset({10**6})
    samples = []
    for number in range(options.prompts * options.steps):
        pixels, text = question(number)
        samples.append(Sample(str(number), (Turn("user", (Image.of(pixels), text)),), ("0",)))
    algorithm = grpo.Algorithm(
        steps=options.steps,
        prompts=options.prompts,
        group=options.group,
        max_tokens=options.reply,
        passes=options.iterations,
        kl=options.kl,
        learning_rate=RATE,
        rewards={f"{__file__}:score": 1.0},
    )
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        start.mkdir()
        with Run.open(Path(folder) / "run", {}, "benchmark") as run:
            stage = loop.Stage(
                run=run,
                algorithm=algorithm,
                options=Train(precision="float32", save_every=10**6, warmup=0),
                start=start,
                load=lambda path: listener,
                engine=LocalEngine,
                samples=Listed(tuple(samples)),
                seed=0,
            )
            peak_mb = peak(
                listener, lambda: loop.train(stage, lambda step, row: times.append(float(str(row["seconds"]))))
            )
    return {
        "seconds": statistics.median(times[1:]),
        "mb": peak_mb,
        "images": counts.images / options.steps,
        "processor_calls": counts.calls / options.steps,
        "prompt_tokens": len(listener.prompt(samples[0]).ids),  # asked last: it calls the processor
    }


def row(options: argparse.Namespace, trl: dict[str, float], auscult: dict[str, float]) -> dict[str, Any]:
    """Both sides beside each other; TRL's is the plain one."""
    ratio = trl["seconds"] / auscult["seconds"]
    limit = token_limit(round(auscult["prompt_tokens"]), options.reply, options.group)
    tokens = options.prompts * options.group * options.reply
    return {
        "family": "gemma3",
        "prompts": options.prompts,
        "media_tokens": TOKENS,
        "reply_tokens": options.reply,
        "group": options.group,
        "iterations": options.iterations,
        "kl": options.kl,
        "train_tower": options.train_tower,
        "our_layers": options.our_layers,
        "plain_s": round(trl["seconds"], 4),
        "shared_s": round(auscult["seconds"], 4),
        "ratio": round(ratio, 2),
        "token_limit": round(limit, 2),
        "token_limit_share": round(ratio / limit, 2),
        "plain_tokens_per_s": round(tokens / trl["seconds"]),
        "tokens_per_s": round(tokens / auscult["seconds"]),
        "plain_mb": round(trl["mb"]),
        "shared_mb": round(auscult["mb"]),
        "plain_images": trl["images"],
        "shared_images": auscult["images"],
        "plain_processor_calls": trl["processor_calls"],
        "shared_processor_calls": auscult["processor_calls"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="a whole GRPO step against TRL's")
    parser.add_argument("--group", type=int, default=8, help="replies to a prompt (default: 8)")
    parser.add_argument("--prompts", type=int, default=2, help="prompts a step (default: 2)")
    parser.add_argument("--reply", type=int, default=64, help="tokens of every reply (default: 64)")
    parser.add_argument("--iterations", type=int, default=1, help="optimiser steps on a batch (default: 1)")
    parser.add_argument("--kl", type=float, default=0.0, help="weight of the divergence from the start (default: 0)")
    parser.add_argument("--steps", type=int, default=6, help="steps measured, the first one left out (default: 6)")
    parser.add_argument("--our-layers", action="store_true", help="lend TRL's model our linear layers")
    parser.add_argument("--train-tower", action="store_true", help="train the vision tower and projector too")
    parser.add_argument("--side", choices=["trl", "auscult"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps({"trl": trl, "auscult": auscult}[options.side](options)))
        return
    found: dict[str, dict[str, float]] = {}
    for side in ("trl", "auscult"):
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
        found[side] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({"benchmark": "step_vs_trl", "trl_version": version("trl"), "rows": [row(options, **found)]}))


if __name__ == "__main__":
    main()
