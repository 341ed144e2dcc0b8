"""An encoder from recordings alone: features, pretraining, and what it knows afterwards, in one run folder.

    features/            the log-mel of all recordings as a frame set, where the data were not one already
    metrics.jsonl        the loss, and what whoever says the mean of the visible patches would have
    encoder/             the masked autoencoder; `encoder` within it is what is kept
    results_probe.json   a linear layer and the nearest neighbours on its vectors, beside a random encoder's
    config.yaml, environment.json, checkpoints/, done

A file that is there is finished, so the same command goes on where it was stopped. A clip's vector is the mean of its
tokens. The random encoder has the same shape and the same mean and deviation of the features: the difference between
the two is what pretraining taught.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from auscult.core.config import to_dict
from auscult.core.errors import DataError
from auscult.core.runs import atomic_folder, write_json
from auscult.core.seeds import derive
from auscult.core.types import Audio
from auscult.data.folders import refuse_foreign, walk
from auscult.data.frames import About, FrameSet, writing
from auscult.data.headers import refuse_unusable
from auscult.data.sources import sounds
from auscult.data.splits import split_groups
from auscult.data.windows import usable
from auscult.evaluate.statistics import clustered_wilson, paired_bootstrap
from auscult.media.audio import decode
from auscult.models.mae import MaeConfig, MaskedAutoencoder
from auscult.models.mel import FRAMES_PER_SECOND, RATE, log_mel
from auscult.recipe import Pretraining
from auscult.session import Say, Tell, clock, device
from auscult.train import masked, probing
from auscult.train.processes import join, leave

FOLD = re.compile(r"(\d+)-.+")
"""A name that begins with its fold, as ESC's do."""
FOLDS = 5
"""Of clips whose names say none."""
PROBES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"linear": probing.linear, "knn": probing.knn}


def run(recipe: Pretraining, out: Path, command: str, tell: Tell, *, say: Say, overwrite: bool) -> dict[str, Any]:
    """Pretrains and probes whatever is not done yet; the figures of the finished run, for process 0 alone."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    found = pretrained(recipe, out, command, tell, say=say, overwrite=overwrite)
    leave()
    return found


def pretrained(
    recipe: Pretraining, out: Path, command: str, tell: Tell, *, say: Say, overwrite: bool = False
) -> dict[str, Any]:
    """`run`, for one that goes on to something else."""
    where, who = device(recipe.device), join()
    recordings = _recordings(recipe)
    clips = None if recipe.probe is None else labelled(Path(recipe.probe), recipe.ignore)
    with who.open(out, to_dict(recipe), command, overwrite=overwrite) as opened:
        if opened.finished:
            say(f"{out} is finished, and these are its figures; --overwrite would begin again")
        else:
            began = time.perf_counter()
            who.first(partial(_features, recipe, recordings, out / "features", tell))
            frames = FrameSet.open(recipe.data[0] if recordings is None else out / "features")
            say(_told(frames, recipe))
            stage = masked.Stage(
                run=opened,
                frames=frames,
                source="frames" if recordings is None else "mel",
                shape=recipe.shape,
                options=recipe.pretrain,
                seed=recipe.seed,
                device=where,
                processes=who,
            )
            if not who.first((out / "encoder").exists):
                model = masked.train(stage, lambda step, steps, row: tell("pretrain", step, steps, row))
                who.first(partial(save, model, out / "encoder"))
            if who.rank == 0:
                if clips is not None:
                    write_json(out / "results_probe.json", probe(out / "encoder", clips, recipe.seed, where, tell))
                clock(out / "environment.json", time.perf_counter() - began)
                opened.finish()
    if who.rank:
        return {}
    found = json.loads((out / "results_probe.json").read_text()) if recipe.probe is not None else None
    return {"run": str(out), "encoder": str(out / "encoder"), "probe": found}


def save(model: MaskedAutoencoder, path: Path) -> None:
    """Writes the autoencoder whole or not at all."""
    with atomic_folder(path) as aside:
        model.save_pretrained(aside)


def _recordings(recipe: Pretraining) -> list[Path] | None:
    """All recordings below the folders; None where the data are one frame set. Raises DataError for foreign files and
    MediaError for recordings that cannot be used, which it counts."""
    if len(recipe.data) == 1 and (Path(recipe.data[0]) / "about.json").is_file():
        return None
    found: list[Path] = []
    for root in map(Path, recipe.data):
        files = walk(root, recipe.ignore, "DATA")
        foreign = [path for path in files if path.suffix.lower() not in sounds.EXTENSIONS]
        refuse_foreign(root, foreign, "recordings", "--ignore")
        refuse_unusable((("", Audio(str(path))) for path in files), str(root))
        found += files
    return found


def _features(recipe: Pretraining, recordings: Sequence[Path] | None, path: Path, tell: Tell) -> None:
    """Writes the log-mel of all recordings, unless that is done."""
    if recordings is None or path.exists():
        return
    about = About(recipe.mels, float(FRAMES_PER_SECOND), "float16", source=f"log-mel of {', '.join(recipe.data)}")
    with writing(path, about) as writer:
        for number, file in enumerate(recordings, start=1):
            rows = log_mel(decode(Audio(str(file)), RATE), recipe.mels)
            writer.add(str(file), rows.numpy().astype(np.float16))
            tell("features", number, len(recordings), {})


def _told(frames: FrameSet, recipe: Pretraining) -> str:
    """What is trained on, and what of it is too short."""
    lengths = np.diff(frames.offsets)
    short = int((~usable(lengths, recipe.shape.patch_rows)).sum())
    left = f"; {short:,} shorter than a patch are left out" if short else ""
    hours = len(frames.frames) / frames.about.rate / 3600
    return f"{len(frames):,} clips, {hours:.2f} hours, {frames.about.features} features a row{left}"


@dataclass(frozen=True, slots=True)
class Labelled:
    """The clips of class folders, and how they are split."""

    clips: tuple[sounds.Clip, ...]
    """The recordings."""
    folds: tuple[int, ...]
    """Which fold each is in, from 0."""
    split: str
    """How folds were found, in words."""


def labelled(root: Path, ignore: tuple[str, ...]) -> Labelled:
    """The clips of a folder of class folders; folds by name where all say theirs, else by group, the same ones always.
    Raises DataError and MediaError for what cannot be used."""
    clips = sounds.read(root, ignore, ("the folder to probe on", "--ignore"))
    refuse_unusable((("", Audio(str(clip.path))) for clip in clips), str(root))
    named = [FOLD.fullmatch(clip.path.stem) if sounds.ESC.fullmatch(clip.path.stem) else None for clip in clips]
    numbers = [int(match[1]) for match in named if match is not None]
    if len(numbers) == len(clips) and len(set(numbers)) > 1:
        order = sorted(set(numbers))
        return Labelled(tuple(clips), tuple(map(order.index, numbers)), f"folds {order} of the names")
    folds = dict.fromkeys((clip.group for clip in clips), FOLDS - 1)
    left = list(clips)
    for fold in range(FOLDS - 1):  # each takes its share of what is left
        groups, labels = [clip.group for clip in left], [clip.label for clip in left]
        held = split_groups(groups, 1 / (FOLDS - fold), derive(0, "folds"), labels, where=str(root))
        folds |= dict.fromkeys(held, fold)
        left = [clip for clip in left if clip.group not in held]
    return Labelled(tuple(clips), tuple(folds[clip.group] for clip in clips), f"{FOLDS} folds by recording")


def probe(path: Path, clips: Labelled, seed: int, where: torch.device, tell: Tell) -> dict[str, Any]:
    """How well a linear layer and the nearest neighbours tell the classes, each fold by the others: on the vectors of
    the encoder, of a random one of its shape, and on the mean of the features themselves."""
    model = MaskedAutoencoder.from_pretrained(path)
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "probe", "random"))
        random = MaskedAutoencoder(cast(MaeConfig, model.config))
    random.encoder.mean.copy_(model.encoder.mean)
    random.encoder.deviation.copy_(model.encoder.deviation)
    encoders = {"pretrained": model.encoder.to(where).eval(), "random": random.encoder.to(where).eval()}
    if model.config.source != "mel":
        raise DataError(
            f"{path}: hears frames, and {len(clips.clips)} recordings are none; probe an encoder of log-mel"
        )
    found: dict[str, list[Tensor]] = {"pretrained": [], "random": [], "features": []}
    for number, clip in enumerate(clips.clips, start=1):
        rows = log_mel(decode(Audio(str(clip.path)), RATE), model.config.features)[None].to(where)
        length = torch.tensor([rows.shape[1]], device=where)
        with torch.no_grad():
            for name, encoder in encoders.items():
                found[name].append(encoder.hear(rows, length)[0][0].mean(0))
        found["features"].append(rows[0].mean(0))
        tell("probe", number, len(clips.clips), {})
    vectors = {name: torch.stack(rows).double().cpu() for name, rows in found.items()}
    return {"encoder": str(path), "clips": len(clips.clips), "split": clips.split, **_scores(clips, vectors)}


def _scores(clips: Labelled, vectors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Accuracies with intervals, and the paired difference between the first vectors and the others."""
    classes = sorted({clip.label for clip in clips.clips})
    truth = torch.tensor([classes.index(clip.label) for clip in clips.clips])
    targets = torch.eye(len(classes), dtype=torch.float64)[truth]
    folds = torch.tensor(clips.folds)
    groups = [clip.group for clip in clips.clips]
    told: dict[str, Any] = {"classes": classes, "chance": 1 / len(classes), "folds": len(set(clips.folds))}
    for name, scores_of in PROBES.items():
        right: dict[str, list[bool]] = {}
        for source, values in vectors.items():
            correct = torch.zeros(len(truth), dtype=torch.bool)
            for fold in sorted(set(clips.folds)):
                test = folds == fold
                found = scores_of(values[~test], targets[~test], values[test])
                correct[test] = found.argmax(1) == truth[test]
            right[source] = correct.tolist()
        first, *others = right
        told[name] = {
            source: {
                "accuracy": sum(row) / len(row),
                "correct": sum(row),
                "interval": list(clustered_wilson(row, groups)),
            }
            for source, row in right.items()
        } | {
            f"over_{other}": {
                key: value
                for key, value in asdict(paired_bootstrap(right[other], right[first], groups, seed=0)).items()
                if key in ("difference", "interval")
            }
            for other in others
        }
    return told
