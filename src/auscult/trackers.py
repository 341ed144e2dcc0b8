"""A run's figures in somebody's experiment tracker, when that is asked for: wandb, trackio or tensorboard.

What is told on the way (`Tell`) is handed on, a name for each stage and figure (`grpo/reward/total/mean`) at
the stage's own steps, and at the end the figures of every evaluated model. metrics.jsonl and results_*.json stay the
truth: a tracker that fails is told of once and left alone, and the run goes on. Nothing is sent unless a tracker is
named; wandb minds WANDB_MODE=offline and its other variables, trackio and tensorboard write to the disk.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auscult.core.errors import ConfigError

Tell = Callable[[str, int, int, Mapping[str, Any]], None]
"""`data.waiting.Tell`, which stands in a layer that trackers know nothing of."""
PROJECT = "auscult"
"""Where wandb and trackio list the run, unless WANDB_PROJECT or TRACKIO_PROJECT says otherwise."""
TRACKERS = ("tensorboard", "trackio", "wandb")
"""The trackers there are, each called like its package."""
Log = Callable[[str, int, Mapping[str, float]], None]
"""Takes what the figures are of, the step, and the figures."""


@dataclass
class Tracking:
    """Figures on their way to a tracker, which is opened when the first ones come: the run folder is there by then."""

    open: Callable[[], tuple[Log, Callable[[], None]]]
    """Opens the tracker: how it takes figures, and how it is closed."""
    say: Callable[[str], None]
    """Told when it fails."""
    opened: tuple[Log, Callable[[], None]] | None = field(default=None, init=False)
    """What `open` gave."""
    failed: bool = field(default=False, init=False)
    """Whether it is left alone."""

    def log(self, what: str, step: int, figures: Mapping[str, Any]) -> None:
        """Hands on the numbers among the figures; a step is none."""
        numbers = {
            name: float(value)
            for name, value in figures.items()
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
        }
        if numbers:
            self._try(lambda: self._log(what, step, numbers))

    def results(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Hands on the figures of evaluated models, by their labels."""
        for label, found in results.items():
            self.log(f"results/{label}", int(found.get("order", 0)), found)

    def close(self) -> None:
        """Ends it, if it was opened."""
        if self.opened is not None:
            self._try(self.opened[1])

    def _log(self, what: str, step: int, numbers: Mapping[str, float]) -> None:
        self.opened = self.opened or self.open()
        self.opened[0](what, step, numbers)

    def _try(self, do: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            do()
        except Exception as problem:  # noqa: BLE001 - anybody's program, and a full day's run is worth more than its curve
            self.failed = True
            self.say(f"the tracker failed and is left alone, metrics.jsonl has all figures ({problem})")


@contextmanager
def tracking(
    name: str | None, out: Path, config: Mapping[str, Any], tell: Tell, say: Callable[[str], None]
) -> Generator[tuple[Tell, Tracking | None]]:
    """`tell`, with the tracker called `name` listening. Raises ConfigError when it is not installed."""
    if name is None or os.environ.get("RANK", "0") != "0":
        yield tell, None
        return
    module = _loaded(name)
    made = Tracking(lambda: OPENERS[name](module, out, config), say)

    def told(what: str, done: int, total: int, figures: Mapping[str, Any]) -> None:
        tell(what, done, total, figures)
        made.log(what, int(figures.get("step", done)), figures)

    try:
        yield told, made
    finally:
        made.close()


def _loaded(name: str) -> Any:
    try:
        return importlib.import_module("torch.utils.tensorboard" if name == "tensorboard" else name)
    except ImportError as problem:
        raise ConfigError(
            f"--tracker {name}: the package does not load ({problem}); pip install {name}, or leave --tracker out: "
            "metrics.jsonl has all figures"
        ) from problem


def _tensorboard(module: Any, out: Path, config: Mapping[str, Any]) -> tuple[Log, Callable[[], None]]:
    writer = module.SummaryWriter(str(out / "tensorboard"))

    def log(what: str, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(f"{what}/{name}", value, step)

    return log, writer.close


def _wandb(module: Any, out: Path, config: Mapping[str, Any]) -> tuple[Log, Callable[[], None]]:
    place = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12]  # the same run folder goes on as the same run
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    run = module.init(project=project, name=out.name, id=place, resume="allow", dir=str(out), config=dict(config))
    known: set[str] = set()

    def log(what: str, step: int, figures: Mapping[str, float]) -> None:
        if what not in known:  # each stage counts its own steps
            known.add(what)
            run.define_metric(f"{what}/*", step_metric=f"{what}/step")
        run.log({f"{what}/step": step, **{f"{what}/{name}": value for name, value in figures.items()}})

    return log, run.finish


def _trackio(module: Any, out: Path, config: Mapping[str, Any]) -> tuple[Log, Callable[[], None]]:
    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    run = module.init(project=project, name=out.name, resume="allow", config=dict(config))

    def log(what: str, step: int, figures: Mapping[str, float]) -> None:
        run.log({f"{what}/step": step, **{f"{what}/{name}": value for name, value in figures.items()}})

    return log, run.finish


OPENERS: Mapping[str, Callable[[Any, Path, Mapping[str, Any]], tuple[Log, Callable[[], None]]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}
"""How each is opened."""
