"""Peak memory of the learner as the group grows, beside the plain step's: Qwen2-Audio of 33 million parameters.

Replies go through in chunks of `reply_batch`, so the shared step's peak is one prompt pass and one chunk, however many
replies there are; the plain step's grows with them.

    python benchmarks/memory.py [--groups 4 8 16] [--media 750] [--reply 64]
    python benchmarks/memory.py --device cuda --size 3b            random weights, bfloat16
"""

from __future__ import annotations

import argparse
import json

from learner import CLIP, build, conditions, known, lessons, machine, peak, plain

from auscult.train.learner import backward
from auscult.train.options import Train


def main() -> None:
    parser = argparse.ArgumentParser(description="peak memory of the learner as the group grows")
    parser.add_argument("--groups", type=int, nargs="+", default=[4, 8, 16], help="replies (default: 4 8 16)")
    parser.add_argument("--media", type=int, default=750, help="audio tokens (default: 750)")
    parser.add_argument("--reply", type=int, default=64, help="tokens of each reply (default: 64)")
    parser.add_argument("--reply-batch", type=int, default=4, help="replies computed at once (default: 4)")
    machine(parser)
    options = parser.parse_args()
    listener = build("qwen2_audio", options.size, options.device, options.precision)
    held = known(options.precision, options.device)
    train = Train(reply_batch=options.reply_batch, precision=held)
    rows: list[dict[str, float | int | str]] = []
    for group in options.groups:
        batch = lessons(listener, "qwen2_audio", options.media, options.reply, group)
        backward(listener, batch[:1], CLIP, train)  # what is allocated once is not counted
        shared_mb = peak(listener, lambda batch=batch: backward(listener, batch, CLIP, train))
        plain_mb = peak(listener, lambda batch=batch: plain(listener, batch, held))
        rows.append(
            {
                "family": "qwen2_audio",
                "media_tokens": options.media,
                "reply_tokens": options.reply,
                "group": group,
                "plain_mb": round(plain_mb),
                "shared_mb": round(shared_mb),
                "mb_ratio": round(plain_mb / shared_mb, 2),
            }
        )
    told = {"benchmark": "memory", **conditions(options), "reply_batch": options.reply_batch}
    print(json.dumps({**told, "rows": rows}))


if __name__ == "__main__":
    main()
