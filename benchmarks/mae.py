"""One pretraining step of our masked autoencoder beside a plain one, at the configuration of system 1.

The plain one is written in the style of facebookresearch/mae: all frames are embedded and then masked, attention is
written out, the decoder's tokens are shuffled back, every frame is predicted and the loss masked, AdamW as torch has it
by default. It has our weights to begin with, sees the same frames and masks, and no class token, so the two loss curves
must be one. In bfloat16 ours computes the passes in that type, as on a GPU; the curves are then compared more loosely.
On some processors much of the gain is the library that multiplies (`models/linear.py`), so there is a row in which the
plain one has it too. `share_of_peak` is the rate of floating-point operations in the passes, as torch counts them in
the plain one, over the best rate of a large matrix product in the same type, by whichever library is the faster. No
program that computes all of them is faster than 1.

transformers' ViTMAE is measured at the shape that recordings have by default, 16 by 16 patches of log-mel, in windows
that are square because it takes images: 128 moments by 128 bands. It sees the same rows and the same masks in float32
and normalises targets alike; but it has a class token and other codes of places, its own first weights, and its decoder
predicts every patch. So the curves are two, and only their ends are told.

    python benchmarks/mae.py [--steps 30] [--batch 64] [--device cpu] [--threads 0]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from auscult.models import masking
from auscult.models.linear import gains, quicken
from auscult.models.mae import MaeConfig, MaskedAutoencoder
from auscult.models.transformer import Block, codes
from auscult.train.optimizer import decayed

FRAMES = 10
SIDE, PATCH = 128, 16
"""Of a square window of log-mel, and of its patches."""
WARM = 3
"""Steps that are not timed."""
PEAK = {"cpu": 2048, "cuda": 8192}
"""Side of the matrices whose product shows what the machine can."""


class PlainBlock(nn.Module):
    """A pre-norm layer with attention written out, with the weights of one of ours."""

    def __init__(self, ours: Block) -> None:
        super().__init__()
        width, self.heads = ours.out.in_features, ours.heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.load_state_dict(ours.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, width = x.shape
        parts = self.qkv(self.norm_attention(x)).reshape(count, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(count, tokens, width))
        return x + self.down(functional.gelu(self.up(self.norm_mlp(x))))


class Plain(nn.Module):
    """The plain autoencoder of frames, with the weights of ours."""

    def __init__(self, ours: MaskedAutoencoder) -> None:
        super().__init__()
        config = ours.config
        self.embed = nn.Linear(config.features, config.width)
        self.embed.load_state_dict(ours.encoder.embed.state_dict())
        self.blocks = nn.ModuleList(PlainBlock(block) for block in ours.encoder.blocks)
        self.decoder = nn.ModuleList(PlainBlock(block) for block in ours.decoder)
        self.mask_token = nn.Parameter(ours.mask_token.detach().clone()[None, None])
        self.norm, self.decoder_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.decoder_width)
        self.bridge = nn.Linear(config.width, config.decoder_width)
        self.head = nn.Linear(config.decoder_width, config.features)
        for mine, other in (
            (self.norm, ours.encoder.norm),
            (self.decoder_norm, ours.norm),
            (self.bridge, ours.bridge),
            (self.head, ours.head),
        ):
            mine.load_state_dict(other.state_dict())
        self.register_buffer("places", codes(FRAMES, 1, config.width))
        self.register_buffer("decoder_places", codes(FRAMES, 1, config.decoder_width))

    def forward(self, rows: Tensor, order: Tensor, visible: int) -> Tensor:
        """Rows [B, T, F] and an order of frames [B, T] whose first `visible` are shown -> the loss."""
        restore = order.argsort(dim=1)
        x = self.embed(rows) + self.places
        keep = order[:, :visible, None]
        x = x.gather(1, keep.expand(-1, -1, x.shape[2]))
        for block in self.blocks:
            x = block(x)
        x = self.bridge(self.norm(x))
        tokens = self.mask_token.expand(len(x), rows.shape[1] - visible, -1)
        x = torch.cat([x, tokens], dim=1)
        x = x.gather(1, restore[..., None].expand(-1, -1, x.shape[2])) + self.decoder_places
        for block in self.decoder:
            x = block(x)
        error = (self.head(self.decoder_norm(x)) - rows).square().mean(dim=-1)
        hidden = (restore >= visible).to(error)
        return (error * hidden).sum() / hidden.sum()


def peak(device: torch.device, half: bool) -> float:
    """Operations a second of the best of ten large matrix products, of torch's own or of ours."""
    side = PEAK[device.type]
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if half else torch.float32)
    layers = [nn.Linear(side, side, bias=False, device=device, dtype=a.dtype) for _ in range(2)]
    seconds: list[float] = []
    with torch.inference_mode():
        for layer in (layers[0], quicken(layers[1])) * 10:
            began = time.perf_counter()
            layer(a)[0, 0].item()
            seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> float:
    """One update; the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    value = loss()
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return value.item()


def measure(
    config: MaeConfig, steps: int, batch: int, device: torch.device, half: bool, plain_half: bool, plain_quick: bool
) -> dict[str, Any]:
    """Both, step by step in turn; `half` is ours in bfloat16, `plain_half` the plain one, which has our linear layers
    if `plain_quick`."""
    torch.manual_seed(0)
    ours = nn.Module.to(MaskedAutoencoder(config), device)
    plain = Plain(ours).to(device)
    if plain_quick:
        quicken(plain)
    options: dict[str, Any] = {"lr": 1e-4, "betas": (0.9, 0.95)}
    mine = torch.optim.AdamW(decayed(ours.parameters(), 0.05), **options, fused=True)
    other = torch.optim.AdamW(decayed(plain.parameters(), 0.05), **options)
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(256, 1, config.features, generator=draw)  # frames of a clip are alike, so there is what to learn
    data = base + 0.5 * torch.randn(256, FRAMES, config.features, generator=draw)
    visible = masking.visible("random", FRAMES, 1, 0.75)
    seconds: tuple[list[float], list[float]] = ([], [])
    apart = 0.0
    curve: list[tuple[float, float]] = []
    for number in range(WARM + steps):
        rows = data[torch.randint(len(data), (batch,), generator=draw)].to(device)
        order = masking.order("random", batch, FRAMES, 1, 1, draw).to(device)

        def shared(rows: Tensor = rows, order: Tensor = order) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                return ours(rows, order, visible).loss

        def simple(rows: Tensor = rows, order: Tensor = order) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=plain_half):
                return plain(rows, order, visible)

        losses: list[float] = []
        for place, (model, optimizer, loss) in enumerate(((ours, mine, shared), (plain, other, simple))):
            began = time.perf_counter()
            losses.append(step(model, optimizer, loss))
            if number >= WARM:
                seconds[place].append(time.perf_counter() - began)
        apart = max(apart, abs(losses[0] - losses[1]) / losses[1])
        curve.append((losses[0], losses[1]))
    own, theirs = median(seconds[0]), median(seconds[1])
    with FlopCounterMode(display=False) as counted:  # it knows torch's layers, not ours
        Plain(ours).to(device)(rows, order, visible).backward()
    operations, best = counted.get_total_flops(), (peak(device, half), peak(device, plain_half))
    return {
        "precision": "bfloat16" if half else "float32",
        "plain_precision": "bfloat16" if plain_half else "float32",
        "plain_linear_layers": "ours" if plain_quick else "torch's",
        "shared_s": round(own, 5),
        "plain_s": round(theirs, 5),
        "ratio": round(theirs / own, 2),
        "clips_per_s": round(batch / own, 1),
        "plain_clips_per_s": round(batch / theirs, 1),
        "matmul_gflops_per_s": round(best[0] / 1e9, 1),
        "share_of_peak": round(operations / own / best[0], 2),
        "plain_share_of_peak": round(operations / theirs / best[1], 2),
        "largest_relative_difference_of_losses": apart,
        "first_losses": curve[0],
        "last_losses": curve[-1],
    }


def vitmae(config: MaeConfig) -> ViTMAEForPreTraining:
    """transformers' autoencoder of the same shape."""
    return ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            image_size=SIDE,
            patch_size=PATCH,
            num_channels=1,
            decoder_hidden_size=config.decoder_width,
            decoder_num_hidden_layers=config.decoder_layers,
            decoder_num_attention_heads=config.decoder_heads,
            decoder_intermediate_size=4 * config.decoder_width,
            mask_ratio=0.75,
            norm_pix_loss=True,
        )
    )


def beside_vitmae(steps: int, batch: int, device: torch.device) -> dict[str, Any]:
    """Ours and ViTMAE, step by step in turn, in float32."""
    config = MaeConfig("mel", SIDE, PATCH, PATCH, 128, 4, 4, 64, 4, 4, normalise=True)
    torch.manual_seed(0)
    ours = nn.Module.to(MaskedAutoencoder(config), device)
    theirs = nn.Module.to(vitmae(config), device).train()
    options: dict[str, Any] = {"lr": 5e-4, "betas": (0.9, 0.95)}
    mine = torch.optim.AdamW(decayed(ours.parameters(), 0.05), **options, fused=True)
    other = torch.optim.AdamW(decayed(theirs.parameters(), 0.05), **options)
    draw = torch.Generator().manual_seed(0)
    shape = (64, SIDE, 1), (64, 1, SIDE)  # a loudness over time by a spectrum, so there is what to learn
    data = torch.randn(shape[0], generator=draw).cumsum(1) / 8 * torch.randn(shape[1], generator=draw).cumsum(2) / 8
    columns = SIDE // PATCH
    visible = masking.visible("random", columns, columns, 0.75)
    seconds: tuple[list[float], list[float]] = ([], [])
    curve: list[tuple[float, float]] = []
    for number in range(WARM + steps):
        rows = data[torch.randint(len(data), (batch,), generator=draw)].to(device)
        order = masking.order("random", batch, columns, columns, 1, draw).to(device)
        ranks = order.argsort(dim=1).float()  # ViTMAE shows the patches of the lowest ones

        def shared(rows: Tensor = rows, order: Tensor = order) -> Tensor:
            return ours(rows, order, visible).loss

        def image(rows: Tensor = rows, ranks: Tensor = ranks) -> Tensor:
            return theirs(rows[:, None], noise=ranks).loss

        losses: list[float] = []
        for place, (model, optimizer, loss) in enumerate(((ours, mine, shared), (theirs, other, image))):
            began = time.perf_counter()
            losses.append(step(model, optimizer, loss))
            if number >= WARM:
                seconds[place].append(time.perf_counter() - began)
        curve.append((losses[0], losses[1]))
    own, its = median(seconds[0]), median(seconds[1])
    return {
        "rows": [SIDE, SIDE],
        "patches": columns**2,
        "batch": batch,
        "ours_s": round(own, 5),
        "vitmae_s": round(its, 5),
        "ratio": round(its / own, 2),
        "clips_per_s": round(batch / own, 1),
        "vitmae_clips_per_s": round(batch / its, 1),
        "parameters": [sum(p.numel() for p in model.parameters() if p.requires_grad) for model in (ours, theirs)],
        "first_losses": curve[0],
        "last_losses": curve[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="timed steps (default: 30)")
    parser.add_argument("--batch", type=int, default=64, help="clips of a step (default: 64)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch (default: as torch chooses)")
    known = parser.parse_args()
    if known.threads:
        torch.set_num_threads(known.threads)
    device = torch.device(known.device)
    pairs = ((False, False, False), (False, False, True), (True, False, False), (True, True, False))
    rows = [measure(MaeConfig(), known.steps, known.batch, device, *pair) for pair in pairs]
    told = {"benchmark": "mae", "batch": known.batch, "frames": FRAMES, "threads": torch.get_num_threads()}
    beside = beside_vitmae(known.steps, max(1, known.batch // 4), torch.device(known.device))
    print(json.dumps({**told, "load": os.getloadavg()[0], "onednn": gains(), "rows": rows, "vitmae": beside}))


if __name__ == "__main__":
    main()
