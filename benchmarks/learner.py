"""The learner with its shared prefix against a well-written plain step, side by side in one process.

Plain: every reply with its whole prompt and its media in one batch, the output head on reply positions only, one
backward pass. Shared: `auscult.train.learner.backward`. Same model, same replies, same loss; the medians of
interleaved pairs are compared, and the gradients of the two are compared first.

    python benchmarks/learner.py [--pairs 5] [--width 256]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from auscult.core.seeds import rng
from auscult.core.types import Audio, Parsed, Rollout, Sample, Turn
from auscult.models.families.graft import Model
from auscult.models.graft_listener import GraftListener
from auscult.models.wording import Wording
from auscult.train import objectives
from auscult.train.algorithm import Objective
from auscult.train.learner import Lesson, backward, token_weights
from auscult.train.options import Train

SHAPES = ((250, 128, 4), (250, 64, 8), (750, 64, 8), (750, 256, 8))
"""Audio tokens, reply tokens, replies to a prompt."""
TOKENS_PER_SECOND = 25
CLIP = Objective(name="clip")


def lessons(listener: GraftListener, audio: int, reply: int, group: int) -> list[Lesson]:
    """One prompt with `audio` tokens of audio, and `group` replies of `reply` tokens."""
    wave = rng(0, "clip").standard_normal(16_000 * audio // TOKENS_PER_SECOND).astype("float32") * 0.1
    prompt = listener.prompt(Sample("clip", (Turn("user", (Audio.of(wave, 16_000), "What is heard?")),), ("noise",)))
    made: list[Lesson] = []
    for number in range(group):
        ids = tuple(rng(number, "reply").integers(10, 250, reply).tolist())
        rollout = Rollout(prompt.ids, ids, (-5.5,) * reply, "", "length", "benchmark", Parsed(None, "no_answer"))
        made.append(Lesson(prompt, rollout, 1.0 if number % 2 else -1.0))
    return made


def plain(listener: GraftListener, batch: list[Lesson]) -> None:
    """The step as it is usually written."""
    prompt, replies = batch[0].prompt, torch.tensor([lesson.rollout.reply_ids for lesson in batch])
    ids = torch.cat([torch.tensor([prompt.ids] * len(batch)), replies], dim=1)
    features = torch.stack([prompt.features[0].inputs["rows"]] * len(batch))
    heard = listener.model.hear(features, torch.full((len(batch),), features.shape[1]))
    text = listener.model.language_model
    hidden = text.base_model(inputs_embeds=listener.model.embed(ids, heard), use_cache=False).last_hidden_state
    logits = listener.logits(hidden[:, len(prompt.ids) - 1 : -1])
    logps = logits.log_softmax(-1).gather(2, replies[..., None])[..., 0]
    tokens = objectives.Tokens(
        logps=logps,
        old=torch.tensor([lesson.rollout.logps for lesson in batch]),
        reference=None,
        advantage=torch.tensor([[lesson.advantage] for lesson in batch]),
        weight=torch.tensor(token_weights(batch, CLIP))[:, None].expand_as(logps),
    )
    objectives.clip(tokens, CLIP.clip).backward()


def seconds(listener: GraftListener, step: Callable[[], object]) -> float:
    """How long one step takes; gradients are cleared first."""
    listener.model.zero_grad(set_to_none=True)
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def gradient(listener: GraftListener, step: Callable[[], object]) -> torch.Tensor:
    """All gradients of a step as one vector."""
    seconds(listener, step)
    return torch.cat([p.grad.flatten() for p in listener.model.parameters() if p.grad is not None])


def measure(listener: GraftListener, shape: tuple[int, int, int], pairs: int) -> dict[str, float | int | str]:
    """Medians over interleaved pairs, and how far the gradients are apart."""
    batch, options = lessons(listener, *shape), Train(precision="float32")

    def shared() -> None:
        backward(listener, batch, CLIP, options)

    def whole() -> None:
        plain(listener, batch)

    expected, found = gradient(listener, whole), gradient(listener, shared)
    times = [(seconds(listener, whole), seconds(listener, shared)) for _ in range(pairs)]
    plain_s, shared_s = (statistics.median(column) for column in zip(*times, strict=True))
    audio, reply, group = shape
    limit = group * (len(batch[0].prompt.ids) + reply) / (len(batch[0].prompt.ids) + group * reply)
    return {
        "family": "graft",
        "media_tokens": audio,
        "reply_tokens": reply,
        "group": group,
        "plain_s": round(plain_s, 4),
        "shared_s": round(shared_s, 4),
        "ratio": round(plain_s / shared_s, 2),
        "token_limit": round(limit, 2),
        "gradient_difference": float(f"{(found - expected).norm() / expected.norm():.2g}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="learner with shared prefix against the plain step")
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs (default: 5)")
    parser.add_argument("--width", type=int, default=256, help="width of the language model (default: 256)")
    options = parser.parse_args()
    shape = Model(width=options.width, layers=6, heads=4, pool=2, encoder_width=options.width, encoder_layers=4)
    listener = shape.build(["What is heard?"], ["<think>"], Wording(instruction=False, choices=False), 0)
    listener.model.eval()
    rows = [measure(listener, shape, options.pairs) for shape in SHAPES]
    parameters = sum(p.numel() for p in listener.model.parameters())
    machine = {"threads": torch.get_num_threads(), "parameters": parameters}
    print(json.dumps({"benchmark": "learner", **machine, "rows": rows}))


if __name__ == "__main__":
    main()
