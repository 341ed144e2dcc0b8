"""A film in 4 bits and a film in several views: what learns, what stays, what a merge is, and that every view counts in
its own place."""

from __future__ import annotations

import base64
import io
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from auscult.core.types import Image, Parsed, Rollout, Sample, Sampling, Turn
from auscult.media.window import Display
from auscult.models import adapters
from auscult.models.families import gemma3
from auscult.models.learning import Lora
from auscult.models.listener import Listener
from auscult.models.wording import Wording
from auscult.rollouts.messages import wire
from auscult.rollouts.options import Server
from auscult.rollouts.server import ServerEngine
from auscult.train.algorithm import Objective
from auscult.train.learner import Lesson, backward
from auscult.train.options import Train

WORDING = Wording(form="label", instruction=False)
NF4_HALF_GAP = 0.152
"""Half of the widest gap between two values of NF4 (-1 and -0.6962; arXiv 2305.14314, appendix E), of a block's largest
magnitude: no weight is rounded further."""
EXACT = Train(prompt_batch=2, reply_batch=4, precision="float32")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma 3 whose matrices have whole blocks of 64 weights."""
    path = tmp_path_factory.mktemp("gemma3") / "model"
    path.mkdir()
    gemma3.Model(width=64).build(["Which side? left right View 1 (PA): View 2 (LATERAL):"], [], WORDING, 0).save(path)
    return path


def film(number: int) -> Image:
    return Image.of(np.random.default_rng(number).integers(0, 256, (50, 40, 3)).astype(np.uint8))


def asked(*films: Image) -> Sample:
    labels = ("View 1 (PA):", "View 2 (LATERAL):")
    parts = [part for pair in zip(labels, films, strict=False) for part in pair]
    return Sample("study", (Turn("user", (*parts, "Which side?")),), ("left",), ("left", "right"))


def lesson(listener: Listener, sample: Sample) -> Lesson:
    prompt = listener.prompt(sample)
    ids = listener.target(sample, "left")
    said = Rollout(prompt.ids, ids, None, "left", "demonstration", "demonstration", Parsed("left"))
    return Lesson(prompt, said, 1.0)


def loss(listener: Listener, sample: Sample) -> float:
    return backward(listener, [lesson(listener, sample)], Objective(name="imitate", average="token"), EXACT).loss


# -- four bits --


def quantized(listener: Listener) -> dict[str, torch.nn.Module]:
    return {name: part for name, part in listener.model.named_modules() if type(part).__name__ == "Linear4bit"}


def whole(part: torch.nn.Module) -> torch.Tensor:
    """The weights of a 4-bit layer, as they are computed with."""
    from bitsandbytes.functional import dequantize_4bit

    weight = part.weight
    return dequantize_4bit(weight.data, weight.quant_state).float()


@pytest.mark.filterwarnings("ignore")  # bitsandbytes tells of kernels that it did not find
def test_gradients_of_a_film_reach_adapters_alone_and_the_base_stays_in_four_bits(base: Path) -> None:
    listener = gemma3.Model(weights="nf4", lora=Lora(rank=4, dropout=0.0)).load(base, WORDING)
    held = quantized(listener)
    assert held
    assert not any("vision_tower" in name or "projector" in name for name in held)
    stored = {name: part.weight.data.clone() for name, part in held.items()}
    others = {n: p.detach().clone() for n, p in listener.model.named_parameters() if "lora_" not in n}
    optimizer = torch.optim.AdamW([p for p in listener.model.parameters() if p.requires_grad], 0.01)
    losses: list[float] = []
    for _ in range(4):
        optimizer.zero_grad()
        losses.append(loss(listener, asked(film(0), film(1))))
        met = {name for name, p in listener.model.named_parameters() if p.grad is not None and p.grad.any()}
        assert met
        assert all("lora_" in name for name in met)
        optimizer.step()
    assert losses[-1] < losses[0]
    for name, part in held.items():
        assert part.weight.dtype == torch.uint8
        assert part.weight.numel() == part.in_features * part.out_features // 2
        assert torch.equal(part.weight.data, stored[name])
    assert all(torch.equal(p, others[n]) for n, p in listener.model.named_parameters() if n in others)


@pytest.mark.filterwarnings("ignore")  # bitsandbytes tells of kernels, and peft of what rounding does in a merge
def test_a_merge_in_four_bits_is_base_and_adapter_rounded_once(base: Path, moved) -> None:
    listener = moved(gemma3.Model(weights="nf4", lora=Lora(rank=4, dropout=0.0)).load(base, WORDING))
    layers = {
        n: m for n, m in listener.model.named_modules() if hasattr(m, "lora_A") and hasattr(m, "get_delta_weight")
    }
    wanted = {n: whole(m.base_layer) + m.get_delta_weight("default").detach().float() for n, m in layers.items()}
    before = {name: whole(part.base_layer) for name, part in layers.items()}
    adapters.merge(listener)
    merged = quantized(listener)
    assert wanted
    for name, weight in wanted.items():
        blocks, found = weight.reshape(-1, 64), whole(merged[name]).reshape(-1, 64)
        allowed = NF4_HALF_GAP * blocks.abs().amax(1, keepdim=True) * 1.01
        assert ((found - blocks).abs() <= allowed).all(), name
        left_out = (before[name].reshape(-1, 64) - blocks).abs()
        assert (left_out > allowed).any(), "a merge that forgets the adapter would pass"
        assert (found - blocks).abs().mean() < left_out.mean(), name


# -- views --


def test_every_view_counts_in_its_own_place(base: Path) -> None:
    listener = gemma3.Model(language="train").load(base, WORDING)
    one, other = film(0), film(1)
    told = {
        "as they are": loss(listener, asked(one, other)),
        "swapped": loss(listener, asked(other, one)),
        "second dropped": loss(listener, asked(one)),
        "first twice": loss(listener, asked(one, one)),
        "another second": loss(listener, asked(one, film(2))),
    }
    values = sorted(told.values())
    assert min(after - before for before, after in pairwise(values)) > 1e-5, told
    assert loss(listener, asked(one, other)) == pytest.approx(told["as they are"], abs=1e-7)


def test_the_order_of_views_outlives_saving_and_the_memory_of_encoders(base: Path, tmp_path: Path) -> None:
    options = gemma3.Model(lora=Lora(rank=4, dropout=0.0))
    listener = options.load(base, WORDING)
    sample, swapped = asked(film(0), film(1)), asked(film(1), film(0))
    before = [loss(listener, one) for one in (sample, swapped, sample)]  # the encoder's memory serves the later ones
    (tmp_path / "adapter").mkdir()
    listener.save(tmp_path / "adapter")
    again = options.load(tmp_path / "adapter", WORDING)
    assert [part.key for part in again.prompt(sample).features] == [media.sha256 for media in sample.media]
    assert [loss(again, one) for one in (swapped, sample)] == pytest.approx([before[1], before[0]], abs=1e-6)
    assert before[0] == before[2] != before[1]


def test_a_server_is_sent_every_view_in_its_order_behind_its_name(base: Path) -> None:
    listener = gemma3.Model(language="train").load(base, WORDING)
    options = Server(url="http://127.0.0.1:1/v1", model="m")
    for films in ((film(0), film(1)), (film(1), film(0)), (film(2), film(2))):
        (message,) = wire(listener.messages(asked(*films)), options, Display())
        kinds = [part["type"] for part in message["content"]]
        assert kinds == ["text", "image_url", "text", "image_url", "text"]
        sent = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
        seen = [np.asarray(Pillow.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in sent]
        assert all((one == film.pixels).all() for one, film in zip(seen, films, strict=True))
        assert [part["text"] for part in message["content"][:3:2]] == ["View 1 (PA):", "View 2 (LATERAL):"]


@pytest.mark.filterwarnings("ignore:sample study. the server read 100 prompt tokens")  # it counts none, and says 100
def test_a_server_engine_that_goes_on_keeps_the_order_of_views_apart(base: Path, judge_server, tmp_path: Path) -> None:
    """Placeholders, text and id of a question are the same when its views change places: the pictures tell."""

    def seen(content: Any) -> str:
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        return "-".join(sha256(url.encode()).hexdigest()[:8] for url in urls)

    judge_server.say = seen
    listener = gemma3.Model(language="train").load(base, WORDING)
    prompts = [listener.prompt(asked(film(one), film(other))) for one, other in ((0, 1), (1, 0))]
    assert prompts[0].ids == prompts[1].ids
    options = Server(url=judge_server.url, model="m", logprobs="off", concurrency=1)
    sampling = Sampling(max_tokens=4)
    first = ServerEngine(listener, options, tmp_path).roll(prompts, 1, sampling, 0)
    requests = len(judge_server.requests)
    again = ServerEngine(listener, options, tmp_path).roll(prompts[::-1], 1, sampling, 0)  # as after a kill
    assert len(judge_server.requests) == requests == 2
    (forward,), (backward,) = ([rollout.text for rollout in group] for group in first)
    assert forward.split("-") == backward.split("-")[::-1]
    assert forward != backward
    assert [group[0].text for group in again] == [backward, forward]
