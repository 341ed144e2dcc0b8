"""Checkpoints: all that a stage needs to go on as if nothing had happened.

`checkpoints/step-N/` holds `model/` (an ordinary checkpoint), `optimizer.safetensors` and `state.json` (the position,
optimiser steps). Nothing is pickled. There is no generator state, because none lives longer than a step: `loop` seeds
every generator, the global ones too, from the step's number. The rollouts in hand stand beside the checkpoints, in
`rollouts/`. Process 0 writes, and everything is whole: any number of processes can read it."""

# torch ships partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from auscult.core.errors import RunError
from auscult.core.runs import atomic_folder
from auscult.models.fingerprint import fingerprint
from auscult.train.learner import Learner
from auscult.train.sharding import dealt_like, gathered, whole, whole_state


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stage stands between two steps."""

    step: int = 0
    """Steps done."""
    taken: int = 0
    """Samples taken from the stream."""
    empty: int = 0
    """Steps, the latest ones in a row, that taught nothing."""
    best: float | None = None
    """Score of the best check so far."""
    misses: int = 0
    """Checks, the latest ones in a row, that were not better."""


def newest(folder: Path) -> tuple[int, Path] | None:
    """Step and folder of the latest checkpoint in `folder`; None when there is none."""
    found = [
        (int(match[1]), path) for path in folder.glob("step-*") if (match := re.fullmatch(r"step-(\d+)", path.name))
    ]
    return max(found, default=None)


def save(folder: Path, at: Position, learner: Learner, keep: int = 1) -> Path:
    """Writes `folder/step-N` whole or not at all, then removes all but the `keep` newest. All processes save together;
    raises RunError when their weights have come apart."""
    path = folder / f"step-{at.step}"
    listener, processes = learner.listener, learner.processes
    moments, weights = _moments(learner), whole_state(listener)
    if processes.count > 1:
        with whole(listener):
            processes.agree(fingerprint(listener.model))

    def write() -> None:
        with atomic_folder(path) as aside:
            listener.save(aside / "model", weights)
            save_file(moments, aside / "optimizer.safetensors")
            state = {**asdict(at), "updates": learner.done}
            (aside / "state.json").write_text(json.dumps(state))
        written = sorted(folder.glob("step-*"), key=lambda path: int(path.name[5:]))
        for older in written[:-keep]:
            shutil.rmtree(older)

    processes.first(write)
    return path


def restore(path: Path, learner: Learner) -> Position:
    """Puts the optimiser back; where the stage stood. The learner's weights were loaded from `path/model` already."""
    state = json.loads((path / "state.json").read_text())
    moments = load_file(path / "optimizer.safetensors", device=str(learner.listener.device))
    for name, parameter in learner.parameters.items():
        keys = ("step", "exp_avg", "exp_avg_sq")
        if f"{name}.step" not in moments:
            raise RunError(
                f"{path}: the optimiser's state lacks {name}; the model was changed, begin again with --overwrite"
            )
        state_of = {key: moments[f"{name}.{key}"] for key in keys}
        learner.optimizer.state[parameter] = {
            key: dealt_like(value, parameter) if value.ndim else value for key, value in state_of.items()
        }
    learner.done = state["updates"]
    return Position(**{field.name: state[field.name] for field in fields(Position)})


def _moments(learner: Learner) -> dict[str, torch.Tensor]:
    """AdamW's state by parameter name. A parameter that never had a gradient has none yet: zeros, as the optimiser
    begins."""
    moments: dict[str, torch.Tensor] = {}
    for name, parameter in learner.parameters.items():
        state = learner.optimizer.state.get(parameter)
        if not state:
            zeros = torch.zeros_like(parameter)
            state = {"step": torch.zeros(()), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
        for key, value in state.items():
            moments[f"{name}.{key}"] = gathered(value.detach()).contiguous()
    return moments
