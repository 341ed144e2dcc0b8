"""The learner with its shared prefix against a well-written plain step, side by side in one process.

Plain: every reply with its whole prompt and its media in one batch through the family's own forward pass, without a
cache, the output head on reply positions only, one backward pass. Shared: `auscult.train.learner.backward`. Same model,
same replies, same loss. The gradients are compared first, then medians of interleaved pairs, then peak memory.

`cached` is the shared step with frozen encoders, whose output was computed in an earlier step.

    python benchmarks/learner.py [--families qwen2_audio gemma3 ...] [--pairs 5]
    python benchmarks/learner.py --families qwen2_audio --device cuda --size 3b    random weights, bfloat16
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auscult.core.seeds import rng
from auscult.core.types import Audio, Image, Parsed, Rollout, Sample, Turn
from auscult.models.listener import Listener
from auscult.models.wording import Wording
from auscult.train import objectives
from auscult.train.algorithm import Objective
from auscult.train.learner import Lesson, backward, token_weights
from auscult.train.options import Train

SHAPES = ((250, 128, 4), (250, 64, 8), (750, 64, 8), (750, 256, 8))
"""Media tokens, reply tokens, replies to a prompt."""
CLIP = Objective(name="clip", average="sequence")
WORDING = Wording(instruction=False, choices=False)
SIZES = {"33m": {"width": 512, "layers": 7}, "3b": {"width": 2560, "layers": 28}}
"""Width and layers of language model and encoder; with Qwen2-Audio 33 million and about 3 billion parameters."""
FRAMES_PER_TOKEN = {"qwen2_audio": 640, "qwen2_5_omni": 640, "qwen3_omni": 1231, "graft": 1280}
"""Samples at 16 kHz that become one audio token."""


def build(family: str, size: str, device: str) -> Listener:
    """A random model of the family."""
    if family == "graft":
        cls = importlib.import_module("auscult.models.families.graft").Model
        shape = {"width": 256, "layers": 6, "encoder_width": 256, "encoder_layers": 4}
        listener = cls(**shape).build(["What is heard?"], [], WORDING, 0)
    else:
        hub = importlib.import_module(f"auscult.models.hub.{family}")
        more = {"seconds": 30} if family == "qwen2_audio" else {}
        listener = hub.tiny(["What is heard?"], [], WORDING, 0, **SIZES[size], **more)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.nn.Module.to(listener.model, device=device, dtype=dtype).eval()
    return listener


def lessons(listener: Listener, family: str, media: int, reply: int, group: int) -> list[Lesson]:
    """One prompt with about `media` media tokens, and `group` replies of `reply` tokens."""
    if "audio" in listener.slots:
        samples = min(FRAMES_PER_TOKEN[family] * media, 480_000)
        what: list[Any] = [Audio.of(rng(0, "clip").standard_normal(samples).astype("float32") * 0.1, 16_000)]
    else:
        draw = rng(0, "image")
        what = [Image.of(draw.integers(0, 256, (56, 56, 3)).astype("uint8")) for _ in range(-(-media // 16))]
    prompt = listener.prompt(Sample("one", (Turn("user", (*what, "What is it?")),), ("noise",)))
    made: list[Lesson] = []
    for number in range(group):
        ids = tuple(rng(number, "reply").integers(40, 250, reply).tolist())
        rollout = Rollout(prompt.ids, ids, (-5.5,) * reply, "", "length", "benchmark", Parsed(None, "no_answer"))
        made.append(Lesson(prompt, rollout, 1.0 if number % 2 else -1.0))
    return made


def inputs(listener: Listener, batch: list[Lesson]) -> dict[str, Tensor]:
    """What the family's forward pass takes, once for each reply."""
    prompt, device, group = batch[0].prompt, listener.device, len(batch)
    ids = torch.tensor([[*one.prompt.ids, *one.rollout.reply_ids] for one in batch], device=device)
    given: dict[str, Tensor] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    made = [part.inputs for part in prompt.features]
    if "input_features" in made[0]:
        given["input_features"] = torch.stack([part["input_features"] for part in made] * group).to(device)
        given["feature_attention_mask"] = torch.stack([part["mask"] for part in made] * group).to(device)
    elif "frames" in made[0]:
        frames = [part["frames"] for part in made] * group
        given["input_features"] = torch.stack(frames).transpose(1, 2).to(device)
        given["feature_attention_mask"] = torch.ones(len(frames), len(frames[0]), dtype=torch.long, device=device)
    elif "pixel_values" in made[0]:
        given["pixel_values"] = torch.stack([part["pixel_values"] for part in made] * group).to(device)
        given["token_type_ids"] = (ids == listener.slots["image"]).long()
    else:
        given["features"] = torch.stack([part["rows"] for part in made] * group).to(device)
        given["feature_lengths"] = torch.tensor([len(part["rows"]) for part in made] * group, device=device)
    return given


def plain(listener: Listener, batch: list[Lesson]) -> None:
    """The step as it is usually written."""
    given = inputs(listener, batch)
    model: Any = listener.model
    with torch.autocast(listener.device.type, torch.bfloat16, enabled=listener.device.type == "cuda"):
        if "features" in given:
            heard = model.hear(given["features"], given["feature_lengths"])
            text = model.language_model
            hidden = text.base_model(inputs_embeds=model.embed(given["input_ids"], heard), use_cache=False)
        else:
            if hasattr(model.model, "rope_deltas"):
                model.model.rope_deltas = None
            hidden = model.model(**given, use_cache=False)
        logits = listener.logits(hidden.last_hidden_state[:, len(batch[0].prompt.ids) - 1 : -1])
    replies = torch.tensor([one.rollout.reply_ids for one in batch], device=listener.device)
    logps = logits.log_softmax(-1).gather(2, replies[..., None])[..., 0]
    tokens = objectives.Tokens(
        logps=logps,
        old=torch.tensor([one.rollout.logps for one in batch], device=listener.device),
        reference=None,
        advantage=torch.tensor([[one.advantage] for one in batch], device=listener.device),
        weight=torch.tensor(token_weights(batch, CLIP), device=listener.device)[:, None].expand_as(logps),
    )
    objectives.loss(tokens, CLIP).backward()


def seconds(listener: Listener, step: Callable[[], object]) -> float:
    """How long one step takes; gradients are cleared first."""
    listener.model.zero_grad(set_to_none=True)
    _wait(listener)
    began = time.perf_counter()
    step()
    _wait(listener)
    return time.perf_counter() - began


def gradient(listener: Listener, step: Callable[[], object]) -> Tensor:
    """All gradients of a step as one vector."""
    seconds(listener, step)
    return torch.cat([p.grad.flatten().float() for p in listener.model.parameters() if p.grad is not None])


def peak(listener: Listener, step: Callable[[], object]) -> float:
    """MiB that a step needs at its peak, gradients included, above what was held before it."""
    listener.model.zero_grad(set_to_none=True)
    if listener.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what the step before has freed goes back, or it would hide this one's
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins at what is resident now
    before = _resident("VmRSS")
    step()
    return (_resident("VmHWM") - before) / 1024


def _resident(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def _wait(listener: Listener) -> None:
    if listener.device.type == "cuda":
        torch.cuda.synchronize()


def measure(listener: Listener, family: str, shape: tuple[int, int, int], pairs: int) -> dict[str, float | int | str]:
    """Medians over interleaved pairs, peak memory, and how far the gradients are apart."""
    batch = lessons(listener, family, *shape)
    options = Train(precision="auto")
    prompt, (_, reply, group) = batch[0].prompt, shape

    def shared() -> None:
        backward(listener, batch, CLIP, options)

    def whole() -> None:
        plain(listener, batch)

    expected, found = gradient(listener, whole), gradient(listener, shared)
    difference = float((found - expected).norm() / expected.norm())
    del expected, found
    plain_mb, shared_mb = peak(listener, whole), peak(listener, shared)
    times = [(seconds(listener, whole), seconds(listener, shared)) for _ in range(pairs)]
    plain_s, shared_s = (statistics.median(column) for column in zip(*times, strict=True))
    encoders = [module for kind in listener.slots for module, _ in listener.stages(kind)]
    for module in encoders:
        module.requires_grad_(False)
    shared()
    frozen, cached = seconds(listener, whole), statistics.median(seconds(listener, shared) for _ in range(pairs))
    for module in encoders:
        module.requires_grad_(True)
    listener.encoded.clear()
    return {
        "family": family,
        "media_tokens": sum(part.tokens for part in prompt.features),
        "reply_tokens": reply,
        "group": group,
        "plain_s": round(plain_s, 4),
        "shared_s": round(shared_s, 4),
        "ratio": round(plain_s / shared_s, 2),
        "cached_s": round(cached, 4),
        "cached_ratio": round(frozen / cached, 2),
        "token_limit": round(group * (len(prompt.ids) + reply) / (len(prompt.ids) + group * reply), 2),
        "reply_tokens_per_s": round(group * reply / shared_s),
        "plain_mb": round(plain_mb),
        "shared_mb": round(shared_mb),
        "gradient_difference": float(f"{difference:.2g}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="learner with shared prefix against the plain step")
    families = ["qwen2_audio", "gemma3", "qwen2_5_omni", "qwen3_omni", "graft"]
    parser.add_argument("--families", nargs="+", default=families[:1], choices=families, help="default: qwen2_audio")
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs (default: 5)")
    parser.add_argument(
        "--device", default="cpu", choices=["cpu", "cuda"], help="cpu (default): float32; cuda: bfloat16"
    )
    parser.add_argument("--size", default="33m", choices=list(SIZES), help="width and layers (default: 33m)")
    options = parser.parse_args()
    rows: list[dict[str, float | int | str]] = []
    parameters: dict[str, int] = {}
    for family in options.families:
        listener = build(family, options.size, options.device)
        parameters[family] = sum(p.numel() for p in listener.model.parameters())
        rows += [measure(listener, family, shape, options.pairs) for shape in SHAPES]
    hardware = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(json.dumps({"benchmark": "learner", "hardware": hardware, "parameters": parameters, "rows": rows}))


if __name__ == "__main__":
    main()
