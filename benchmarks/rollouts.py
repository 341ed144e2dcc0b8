"""Rollouts with one prefill a group against transformers' own `generate(num_return_sequences=G)`.

Both draw G replies of the same number of tokens at temperature 1 from the same random-weight Qwen2-Audio; `generate`
gets the processor's inputs and, as it does for any model, repeats prompt and audio G times before the first pass.
Encoder rows are counted on both sides.

    python benchmarks/rollouts.py [--pairs 5] [--media 250 750] [--reply 64] [--group 8]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from learner import build, inputs, lessons

from auscult.core.types import Sampling
from auscult.models.listener import Listener
from auscult.rollouts.local import LocalEngine


class Counted:
    """Clips through the audio tower."""

    def __init__(self, tower: torch.nn.Module) -> None:
        self.clips = 0
        tower.register_forward_hook(lambda module, given, out: self._add(len(out.last_hidden_state)))

    def _add(self, clips: int) -> None:
        self.clips += clips


def seconds(step: Callable[[], object]) -> float:
    """How long a step takes."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def measure(listener: Listener, media: int, reply: int, group: int, pairs: int) -> dict[str, float | int]:
    """Medians over interleaved pairs, and clips encoded for one call of each."""
    batch = lessons(listener, "qwen2_audio", media, reply, group)
    prompt, model = batch[0].prompt, listener.model
    given = {name: value[:1] for name, value in inputs(listener, batch).items()}
    given["input_ids"] = given["input_ids"][:, : len(prompt.ids)]
    given["attention_mask"] = given["attention_mask"][:, : len(prompt.ids)]
    listener.__dict__["stop_ids"] = frozenset({10**6})  # every reply has its full length, on both sides
    engine = LocalEngine(listener)
    drawing: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

    def ours() -> None:
        engine.roll([prompt], group, Sampling(temperature=1.0, max_tokens=reply), 0)

    @torch.no_grad()
    def theirs() -> None:
        model.generate(**given, num_return_sequences=group, max_new_tokens=reply, min_new_tokens=reply, **drawing)

    counted = Counted(model.model.audio_tower)
    clips = []
    for step in (theirs, ours):
        before = counted.clips
        step()
        clips.append(counted.clips - before)
    times = [(seconds(theirs), seconds(ours)) for _ in range(pairs)]
    plain_s, shared_s = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "media_tokens": prompt.features[0].tokens,
        "reply_tokens": reply,
        "group": group,
        "plain_s": round(plain_s, 4),
        "shared_s": round(shared_s, 4),
        "ratio": round(plain_s / shared_s, 2),
        "tokens_per_s": round(group * reply / shared_s),
        "plain_clips": clips[0],
        "shared_clips": clips[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="rollouts with one prefill a group against generate()")
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs (default: 5)")
    parser.add_argument("--media", type=int, nargs="+", default=[250, 750], help="audio tokens (default: 250 750)")
    parser.add_argument("--reply", type=int, default=64, help="tokens of each reply (default: 64)")
    parser.add_argument("--group", type=int, default=8, help="replies to the prompt (default: 8)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="default: cpu")
    parser.add_argument("--size", default="33m", choices=["33m", "3b"], help="width and layers (default: 33m)")
    options = parser.parse_args()
    listener = build("qwen2_audio", options.size, options.device)
    rows = [measure(listener, media, options.reply, options.group, options.pairs) for media in options.media]
    hardware = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(json.dumps({"benchmark": "rollouts", "family": "qwen2_audio", "hardware": hardware, "rows": rows}))


if __name__ == "__main__":
    main()
