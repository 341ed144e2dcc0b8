"""An encoder from recordings alone: features, pretraining, and what it knows afterwards, in one run folder.

    features/            the log-mel of all recordings as a frame set, where the data were not one already
    metrics.jsonl        the loss, and what whoever says the mean of the visible patches would have
    encoder/             the masked autoencoder; `encoder` within it is what is kept
    results_probe.json   a linear layer and the nearest neighbours on its vectors, beside a random encoder's
    reconstructions.npz  what the autoencoder makes of what it does not see, which the report draws
    data.json            what was heard and what was left out of it, in sentences
    report.html          all of it on one page
    config.yaml, environment.json, checkpoints/, done

A file that is there is finished, so the same command goes on where it was stopped. A clip's vector is the mean of its
tokens. The random encoder has the same shape and the same mean and deviation of the features: the difference between
the two is what pretraining taught.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from auscult.core.config import to_dict
from auscult.core.errors import ConfigError, DataError
from auscult.core.runs import atomic_folder, read_jsonl, write_json
from auscult.core.seeds import derive
from auscult.core.types import Audio
from auscult.data.folders import refuse_foreign, walk
from auscult.data.frames import About, FrameSet, writing
from auscult.data.headers import refuse_unusable
from auscult.data.sources import sounds
from auscult.data.splits import split_groups
from auscult.data.waiting import Tell
from auscult.data.windows import usable
from auscult.evaluate.statistics import clustered_wilson, paired_bootstrap
from auscult.media.audio import decode, silent
from auscult.models.arithmetic import repeatable
from auscult.models.graft_listener import Ears
from auscult.models.mae import MaskedAutoencoder
from auscult.models.mel import FRAMES_PER_SECOND, RATE, log_mel
from auscult.recipe import Pretraining
from auscult.report.page import write_page
from auscult.session import Say, clock, device
from auscult.train import masked, probing, reconstructions
from auscult.train.frame_probe import Exam, brief, divide, probe_frames
from auscult.train.processes import join, leave

FOLD = re.compile(r"(\d+)-.+")
"""A name that begins with its fold, as ESC's do."""
FOLDS = 5
"""Of clips whose names say none."""
SHOWN = 5
"""Clips that a sentence names."""
RANDOM = 8
"""Random encoders beside the trained one: a single one tells the classes ten points better or worse by its seed."""
Probe = Callable[[Tensor, Tensor, Tensor], Tensor]
PROBES: Mapping[str, Probe] = {"linear": probing.linear, "knn": probing.knn}


def run(recipe: Pretraining, out: Path, command: str, tell: Tell, *, say: Say, overwrite: bool) -> dict[str, Any]:
    """Pretrains and probes whatever is not done yet; the figures of the finished run, for process 0 alone."""
    repeatable()
    found = pretrained(recipe, out, command, tell, say=say, overwrite=overwrite)
    leave()
    return found


def pretrained(
    recipe: Pretraining, out: Path, command: str, tell: Tell, *, say: Say, overwrite: bool = False
) -> dict[str, Any]:
    """`run`, for one that goes on to something else."""
    where, who = device(recipe.device), join()
    recordings, asked = look(recipe)
    with who.open(out, to_dict(recipe), command, overwrite=overwrite) as opened:
        if opened.finished:
            say(f"{out} is finished, and these are its figures; --overwrite would begin again")
        else:
            began = time.perf_counter()
            who.first(partial(_features, recipe, recordings, out / "features", tell))
            frames = FrameSet.open(recipe.data[0] if recordings is None else out / "features")
            if who.rank == 0:
                told = list(_told(frames, recipe))
                write_json(out / "data.json", {"said": told})
                for sentence in told:
                    say(sentence)
            stage = masked.Stage(
                run=opened,
                frames=frames,
                source=frames.about.kind,
                shape=recipe.shape,
                options=recipe.pretrain,
                seed=recipe.seed,
                device=where,
                probe=_meanwhile(asked, recipe, where) if asked and recipe.pretrain.probe_every else None,
                processes=who,
            )
            if not who.first((out / "encoder").exists):
                model = masked.train(stage, lambda step, steps, row: tell("pretrain", step, steps, row))
                who.first(partial(save, model, out / "encoder"))
            if who.rank == 0:
                if isinstance(asked, Exam):
                    found = probe_frames(
                        MaskedAutoencoder.from_pretrained(out / "encoder"), asked, recipe.seed, where, tell
                    )
                    write_json(out / "results_probe.json", {"encoder": str(out / "encoder"), **found})
                elif asked is not None:
                    write_json(out / "results_probe.json", probe(out / "encoder", asked, recipe.seed, where, tell))
                reconstructions.write(
                    out / "reconstructions.npz", out / "encoder", frames, recipe.pretrain, recipe.seed, where
                )
                clock(out / "environment.json", time.perf_counter() - began)
                write_page(out)
                opened.finish()
    if who.rank:
        return {}
    found = json.loads((out / "results_probe.json").read_text()) if recipe.probe is not None else None
    return {"run": str(out), "encoder": str(out / "encoder"), **_missed(out), "probe": found}


def _missed(out: Path) -> dict[str, float | None]:
    """What the autoencoder misses of what is hidden, and what the mean of what is seen would, as last logged; None
    where nothing was."""
    rows = read_jsonl(out / "metrics.jsonl").rows
    last = next((row for row in reversed(rows) if row.get("loss") is not None), {})
    return {name: last.get(name) for name in ("loss", "loss_of_mean")}


def look(recipe: Pretraining) -> tuple[list[Path] | None, Labelled | Exam | None]:
    """The recordings that are heard, None where the data are one frame set, and what the encoder is probed on. Whatever
    is wrong with settings or data is raised here, before anything is written: ConfigError, DataError and MediaError."""
    recordings = _recordings(recipe)
    about = _about(recipe)
    masked.shortest(about.features, recipe.shape, recipe.pretrain)
    return recordings, _asked(recipe, about)


def _asked(recipe: Pretraining, about: About) -> Labelled | Exam | None:
    """What the encoder, which hears rows like `about`, is probed on: class folders, or a frame set with labels. All
    that cannot be asked is refused before it trains: DataError and MediaError, and ConfigError where it is to be probed
    meanwhile, on nothing."""
    if recipe.probe is None:
        if recipe.pretrain.probe_every:
            raise ConfigError(
                f"pretrain.probe_every is {recipe.pretrain.probe_every}, and nothing says what to probe on; name it "
                "(--probe), or set 0"
            )
        return None
    if (Path(recipe.probe) / "about.json").is_file():
        exam = divide(FrameSet.open(recipe.probe), None, recipe.seed)
        exam.refuse_unheard(about.features, about.rate)
        return exam
    if about.kind != "mel":
        raise DataError(
            f"{recipe.probe}: holds recordings, and an encoder of frames hears none; probe it on frames with labels"
        )
    return labelled(Path(recipe.probe), recipe.ignore)


def _is_set(recipe: Pretraining) -> bool:
    """Whether the data are one frame set, and no folders of recordings."""
    return len(recipe.data) == 1 and (Path(recipe.data[0]) / "about.json").is_file()


def _about(recipe: Pretraining) -> About:
    """What is pretrained on: a frame set as it says itself, or the log-mel that recordings become."""
    if _is_set(recipe):
        return FrameSet.open(recipe.data[0]).about
    source = f"log-mel of {', '.join(recipe.data)}"
    return About(recipe.mels, float(FRAMES_PER_SECOND), "float16", kind="mel", source=source)


def ears(recipe: Pretraining) -> Ears:
    """What the encoder hears that is pretrained so. Raises DataError for a frame set that is none."""
    about = _about(recipe)
    return Ears(about.kind, about.features, about.rate, recipe.shape.width, recipe.shape.layers)


def _meanwhile(
    asked: Labelled | Exam, recipe: Pretraining, where: torch.device
) -> Callable[[MaskedAutoencoder], Mapping[str, float]]:
    """What is logged of what an encoder knows while it trains: mAP of labels, or the accuracy of classes."""
    if isinstance(asked, Exam):
        return lambda model: brief(model, asked, where)
    mels = _about(recipe).features
    heard = cache(lambda: [log_mel(decode(Audio(str(clip.path)), RATE), mels)[None] for clip in asked.clips])

    def accuracies(model: MaskedAutoencoder) -> Mapping[str, float]:
        with torch.no_grad():
            tokens = [
                model.encoder.hear(rows.to(where), torch.tensor([rows.shape[1]], device=where)) for rows in heard()
            ]
        vectors = torch.stack([found[0].mean(0) for found, _ in tokens]).double().cpu()
        told = _scores(asked, {"now": [vectors]})
        return {f"probe/{name}": told[name]["now"]["accuracy"] for name in PROBES}

    return accuracies


def save(model: MaskedAutoencoder, path: Path) -> None:
    """Writes the autoencoder whole or not at all."""
    with atomic_folder(path) as aside:
        model.save_pretrained(aside)


def _recordings(recipe: Pretraining) -> list[Path] | None:
    """All recordings below the folders; None where the data are one frame set. Raises DataError for foreign files and
    MediaError for recordings that cannot be used, which it counts."""
    if _is_set(recipe):
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
    with writing(path, _about(recipe)) as writer:
        for number, file in enumerate(recordings, start=1):
            wave = decode(Audio(str(file)), RATE)
            writer.add(str(file), log_mel(wave, recipe.mels).numpy().astype(np.float16))
            writer.silent += [str(file)] if silent(wave) else []
            tell("features", number, len(recordings), {})


def _told(frames: FrameSet, recipe: Pretraining) -> Iterator[str]:
    """What is trained on, what is too short for it, what was left out before, and what is silent, in sentences."""
    lengths = np.diff(frames.offsets)
    least = masked.shortest(frames.about.features, recipe.shape, recipe.pretrain)
    heard = usable(lengths, least)
    hours = int(lengths[heard].sum()) / frames.about.rate / 3600
    count = f"{len(frames):,}" if heard.all() else f"{int(heard.sum()):,} of {len(frames):,}"
    yield f"pretraining hears {count} clips, {hours:.2f} hours, {frames.about.features} features a row"
    if short := [frames.id(int(index)) for index in np.flatnonzero(~heard)]:
        yield f"left out, of fewer than {least} rows, too few to hide some of: {_named(short)}"
    if before := sum(frames.dropped.values()) + frames.lost.clips:
        about = "about " if frames.lost.bytes else ""
        yield f"left out when the frames were written: {about}{before:,} clips ({frames.path / 'dropped.jsonl'})"
    if frames.silent:
        yield f"heard though silent, which teaches nothing: {_named(frames.silent)}; `ignore` leaves them out"


def _named(clips: Sequence[str]) -> str:
    """How many clips there are, and the first of them."""
    more = " ..." if len(clips) > SHOWN else ""
    return f"{len(clips):,} ({', '.join(clips[:SHOWN])}{more})"


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
    the encoder, on those of `RANDOM` random ones of its shape, and on the mean of the features themselves."""
    model = MaskedAutoencoder.from_pretrained(path)
    if model.config.source != "mel":
        raise DataError(
            f"{path}: hears frames, and {len(clips.clips)} recordings are none; probe an encoder of log-mel"
        )
    strangers = [probing.untrained(model, derive(seed, "probe", "random", number)) for number in range(RANDOM)]
    encoders = [model.encoder.to(where).eval(), *(stranger.to(where).eval() for stranger in strangers)]
    heard: list[list[Tensor]] = [[] for _ in encoders]
    means: list[Tensor] = []
    for number, clip in enumerate(clips.clips, start=1):
        rows = log_mel(decode(Audio(str(clip.path)), RATE), model.config.features)[None].to(where)
        length = torch.tensor([rows.shape[1]], device=where)
        with torch.no_grad():
            for encoder, vectors in zip(encoders, heard, strict=True):
                vectors.append(encoder.hear(rows, length)[0][0].mean(0))
        means.append(rows[0].mean(0))
        tell("probe", number, len(clips.clips), {})
    stacked = [torch.stack(vectors).double().cpu() for vectors in (*heard, means)]
    sources = {"pretrained": stacked[:1], "random": stacked[1:-1], "features": stacked[-1:]}
    told = {"encoder": str(path), "clips": len(clips.clips), "split": clips.split, "random_encoders": RANDOM}
    return told | _scores(clips, sources)


def _scores(clips: Labelled, sources: Mapping[str, Sequence[Tensor]]) -> dict[str, Any]:
    """Accuracies with intervals, and the paired difference between the first source and the others. Of a source with
    several vectors for each clip, a clip counts by the share of them with which it was told rightly."""
    classes = sorted({clip.label for clip in clips.clips})
    truth = torch.tensor([classes.index(clip.label) for clip in clips.clips])
    folds = torch.tensor(clips.folds)
    groups = [clip.group for clip in clips.clips]
    told: dict[str, Any] = {"classes": classes, "chance": 1 / len(classes), "folds": len(set(clips.folds))}
    for name, scores_of in PROBES.items():
        each = {
            source: torch.stack([_right(scores_of, vectors, truth, folds) for vectors in several])
            for source, several in sources.items()
        }
        right = {source: rows.double().mean(0).tolist() for source, rows in each.items()}
        told[name] = {source: _accuracy(rows, groups) for source, rows in each.items()}
        first, *others = right
        for other in others:
            paired = paired_bootstrap(right[other], right[first], groups, seed=0)
            told[name][f"over_{other}"] = {"difference": paired.difference, "interval": paired.interval}
    return told


def _right(scores_of: Probe, vectors: Tensor, truth: Tensor, folds: Tensor) -> Tensor:
    """Which clips [N] are told rightly from vectors [N, D] by what was fitted to the other folds."""
    targets = functional.one_hot(truth).double()
    right = torch.zeros(len(truth), dtype=torch.bool)
    for fold in folds.unique():
        test = folds == fold
        right[test] = scores_of(vectors[~test], targets[~test], vectors[test]).argmax(1) == truth[test]
    return right


def _accuracy(right: Tensor, groups: Sequence[str]) -> dict[str, Any]:
    """The accuracy of one source [K, N] with its interval, and of each of its K encoders."""
    scores = right.double().mean(0)
    told = {"accuracy": scores.mean().item(), "interval": list(clustered_wilson(scores.tolist(), groups))}
    return told if len(right) == 1 else {**told, "each": right.double().mean(1).tolist()}
