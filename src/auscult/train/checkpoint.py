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

from safetensors.torch import load_file, save_file
from torch import Tensor

from auscult.core.errors import RunError
from auscult.core.runs import atomic_folder
from auscult.models.fingerprint import fingerprint
from auscult.train.learner import Learner
from auscult.train.optimizer import put_back, state_of
from auscult.train.sharding import whole, whole_state


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
    moments = {
        f"{name}.{key}": value
        for name, parameter in learner.parameters.items()
        for key, value in state_of(learner.optimizer, parameter).items()
    }
    weights = whole_state(listener)
    if processes.count > 1:
        with whole(listener):
            processes.agree(fingerprint(listener.model))

    def write() -> None:
        with atomic_folder(path) as aside:
            listener.save(aside / "model", weights)
            save_file(moments, aside / "optimizer.safetensors")
            state = {**asdict(at), "updates": learner.done}
            (aside / "state.json").write_text(json.dumps(state))
        prune(folder, keep)

    processes.first(write)
    return path


def prune(folder: Path, keep: int = 1) -> None:
    """Removes all checkpoints but the `keep` newest; a process killed between writing and this left more."""
    for older in sorted(folder.glob("step-*"), key=lambda path: int(path.name[5:]))[:-keep]:
        shutil.rmtree(older)


def restore(path: Path, learner: Learner) -> Position:
    """Puts the optimiser back; where the stage stood. The learner's weights were loaded from `path/model` already."""
    state = json.loads((path / "state.json").read_text())
    found: dict[str, dict[str, Tensor]] = {}
    for full, value in load_file(path / "optimizer.safetensors").items():
        name, _, key = full.rpartition(".")
        found.setdefault(name, {})[key] = value
    for name, parameter in learner.parameters.items():
        try:
            put_back(learner.optimizer, parameter, found[name])
        except KeyError as error:
            raise RunError(
                f"{path}: the optimiser's state of {name} lacks {error}; model or optimiser were changed, begin again "
                "with --overwrite"
            ) from error
    learner.done = state["updates"]
    return Position(**{field.name: state[field.name] for field in fields(Position)})
