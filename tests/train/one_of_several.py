"""What one process of several does in `test_processes.py`: `python one_of_several.py WHAT FOLDER`, started once for
each process with RANK and WORLD_SIZE set, or alone. Not a test itself."""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers.utils import logging

from auscult.core.config import Plugin
from auscult.core.errors import RunError
from auscult.core.seeds import rng
from auscult.core.types import Audio, Image, Parsed, Rollout, Sample, Turn
from auscult.data import jsonl
from auscult.data.frames import FrameSet
from auscult.data.leakage import Guard, guarded
from auscult.data.source import Listed
from auscult.models.learning import Lora
from auscult.models.mae_shape import Shape
from auscult.models.wording import Wording
from auscult.rollouts.local import LocalEngine
from auscult.train import loop, masked, processes, sharding
from auscult.train.algorithm import Objective
from auscult.train.algorithms import dapo, grpo, sft
from auscult.train.learner import Learner, Lesson, Reference, backward
from auscult.train.options import Train
from auscult.train.pretraining import Pretrain

FAMILIES = Plugin("family", "auscult.models.families").names()
WORDING = Wording(instruction=False, choices=False)
TEXTS = ["What is it? Listen, look and answer: low tone, click, a heart, 0 1 2 3 4 5 6 7 8 9"]
OBJECTIVE = Objective(name="clip", average="sequence", kl=0.1, passes=2, old="learner")
OPTIONS = Train(learning_rate=1e-3, warmup=0, precision="float32", prompt_batch=1, reply_batch=2, clip_norm=0.01)
BATCHES = {
    # For each prompt whether it has media, and how many replies
    "even": [(True, 2), (True, 2)],
    "three prompts": [(True, 3), (True, 1), (True, 5)],
    "one prompt": [(True, 3)],
    "text beside media": [(True, 2), (False, 3)],
}
WAYS = {
    "full": {"language": "train", "audio": "train", "image": "train", "projector": "train"},
    "adapted": {"language": "adapt", "audio": "freeze", "image": "freeze", "projector": "train"},
}


def opened(family: str, way: str, path: Path):
    cls = importlib.import_module(f"auscult.models.families.{family}").Model
    return cls(**WAYS[way], lora=Lora(rank=4, dropout=0.0)).load(path, WORDING)


def sample(listener, number: int, media: bool) -> Sample:
    draw = rng(number, "processes")
    parts: list = [f"Listen {number}, "]
    if media and "audio" in listener.slots:
        seconds = 0.5 + 0.3 * number
        parts.append(Audio.of(draw.standard_normal(int(16_000 * seconds)).astype("float32") * 0.1, 16_000))
    elif media:
        parts.append(Image.of(draw.integers(0, 256, (30 + 14 * number, 44, 3)).astype("uint8")))
    return Sample(f"s-{number}", (Turn("user", (*parts, "What is it?" * (1 + number))),), ("low",))


def lessons(listener, shapes) -> list[Lesson]:
    made = []
    for number, (media, replies) in enumerate(shapes):
        prompt = listener.prompt(sample(listener, number, media))
        for reply in range(replies):
            ids = tuple(rng(reply, "reply", number).integers(40, 250, 2 + 3 * reply + number).tolist())
            rollout = Rollout(prompt.ids, ids, (-5.0,) * len(ids), "", "length", "test", Parsed(None, "no_answer"))
            made.append(Lesson(prompt, rollout, (-1.0, 0.5, 1.5)[reply % 3]))
    return made


def learn(folder: Path, who: processes.Processes, family: str, way: str, name: str) -> None:
    """Writes the gradient of a batch, and the weights after a step of two updates with a reference."""
    path = folder / family
    listener, then = opened(family, way, path), opened(family, way, path)
    for one in (listener, then):  # the reference is another policy; an adapter begins at zero
        for number, (_, p) in enumerate(item for item in one.model.named_parameters() if item[1].requires_grad):
            noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(number + 1000 * (one is then)))
            p.data += 0.02 * noise
    if who.shard:
        sharding.shard(listener, who.count)
    learner = Learner(listener, OPTIONS, OPTIONS.learning_rate, 10, processes=who)
    reference = Reference.of(listener, then)
    batch = lessons(listener, BATCHES[name])
    listener.model.eval()
    backward(listener, batch, OBJECTIVE, OPTIONS, reference, who)
    who.sum_gradients(learner.parameters.values())
    gradient = {n: sharding.gathered(p.grad).clone() for n, p in learner.parameters.items() if p.grad is not None}
    figures = learner.learn(batch, OBJECTIVE, reference)
    weights = {n: sharding.gathered(p.detach()).clone() for n, p in learner.parameters.items()}
    nothing = [replace(one, advantage=0.0) for one in batch]
    learner.learn(nothing, replace(OBJECTIVE, kl=0.0))
    held = sum(sharding.own(p).numel() for p in learner.parameters.values())
    figures["held"] = held / sum(p.numel() for p in learner.parameters.values())
    if who.rank == 0:
        kind = "alone" if who.count == 1 else "sharded" if who.shard else "parallel"
        stem = f"{kind} {family} {way} {name}"
        save_file({n: g.contiguous() for n, g in gradient.items()}, folder / f"{stem} gradient.safetensors")
        save_file({n: w.contiguous() for n, w in weights.items()}, folder / f"{stem} weights.safetensors")
        (folder / f"{stem}.json").write_text(json.dumps(figures))


def spoil(folder: Path, who: processes.Processes) -> None:
    """The planted defects: one process's gradient left out of the sum, and a mean in its place."""
    for defect in ("left out", "averaged"):
        listener = opened("graft", "full", folder / "graft")
        batch = lessons(listener, BATCHES["even"])
        backward(listener, batch, replace(OBJECTIVE, kl=0.0), OPTIONS, None, who)
        parameters = dict(listener.model.named_parameters())
        for p in parameters.values():
            p.grad = None if defect == "left out" and who.rank else p.grad
        who.sum_gradients(parameters.values())
        share = who.count if defect == "averaged" else 1
        gradient = {n: p.grad / share for n, p in parameters.items() if p.grad is not None}
        if who.rank == 0:
            save_file(gradient, folder / f"defect {defect} gradient.safetensors")


def cases():
    """Everything with the graft, and each other family where it is hardest."""
    yield from (("graft", "full", name) for name in BATCHES)
    for family in (family for family in FAMILIES if family != "graft"):
        yield from ((family, "full", name) for name in ("three prompts", "text beside media"))
    yield "qwen2_audio", "adapted", "three prompts"


def all_gradients(folder: Path, who: processes.Processes) -> None:
    for shard in [False] if who.count == 1 else [False, True]:
        for family, way, name in cases():
            learn(folder, replace(who, shard=shard), family, way, name)
    if who.count > 1:
        spoil(folder, who)


def checkpoints(folder: Path) -> None:
    for family in FAMILIES:
        cls = importlib.import_module(f"auscult.models.families.{family}").Model
        (folder / family).mkdir()
        cls().build(TEXTS, ["<think>", "</think>"], WORDING, 1).save(folder / family)


class Clips:
    size = 5

    def __getitem__(self, index: int) -> Sample:
        wave = rng(index, "loop clip").standard_normal(3200 + 800 * index).astype(np.float32) * 0.1
        turn = Turn("user", (Audio.of(wave, 16_000), "How many sounds?") if index % 2 else ("How many?",))
        return Sample(f"clip-{index}", (turn,), (str(index),), thought="low tone, click")


STAGES = {
    "grpo": partial(grpo.Algorithm, prompts=3, group=3, max_tokens=6, passes=2, kl=0.05),
    "dapo": partial(dapo.Algorithm, prompts=1, group=3, max_tokens=6),
    "sft": partial(sft.Algorithm, prompts=3),
}


def stage(folder: Path, who: processes.Processes, name: str, steps: int, stop: int | None) -> None:
    """Runs a stage in `folder/run`, killed when `stop` steps are done."""
    algorithm = STAGES[name](steps=steps, **({} if name == "sft" else {"rewards": {f"{folder}/letters.py:letters": 1}}))
    with who.open(folder / "run", {"algorithm": name}, "test") as run:
        made = loop.Stage(
            run=run,
            algorithm=algorithm,
            options=Train(learning_rate=1e-3, warmup=2, precision="float32", check_every=2, keep="last"),
            start=folder / "graft",
            load=partial(opened, "graft", "full"),
            engine=partial(LocalEngine, batch=6),
            samples=Clips(),
            seed=3,
            check=lambda listener: float(who.rank == 0),
            processes=who,
        )

        def watch(step: int, row: object) -> None:
            if step + 1 == stop:
                os._exit(9)

        listener = loop.train(made, watch)
    if who.rank == 0:
        save_file(
            {n: p.detach().contiguous() for n, p in listener.model.named_parameters()}, folder / "end.safetensors"
        )


def pretrain(folder: Path, who: processes.Processes) -> None:
    """Pretrains on the frames of `folder/set`; the last batch of an epoch is one window, so process 1 has no share."""
    with who.open(folder / "run", {}, "test") as run:
        model = masked.train(
            masked.Stage(
                run=run,
                frames=FrameSet.open(folder / "set"),
                source="frames",
                shape=Shape(width=32, layers=1, heads=2, decoder_width=16, decoder_layers=1, decoder_heads=2),
                options=Pretrain(epochs=2, batch=3, window=8, learning_rate=1e-3, log_every=2),
                seed=0,
                device=torch.device("cpu"),
                processes=who,
            ),
            lambda *_: None,
        )
    for name, value in model.named_parameters():
        if name.endswith("qkv.bias"):  # a key's has a gradient of rounding only, which Adam magnifies
            value.data.view(3, -1)[1] = 0
    if who.rank == 0:
        save_file({name: p.detach().contiguous() for name, p in model.named_parameters()}, folder / "end.safetensors")


def refuses(who: processes.Processes) -> None:
    """Process 0 cannot do what all wait for."""

    def write() -> None:
        raise RunError("the disk is full; make room")

    who.first(write)


def dies(who: processes.Processes) -> None:
    """Process 1 dies in the middle of an exchange that the others wait in."""
    who.gather("here")
    if who.rank == 1:
        os._exit(9)
    who.sum_gradients([torch.nn.Parameter(torch.zeros(3))])


def guard(folder: Path, who: processes.Processes) -> None:
    """Prints how often this process was told of media that it looked at, and which samples are left to train on."""
    told: list[object] = []
    options = Guard(against=(str(folder / "benchmark.jsonl"),), action="drop")
    train = Listed(tuple(jsonl.read(folder / "train.jsonl")))
    kept, found = guarded(train, options, lambda *said: told.append(said), who.first)
    assert found is not None
    print(len(told), len(found.leaks), [kept[index].id for index in range(kept.size or 0)])


def main(what: str, folder: Path, *more: str) -> None:
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    who = processes.join()
    match what:
        case "gradients":
            all_gradients(folder, who)
        case "stage":
            stage(folder, who, more[0], int(more[1]), int(more[2]) or None)
        case "pretrain":
            pretrain(folder, who)
        case "checkpoints":
            checkpoints(folder)
        case "refuses":
            refuses(who)
        case "guard":
            guard(folder, who)
        case "dies":
            dies(who)
        case "apart":
            who.agree(f"weights of {who.rank}")
    processes.leave()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
