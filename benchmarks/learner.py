"""The learner with its shared prefix against a well-written plain step, side by side in one process.

Plain: every reply with its whole prompt and its media in one batch through the family's own forward pass, without a
cache, the output head on reply positions only, one backward pass. Shared: `auscult.train.learner.backward`. Same model,
same replies, same loss, and the same gradients, or the benchmark stops. Times are medians of interleaved pairs; memory
is the peak of a first step.

`cached` is the shared step with frozen encoders, whose output was computed in an earlier step, against one plain step
with frozen encoders. `token_limit` is the ratio of the tokens that the two read, `token_limit_share` how much of it
`ratio` is: more than all where the media, encoded once instead of once a reply, and the smaller attention come on top.

    python benchmarks/learner.py                                   Qwen2-Audio, four shapes
    python benchmarks/learner.py --families all                    the other families too, at one shape
    python benchmarks/learner.py --families gemma3 gemma3n --shapes 250,64,8 750,64,8 --pairs 3
    python benchmarks/learner.py --device cuda --size 3b           random weights, bfloat16

Each row goes to stderr as soon as it is known, all of them to stdout as one JSON line.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
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

Shape = tuple[int, int, int]
"""Media tokens, about; reply tokens; replies to the prompt."""
SHAPES: tuple[Shape, ...] = ((250, 128, 4), (250, 64, 8), (750, 64, 8), (750, 256, 8))
OTHERS: tuple[Shape, ...] = ((250, 64, 8),)
"""For the families beside Qwen2-Audio, unless shapes are asked for."""
CLIP = Objective(name="clip", average="sequence")
WORDING = Wording(instruction=False, choices=False)
FAMILIES: dict[str, dict[str, int]] = {
    "qwen2_audio": {"seconds": 30},
    "qwen2_5_omni": {"window": 200},
    "qwen3_omni": {"window": 800},
    "gemma3": {"image_tokens": 256, "sliding": 512},
    "gemma3n": {"seconds": 30, "sliding": 512},
    "graft": {},
}
"""The sizes that are not a matter of width and depth, as in released checkpoints."""
SIZES: dict[str, dict[str, dict[str, int]]] = {
    "tiny": {family: {} for family in FAMILIES},
    "33m": {
        "qwen2_audio": {"width": 512, "layers": 7},
        "qwen2_5_omni": {"width": 448, "layers": 5},
        "qwen3_omni": {"width": 384, "layers": 5},
        "gemma3": {"width": 512, "layers": 6},
        "gemma3n": {"width": 416, "layers": 6},
        "graft": {"width": 512, "layers": 5, "encoder_width": 512, "encoder_layers": 5},
    },
    "3b": {
        "qwen2_audio": {"width": 2560, "layers": 28},
        "qwen2_5_omni": {"width": 2048, "layers": 26},
        "qwen3_omni": {"width": 2048, "layers": 21},
        "gemma3": {"width": 2560, "layers": 28},
        "gemma3n": {"width": 2048, "layers": 26},
        "graft": {"width": 2560, "layers": 36, "heads": 20, "encoder_width": 1024, "encoder_layers": 12},
    },
}
"""About so many parameters for each family (33m: 26 to 36 million), with the image tower of the Thinkers, which no
prompt here uses; tiny: for tests."""
RATE, LONGEST = 16_000, 480_000
"""Of clips: samples a second, and samples of the longest one; more audio is more clips."""
SAMPLES_PER_TOKEN = {"qwen2_audio": 640, "qwen2_5_omni": 640, "qwen3_omni": 1231, "graft": 1280}
"""The other families make the same number of tokens of every clip or image."""
SAME = {"float32": 1e-5, "bfloat16": 0.5}
"""How far apart gradients may be, relative to their norm. In bfloat16 this catches gross mistakes only, for rounding
hides what a wrong clip changes: what is right is decided in float32."""


def build(family: str, size: str, device: str, precision: str = "auto") -> Listener:
    """A random model of the family."""
    shape = FAMILIES[family] | SIZES[size][family]
    texts = ["What is heard?"]
    if family == "graft":
        graft: Any = importlib.import_module("auscult.models.families.graft").Model
        listener = graft(**shape).build(texts, [], WORDING, 0)
    else:
        listener = importlib.import_module(f"auscult.models.hub.{family}").tiny(texts, [], WORDING, 0, **shape)
    dtype = getattr(torch, known(precision, device))
    torch.nn.Module.to(listener.model, device=device, dtype=dtype).eval()
    return listener


def known(precision: str, device: str) -> Literal["float32", "bfloat16"]:
    """The precision that `auto` stands for."""
    narrow = precision == "bfloat16" or (precision == "auto" and device == "cuda")
    return "bfloat16" if narrow else "float32"


def media(listener: Listener, family: str, tokens: int) -> list[Audio | Image]:
    """Clips or images, all different, that become about so many media tokens."""
    if family in SAMPLES_PER_TOKEN:
        samples = SAMPLES_PER_TOKEN[family] * tokens
        count = -(-samples // LONGEST)
        return [clip(number, samples // count) for number in range(count)]
    processor: Any = getattr(listener, "processor")  # noqa: B009 - only families of transformers' have one
    if "audio" in listener.slots:
        return [clip(number, LONGEST) for number in range(max(1, round(tokens / processor.audio_seq_length)))]
    side = processor.image_processor.size["height"]
    return [
        Image.of(rng(number, "image").integers(0, 256, (side, side, 3)).astype("uint8"))
        for number in range(max(1, round(tokens / processor.image_seq_length)))
    ]


def clip(number: int, samples: int) -> Audio:
    """Noise."""
    return Audio.of((rng(number, "clip").standard_normal(samples) * 0.1).astype(np.float32), RATE)


def lessons(listener: Listener, family: str, tokens: int, reply: int, group: int) -> list[Lesson]:
    """One prompt with about `tokens` media tokens, and `group` replies of `reply` tokens."""
    prompt = listener.prompt(
        Sample("one", (Turn("user", (*media(listener, family, tokens), "What is it?")),), ("noise",))
    )
    made: list[Lesson] = []
    for number in range(group):
        ids = tuple(rng(number, "reply").integers(40, 250, reply).tolist())
        rollout = Rollout(prompt.ids, ids, (-5.5,) * reply, "", "length", "benchmark", Parsed(None, "no_answer"))
        made.append(Lesson(prompt, rollout, 1.0 if number % 2 else -1.0))
    return made


def inputs(listener: Listener, batch: list[Lesson]) -> dict[str, Tensor]:
    """What the family's forward pass takes, once for each reply."""
    device = listener.device
    ids = torch.tensor([[*one.prompt.ids, *one.rollout.reply_ids] for one in batch], device=device)
    given: dict[str, Tensor] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    parts = [part.inputs for one in batch for part in one.prompt.features]
    columns = {name: torch.stack([part[name] for part in parts]).to(device) for name in parts[0]}
    match columns:
        case {"input_features": features, "mask": mask}:
            given |= {"input_features": features, "feature_attention_mask": mask}
        case {"input_features": features}:
            heard = torch.ones(features.shape[:2], dtype=torch.bool, device=device)
            given |= {"input_features": features, "input_features_mask": heard}
        case {"frames": frames}:
            heard = torch.ones(frames.shape[:2], dtype=torch.long, device=device)
            given |= {"input_features": frames.transpose(1, 2), "feature_attention_mask": heard}
        case {"pixel_values": pixels}:
            given |= {"pixel_values": pixels, "token_type_ids": (ids == listener.slots["image"]).long()}
        case {"rows": rows}:
            lengths = torch.full((len(rows),), rows.shape[1], device=device)
            given |= {"features": rows, "feature_lengths": lengths}
        case _:
            raise AssertionError(f"no plain step for {sorted(columns)}: write its inputs here")
    return given


def plain(listener: Listener, batch: list[Lesson], precision: str = "auto") -> None:
    """The step as it is usually written."""
    given = inputs(listener, batch)
    model: Any = listener.model
    with listener.arithmetic(precision):
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


def gradient(listener: Listener) -> Tensor:
    """All gradients of the step just taken as one vector."""
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


def measure(
    listener: Listener, family: str, shape: Shape, pairs: int, precision: str = "auto"
) -> dict[str, float | int | str]:
    """Medians over interleaved pairs, peak memory, and how far the gradients are apart: AssertionError when too far."""
    batch = lessons(listener, family, *shape)
    held = known(precision, listener.device.type)
    options = Train(precision=held)
    prompt, (_, reply, group) = batch[0].prompt, shape

    def shared() -> None:
        backward(listener, batch, CLIP, options)

    def whole() -> None:
        plain(listener, batch, held)

    backward(listener, batch[:1], CLIP, options)  # what is allocated once is not counted
    plain(listener, batch[:1], held)
    plain_mb, expected = peak(listener, whole), gradient(listener)
    shared_mb, found = peak(listener, shared), gradient(listener)
    difference = float((found - expected).norm() / expected.norm())
    assert difference < SAME[held], f"{family} {shape}: gradients differ by {difference:.2g}; the step is wrong"
    del expected, found
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
    ratio, limit = plain_s / shared_s, token_limit(len(prompt.ids), reply, group)
    return {
        "family": family,
        "media_tokens": sum(part.tokens for part in prompt.features),
        "reply_tokens": reply,
        "group": group,
        "plain_s": round(plain_s, 4),
        "shared_s": round(shared_s, 4),
        "ratio": round(ratio, 2),
        "cached_s": round(cached, 4),
        "cached_ratio": round(frozen / cached, 2),
        "token_limit": round(limit, 2),
        "token_limit_share": round(ratio / limit, 2),
        "plain_reply_tokens_per_s": round(group * reply / plain_s),
        "reply_tokens_per_s": round(group * reply / shared_s),
        "plain_mb": round(plain_mb),
        "shared_mb": round(shared_mb),
        "gradient_difference": float(f"{difference:.2g}"),
    }


def token_limit(prompt: int, reply: int, group: int) -> float:
    """How much fewer tokens are read when the prompt is read once: the ratio, were time a matter of tokens alone."""
    return group * (prompt + reply) / (prompt + group * reply)


def shape_of(text: str) -> Shape:
    """`250,64,8` as a shape."""
    tokens, reply, group = (int(part) for part in text.split(","))
    if min(tokens, reply, group) < 1:
        raise ValueError(text)
    return tokens, reply, group


def machine(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say what is measured where."""
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="default: cpu")
    parser.add_argument("--size", default="33m", choices=list(SIZES), help="parameters, about (default: 33m)")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=["auto", *SAME],
        help="of weights and arithmetic (default: bfloat16 on cuda, float32 elsewhere)",
    )


def conditions(options: argparse.Namespace) -> dict[str, str]:
    """What it was measured on, in words, and in which precision."""
    cuda = options.device == "cuda"
    hardware = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} CPU threads"
    return {"hardware": hardware, "precision": known(options.precision, options.device)}


def main() -> None:
    parser = argparse.ArgumentParser(description="learner with shared prefix against the plain step")
    parser.add_argument(
        "--families", nargs="+", default=["qwen2_audio"], choices=[*FAMILIES, "all"], help="default: qwen2_audio"
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=shape_of,
        metavar="MEDIA,REPLY,GROUP",
        help="media tokens, reply tokens, replies (default: four for qwen2_audio, 250,64,8 for the others)",
    )
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs (default: 5)")
    machine(parser)
    options = parser.parse_args()
    rows: list[dict[str, float | int | str]] = []
    parameters: dict[str, int] = {}
    for family in list(FAMILIES) if "all" in options.families else options.families:
        listener = build(family, options.size, options.device, options.precision)
        parameters[family] = sum(p.numel() for p in listener.model.parameters())
        for shape in options.shapes or (SHAPES if family == "qwen2_audio" else OTHERS):
            rows.append(measure(listener, family, shape, options.pairs, options.precision))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "benchmark": "learner",
                **conditions(options),
                "pairs": options.pairs,
                "parameters": parameters,
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
