"""A linear layer of ours beside torch's: products of float32 on a CPU, alone and with their gradients.

Each shape is measured twice: with one number of rows, and with another one every time, as replies of other lengths
have it; of a new shape oneDNN makes a program first. `error` is the largest difference from the product in float64,
over the largest value. Where `gains` is false ours is torch's, and the ratios are 1.

    python benchmarks/linear.py [--repeats 40] [--threads 0]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from auscult.models.linear import gains, quicken

SHAPES = ((2048, 2048, 2048), (128, 512, 2048), (640, 256, 1024), (500, 128, 512), (1000, 128, 512), (1000, 512, 2048))
"""Rows, features in, features out."""


def seconds(layer: nn.Linear, inputs: list[Tensor], learn: bool) -> float:
    """Median time of a pass; with `learn` of its gradients too."""
    taken: list[float] = []
    for x in inputs:
        began = time.perf_counter()
        if learn:
            layer(x).backward(torch.ones(len(x), layer.out_features))
            layer.zero_grad()
        else:
            with torch.no_grad():
                layer(x)
        taken.append(time.perf_counter() - began)
    return median(taken)


def measure(rows: int, features: int, out: int, repeats: int) -> dict[str, Any]:
    """Rates of both in GFLOP/s, and their ratio."""
    torch.manual_seed(0)
    plain = nn.Linear(features, out)
    ours = nn.Linear(features, out)
    ours.load_state_dict(plain.state_dict())
    quicken(ours)
    x = torch.randn(rows + repeats, features)
    told: dict[str, Any] = {"rows": rows, "in": features, "out": out}
    for learn, name in ((False, "pass"), (True, "with_gradients")):
        work = 2 * rows * features * out * (3 if learn else 1) / 1e9
        same = [x[:rows].clone().requires_grad_(learn) for _ in range(repeats)]
        other = [x[: rows + number].clone().requires_grad_(learn) for number in range(repeats)]
        for layer in (plain, ours):
            seconds(layer, same[:5], learn)  # not counted
        known = [seconds(layer, same, learn) for layer in (plain, ours)]
        new = [seconds(layer, other[1:], learn) for layer in (plain, ours)]  # a shape is met once
        told[name] = {
            "gflops_per_s": [round(work / time, 1) for time in known],
            "ratio": round(known[0] / known[1], 2),
            "ratio_with_new_shapes": round(new[0] / new[1], 2),
        }
    exact = x[:rows].double() @ plain.weight.double().t() + plain.bias.double()
    with torch.no_grad():
        errors = [(layer(x[:rows]).double() - exact).abs().max() / exact.abs().max() for layer in (plain, ours)]
    return {**told, "error": [float(f"{error.item():.1e}") for error in errors]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40, help="passes of each kind (default: 40)")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch (default: as torch chooses)")
    known = parser.parse_args()
    if known.threads:
        torch.set_num_threads(known.threads)
    rows = [measure(*shape, known.repeats) for shape in SHAPES]
    told = {"benchmark": "linear", "gains": gains(), "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    print(json.dumps({**told, "rows": rows}))


if __name__ == "__main__":
    main()
