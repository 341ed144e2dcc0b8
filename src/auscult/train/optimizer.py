"""AdamW (arXiv 1711.05101): torch's, or bitsandbytes' with its moments in 8 bits (arXiv 2110.02861).

In 8 bits a moment is a byte that points into a map of 256 values, and 256 of them share a scale; of parameters with
fewer than 4,096 values the moments stay in 32 bits. Paged moments live in memory that CPU and GPU share and wander to
the side that has room. What an optimiser remembers of a parameter is tensors and counts by name, whichever it is: that
is what checkpoints hold, and it comes back bit for bit.
"""

# torch and bitsandbytes ship partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportPrivateImportUsage=false

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from auscult.core.errors import ConfigError
from auscult.train.options import Train
from auscult.train.sharding import dealt_like, gathered, is_sharded

STEP = "step"
"""The key under which every optimiser counts its updates of a parameter."""


def adamw(parameters: Sequence[nn.Parameter], options: Train, peak: float) -> Optimizer:
    """The optimiser that the options name; only matrices decay.

    Raises ConfigError where 8 bits cannot be: without bitsandbytes, on dealt-out layers, paged without a GPU."""
    groups = decayed(parameters, options.weight_decay)
    sharded = any(map(is_sharded, parameters))
    if options.optimizer == "adamw":
        # Sharded and whole parameters do not mix in torch's loops over all. On a CPU torch takes one parameter and one
        # operation at a time unless told: a ninth of the speed with 33 M parameters.
        fused = None if sharded or not all(p.is_cpu for p in parameters) else True
        return torch.optim.AdamW(groups, lr=peak, betas=options.betas, foreach=False if sharded else None, fused=fused)
    asked = f"train.optimizer is {options.optimizer}"
    if sharded:
        raise ConfigError(f"{asked}, which cannot be sharded; launch without --use_fsdp, or set train.optimizer: adamw")
    if options.optimizer == "paged_adamw8bit" and not all(p.is_cuda for p in parameters):
        raise ConfigError(
            f"{asked}, which pages between a GPU and its computer; on a CPU set train.optimizer: adamw8bit"
        )
    try:
        from bitsandbytes import optim  # heavy, and only 8 bits need it
    except ImportError as error:
        raise ConfigError(f"{asked}, which needs bitsandbytes: pip install 'auscult[nf4]'") from error
    kind = optim.AdamW8bit if options.optimizer == "adamw8bit" else optim.PagedAdamW8bit
    return kind(groups, lr=peak, betas=options.betas)


def decayed(parameters: Iterable[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Parameters as AdamW takes them; only matrices decay."""
    known = list(parameters)
    return [
        {"params": [p for p in known if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in known if p.ndim < 2], "weight_decay": 0.0},
    ]


def learning_rate(step: int, steps: int, warmup: int, peak: float, final: float) -> float:
    """Of step `step` from 0 of `steps`: a linear rise to `peak` in `warmup` steps, then a cosine to `final` of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * share)) / 2)


def state_of(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """What the optimiser remembers of a parameter, whole; of one that it never updated, that there were 0 updates."""
    state: Mapping[str, Any] = optimizer.state.get(parameter) or {STEP: torch.zeros(())}
    kept = {key: gathered(torch.as_tensor(value).detach()).contiguous() for key, value in state.items()}
    # All parameters share the maps of 8 bits, and safetensors holds no tensor twice.
    return {key: value.clone() if key.startswith("qmap") else value for key, value in kept.items()}


def put_back(optimizer: Optimizer, parameter: nn.Parameter, state: Mapping[str, Tensor]) -> None:
    """Makes the optimiser remember what `state_of` told. Raises KeyError where it keeps something else."""
    if not state[STEP]:
        return
    if isinstance(optimizer, torch.optim.AdamW):
        optimizer.state[parameter] = {
            key: dealt_like(state[key].to(parameter.device), parameter) if state[key].ndim else state[key]
            for key in (STEP, "exp_avg", "exp_avg_sq")
        }
        return
    places = (
        (group, parameter, number, inner)
        for number, group in enumerate(optimizer.param_groups)
        for inner, found in enumerate(group["params"])
        if found is parameter
    )
    cast(Any, optimizer).init_state(*next(places))  # lays out pages where there are any
    mine = optimizer.state[parameter]
    for key, value in mine.items():
        if isinstance(value, Tensor):
            value.copy_(state[key])
    mine[STEP] = int(state[STEP])
