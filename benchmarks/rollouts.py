"""Rollouts with one prefill a group against transformers' own `generate(num_return_sequences=G)`.

Both draw G replies of the same number of tokens at temperature 1 from the same random-weight Qwen2-Audio; `generate`
gets the processor's inputs and, as it does for any model, repeats prompt and audio G times before the first pass.
Encoder rows are counted on both sides.

    python benchmarks/rollouts.py [--pairs 5] [--media 250 750] [--reply 64] [--group 8]
    python benchmarks/rollouts.py --device cuda --size 3b          random weights, bfloat16
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

import torch
from learner import build, conditions, inputs, known, lessons, machine, peak, seconds, token_limit

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


def measure(
    listener: Listener, media: int, reply: int, group: int, pairs: int, precision: str = "auto"
) -> dict[str, float | int | str]:
    """Medians over interleaved pairs; clips encoded, and memory at its peak, in one call of each."""
    batch = lessons(listener, "qwen2_audio", media, reply, group)
    prompt = batch[0].prompt
    model: Any = listener.model
    given = {name: value[: len(value) // group] for name, value in inputs(listener, batch).items()}
    given["input_ids"] = given["input_ids"][:, : len(prompt.ids)]
    given["attention_mask"] = given["attention_mask"][:, : len(prompt.ids)]
    vars(listener)["stop_ids"] = frozenset({10**6})  # every reply has its full length, on both sides
    engine = LocalEngine(listener, precision=precision)
    drawing: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

    def ours() -> None:
        engine.roll([prompt], group, Sampling(temperature=1.0, max_tokens=reply), 0)

    @torch.no_grad()
    def theirs() -> None:
        with listener.arithmetic(precision):
            model.generate(**given, num_return_sequences=group, max_new_tokens=reply, min_new_tokens=reply, **drawing)

    counted = Counted(model.model.audio_tower)
    clips: list[int] = []
    peaks: list[float] = []
    engine.roll([prompt], 1, Sampling(max_tokens=1), 0)  # what is allocated once is not counted
    for step in (theirs, ours):
        before = counted.clips
        peaks.append(peak(listener, step))
        clips.append(counted.clips - before)
    times = [(seconds(listener, theirs), seconds(listener, ours)) for _ in range(pairs)]
    plain_s, shared_s = (statistics.median(column) for column in zip(*times, strict=True))
    ratio, limit = plain_s / shared_s, token_limit(len(prompt.ids), reply, group)
    return {
        "family": "qwen2_audio",
        "media_tokens": sum(part.tokens for part in prompt.features),
        "reply_tokens": reply,
        "group": group,
        "plain_s": round(plain_s, 4),
        "shared_s": round(shared_s, 4),
        "ratio": round(ratio, 2),
        "token_limit": round(limit, 2),
        "token_limit_share": round(ratio / limit, 2),
        "plain_tokens_per_s": round(group * reply / plain_s),
        "tokens_per_s": round(group * reply / shared_s),
        "plain_clips": clips[0],
        "shared_clips": clips[1],
        "plain_mb": round(peaks[0]),
        "shared_mb": round(peaks[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="rollouts with one prefill a group against generate()")
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs (default: 5)")
    parser.add_argument("--media", type=int, nargs="+", default=[250, 750], help="audio tokens (default: 250 750)")
    parser.add_argument("--reply", type=int, default=64, help="tokens of each reply (default: 64)")
    parser.add_argument("--group", type=int, default=8, help="replies to the prompt (default: 8)")
    machine(parser)
    options = parser.parse_args()
    listener = build("qwen2_audio", options.size, options.device, options.precision)
    held = known(options.precision, options.device)
    rows = [measure(listener, media, options.reply, options.group, options.pairs, held) for media in options.media]
    print(json.dumps({"benchmark": "rollouts", **conditions(options), "pairs": options.pairs, "rows": rows}))


if __name__ == "__main__":
    main()
