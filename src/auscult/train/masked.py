"""Pretraining of an encoder by masked autoencoding, on a frame set.

Step n is made of its number: which epoch and batch it is (`data/windows.py`), and the seed of what is hidden. So a run
that was killed goes on from its newest checkpoint to the same weights, bit for bit on a CPU, whenever that was written.
Nothing is loaded by workers: the stored rows lie on the device when they fit, and in mapped memory else.

    metrics.jsonl            a row every `log_every` steps: means of the loss, and of what it is worth
    checkpoints/step-N/      weights, their moving average, optimiser
"""

# torch ships partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from auscult.core.errors import ConfigError, DataError, RunError
from auscult.core.runs import Run, atomic_folder, truncate_jsonl
from auscult.core.seeds import derive
from auscult.data import windows
from auscult.data.frames import FrameSet
from auscult.models import masking
from auscult.models.arithmetic import arithmetic
from auscult.models.mae import MaeConfig, MaskedAutoencoder, Reconstruction
from auscult.models.mae_shape import Shape
from auscult.train.checkpoint import newest, prune
from auscult.train.optimizer import decayed, learning_rate
from auscult.train.pretraining import Pretrain
from auscult.train.processes import ALONE, Processes

ROOM = 0.5
"""Share of a device's free memory that the frames may take."""
Watch = Callable[[int, int, Mapping[str, Any]], None]
"""Told steps done, steps in all, and the latest figures."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything pretraining is made of."""

    run: Run
    """Its folder."""
    frames: FrameSet
    """What is heard."""
    source: str
    """What its rows are: `mel` or `frames`."""
    shape: Shape
    """Of the autoencoder."""
    options: Pretrain
    """How it is trained."""
    seed: int
    """Of weights, order and masks."""
    device: torch.device
    """Where."""
    probe: Callable[[MaskedAutoencoder], Mapping[str, float]] | None = None
    """What the encoder knows by now."""
    processes: Processes = ALONE
    """Who trains."""


@dataclass
class Rows:
    """The rows of a frame set, wherever they fit."""

    frames: FrameSet
    """The set."""
    device: torch.device
    """Where values are wanted."""
    held: Tensor | None = field(init=False)
    """All stored rows on the device, when they fit there."""

    def __post_init__(self) -> None:
        self.held = None
        if self.device.type == "cuda" and self.frames.frames.nbytes < ROOM * torch.cuda.mem_get_info(self.device)[0]:
            self.held = torch.from_numpy(np.array(self.frames.frames)).to(self.device)

    def __call__(self, batch: windows.Batch) -> Tensor:
        """Values [B, T, F] of a batch of stretches."""
        first = self.frames.offsets[batch.clips] + batch.starts
        places = first[:, None] + np.arange(batch.rows)
        if self.held is None:
            return torch.from_numpy(self.frames.convert(self.frames.frames[places])).to(self.device)
        about = self.frames.about
        return self.held[torch.from_numpy(places).to(self.device)].float() * about.scale + about.shift


@dataclass
class Training:
    """What changes while it trains."""

    model: MaskedAutoencoder
    """The weights."""
    average: MaskedAutoencoder | None
    """Their moving average."""
    optimizer: torch.optim.AdamW
    """Its moments."""
    step: int = 0
    """Steps done."""

    @property
    def kept(self) -> MaskedAutoencoder:
        """What is handed on."""
        return self.model if self.average is None else self.average


def train(stage: Stage, watch: Watch) -> MaskedAutoencoder:
    """Runs pretraining to its end, from its newest checkpoint when there is one; the weights that are kept."""
    options, unit = stage.options, stage.shape.patch_rows
    lengths = np.diff(stage.frames.offsets)
    least = shortest(stage.frames.about.features, stage.shape, options)
    if not windows.usable(lengths, least).any():
        raise DataError(f"{stage.frames.path}: no clip has {least} rows, of which some are hidden; set other patches")
    seed = derive(stage.seed, "windows")
    epoch = partial(windows.epoch, lengths, options.window, unit, options.batch, seed, shortest=least)
    per_epoch = len(epoch(0))
    steps = options.epochs * per_epoch
    warmup = max(1, round(options.warmup * steps))
    folder = stage.run.path / "checkpoints"
    rows = Rows(stage.frames, stage.device)
    now = _begun(stage)
    point = stage.processes.first(lambda: newest(folder))
    if point is not None:
        _restore(point[1], now)
        stage.processes.first(lambda: prune(folder))
    stage.processes.first(
        lambda: truncate_jsonl(stage.run.path / "metrics.jsonl", keep=lambda row: row["step"] < now.step)
    )
    saved, began = time.monotonic(), time.perf_counter()
    plan: tuple[int, Any] = (-1, ())
    losses: list[Tensor] = []
    while now.step < steps:
        number, place = divmod(now.step, per_epoch)
        if plan[0] != number:
            plan = (number, epoch(number))
        rate = learning_rate(now.step, steps, warmup, options.learning_rate, 0.0)
        made, share, norm = _step(stage, now, rows, plan[1][place], rate)
        losses.append(made.loss.detach() * share)
        now.step += 1
        last = now.step == steps
        if now.step % options.log_every and not last:
            continue
        own = {name: value * share for name, value in worth(made).items()}
        parts = stage.processes.gather({"loss": torch.stack(losses).mean().item(), **own})
        figures: dict[str, Any] = {name: sum(part[name] for part in parts) for name in parts[0]}
        if not math.isfinite(figures["loss"]):
            raise RunError(f"step {now.step}: the loss is {figures['loss']}; begin again at a lower learning rate")
        figures |= {"grad_norm": norm.item(), "lr": rate, "epoch": now.step / per_epoch}
        if stage.probe is not None and (last or _probed(options, now.step, per_epoch)):
            figures |= stage.probe(now.kept)
        figures["seconds"] = (time.perf_counter() - began) / len(losses)
        stage.run.log(now.step - 1, figures)
        watch(now.step, steps, figures)
        losses, began = [], time.perf_counter()
        late = last or time.monotonic() - saved > options.save_seconds
        if stage.processes.gather(late)[0]:  # behind a row of metrics, so that none is cut in two
            stage.processes.first(partial(_save, folder, now))
            saved = time.monotonic()
    return now.kept


def _probed(options: Pretrain, step: int, per_epoch: int) -> bool:
    """Whether an epoch after which a probe is due ended within the last `log_every` steps."""
    every = options.probe_every * per_epoch
    return bool(every) and step // every > (step - options.log_every) // every


def shortest(features: int, shape: Shape, options: Pretrain) -> int:
    """Rows of the shortest clip that can be learnt from: something of it is seen, and something hidden. Raises
    ConfigError for patches, windows and masks that do not fit each other or clips of so many `features`."""
    unit, patch = shape.patch_rows, shape.patch_features or features
    if features % patch:
        raise ConfigError(f"{features} features are no multiple of patch_features, {patch}; set one")
    least = masking.least(options.masking, features // patch) * unit
    if options.window % unit or options.window < least:
        raise ConfigError(f"window is {options.window}: set a multiple of patch_rows, {unit}, of at least {least} rows")
    return least


def _begun(stage: Stage) -> Training:
    """Random weights of the seed, and the mean and deviation of the features."""
    shape, features = stage.shape, stage.frames.about.features
    config = MaeConfig(
        source=stage.source,
        features=features,
        patch_rows=shape.patch_rows,
        patch_features=shape.patch_features or features,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        decoder_width=shape.decoder_width,
        decoder_layers=shape.decoder_layers,
        decoder_heads=shape.decoder_heads,
        normalise=shape.normalise,
        rate=stage.frames.about.rate,
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive(stage.seed, "weights"))
        model = MaskedAutoencoder(config)
    mean, deviation = stage.frames.moments()
    model.encoder.mean.copy_(torch.from_numpy(mean))
    model.encoder.deviation.copy_(torch.from_numpy(deviation))
    torch.nn.Module.to(model, stage.device)
    groups = decayed(model.parameters(), stage.options.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=stage.options.learning_rate, betas=stage.options.betas, fused=True)
    return Training(model, copy.deepcopy(model) if stage.options.average else None, optimizer)


def _step(
    stage: Stage, now: Training, rows: Rows, batch: windows.Batch, rate: float
) -> tuple[Reconstruction, float, Tensor]:
    """One update; this process's reconstruction and its share of the batch, and the norm of the whole gradient."""
    options, config, processes = stage.options, now.model.config, stage.processes
    columns = config.columns(batch.rows)
    draw = torch.Generator().manual_seed(derive(stage.seed, "mask", now.step))
    order = masking.order(options.masking, len(batch.clips), columns, config.bands, options.span, draw)
    visible = masking.visible(options.masking, columns, config.bands, options.ratio)
    mine = np.arange(processes.rank, len(batch.clips), processes.count)
    share = len(mine) / len(batch.clips)
    mine = mine if share else np.zeros(1, dtype=np.int64)  # without a share it takes part, and adds nothing
    own = windows.Batch(batch.clips[mine], batch.starts[mine], batch.rows)
    now.optimizer.zero_grad(set_to_none=True)
    with arithmetic(options.precision, stage.device.type):
        made = now.model(rows(own), order[torch.from_numpy(mine)].to(stage.device), visible)
    (made.loss * share).backward()
    parameters = list(now.model.parameters())
    processes.sum_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, options.clip_norm)
    for group in now.optimizer.param_groups:
        group["lr"] = rate
    now.optimizer.step()
    if now.average is not None:
        with torch.no_grad():
            for mean, value in zip(now.average.parameters(), parameters, strict=True):
                mean.lerp_(value, 1 - options.average)
    return made, share, norm


def worth(made: Reconstruction) -> dict[str, float]:
    """What a loss is worth: the same error of whoever says the mean of the visible patches, and the mean cosine between
    hidden patches and their predictions."""
    with torch.no_grad():
        plain = (made.seen.mean(1, keepdim=True) - made.target).square().mean()
        cosine = torch.nn.functional.cosine_similarity(made.predicted.float(), made.target.float(), dim=-1).mean()
    return {"loss_of_mean": plain.item(), "cosine": cosine.item()}


def _save(folder: Path, now: Training) -> None:
    """Writes `folder/step-N` whole or not at all, then removes the older ones."""
    path = folder / f"step-{now.step}"
    with atomic_folder(path) as aside:
        tensors = {f"model.{name}": value for name, value in now.model.state_dict().items()}
        if now.average is not None:
            tensors |= {f"average.{name}": value for name, value in now.average.state_dict().items()}
        for name, parameter in now.model.named_parameters():
            tensors |= {f"optimizer.{name}.{key}": value for key, value in now.optimizer.state[parameter].items()}
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()}, aside / "training.safetensors"
        )
        (aside / "state.json").write_text(json.dumps({"step": now.step}))
    prune(folder)


def _restore(path: Path, now: Training) -> None:
    """Puts everything back."""
    tensors = load_file(path / "training.safetensors")

    def part(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}

    now.model.load_state_dict(part("model"))
    if now.average is not None:
        now.average.load_state_dict(part("average"))
    for name, parameter in now.model.named_parameters():
        moments = part(f"optimizer.{name}")  # the fused step reads its own count on the device too
        now.optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}
    now.step = int(json.loads((path / "state.json").read_text())["step"])
