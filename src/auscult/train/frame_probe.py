"""What an encoder knows of the labels of a frame set, such as AudioSet's 527: mAP of a linear layer and of the nearest
neighbours (`probing`), beside random encoders of its shape and the mean frame.

Learnt on one frame set and asked on another, or on a fifth of the recordings of the one that is given; a clip's id
names its recording, in AudioSet its video. What is not labelled is not known to be silent: a clip without labels is
left out, and so is a training clip of a recording that is asked about. Both are counted.

A clip's vector is the mean of its tokens. Frames are read from the map a batch at a time, and only vectors are kept.
Intervals are delete-a-group jackknives over recordings: resampling with replacement would count one rare hit twice and
so flatter every encoder. Letters: C clips, T rows, F features, D width, L labels.
"""

# torch ships partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.core.errors import DataError
from auscult.core.seeds import derive, rng
from auscult.data.frames import FrameSet
from auscult.data.splits import split_groups
from auscult.data.waiting import Tell
from auscult.models.mae import MaskedAutoencoder, PatchEncoder, near
from auscult.train import probing

HELD = 0.2
"""Share of recordings that is asked about where no other frame set is given."""
ROWS = 1 << 14
"""Rows of frames that are encoded at once."""
GROUPS = 30
"""Of recordings, one of which a jackknife leaves out at a time."""
STUDENT = 2.045
"""97.5 % of Student's t with GROUPS - 1 degrees of freedom lies below."""
RANDOM = 3
"""Random encoders, whose mAPs are averaged: what one knows depends on its seed."""


@dataclass(frozen=True, slots=True)
class Side:
    """The clips of a frame set that are learnt from, or asked about."""

    frames: FrameSet
    """The set."""
    clips: NDArray[np.int64]
    """Which of its clips [C]."""
    labels: int
    """L, how many labels there are."""

    @property
    def targets(self) -> Tensor:
        """Which labels each clip has [C, L], 0 or 1."""
        found = torch.zeros(len(self.clips), self.labels)
        for place, clip in enumerate(self.clips.tolist()):
            found[place, self.frames.labels_of(clip).tolist()] = 1.0
        return found

    @property
    def recordings(self) -> list[bytes]:
        """What each clip was cut from [C]."""
        return self.frames.ids[self.clips].tolist()


@dataclass(frozen=True, slots=True)
class Exam:
    """What is learnt from, what is asked, and what is left out."""

    train: Side
    """Clips with labels."""
    test: Side
    """Clips of other recordings."""
    split: str
    """How they were divided, in words."""
    left_out: Mapping[str, int]
    """Clips that are in neither, by reason."""

    def refuse_unheard(self, features: int, rate: float | None) -> None:
        """Raises DataError where an encoder of so many features, and so many frames a second, cannot hear these."""
        for frames in (self.train.frames, self.test.frames):
            about, advice = frames.about, "give frames like those that it is pretrained on"
            if about.features != features:
                raise DataError(
                    f"{frames.path}: frames of {about.features} features, and the encoder hears {features}; {advice}"
                )
            if not near(about.rate, rate):
                raise DataError(
                    f"{frames.path}: {about.rate:g} frames a second, and the encoder hears {rate:g}; {advice}"
                )


def divide(train: FrameSet, test: FrameSet | None, seed: int) -> Exam:
    """What is learnt on `train` and asked on `test`, or both on `train`, divided by recording.

    Raises DataError where labels are missing on either side, or are not the same ones."""
    found = [_labelled(frames) for frames in ([train] if test is None else [train, test])]
    labels = _labels(train, train if test is None else test)
    without = sum(len(frames) - len(clips) for frames, clips in zip((train, test or train), found, strict=False))
    if test is None:
        names = [train.id(clip) for clip in found[0].tolist()]
        held = split_groups(names, HELD, derive(seed, "probe", "split"), where=str(train.path))
        asked = np.array([name in held for name in names])
        sides, split = (found[0][~asked], found[0][asked]), f"{HELD:.0%} of its recordings"
        both = 0
    else:
        heard = set(test.ids[found[1]].tolist())
        shared = np.array([name in heard for name in train.ids[found[0]].tolist()], dtype=bool)
        sides, split = (found[0][~shared], found[1]), str(test.path)
        both = int(shared.sum())
    if not len(sides[0]):
        raise DataError(f"{train.path}: all of its recordings are in {split} too; give another set to learn from")
    return Exam(
        Side(train, sides[0], labels),
        Side(test or train, sides[1], labels),
        split,
        {"without_labels": without, "recordings_that_are_asked_about": both},
    )


def _labelled(frames: FrameSet) -> NDArray[np.int64]:
    """The clips that have labels."""
    found = np.flatnonzero(np.diff(frames.bounds))
    if not len(found):
        raise DataError(f"{frames.path}: no clip has labels, so there is nothing to probe; give a set that has them")
    return found


def _labels(train: FrameSet, test: FrameSet) -> int:
    """How many labels there are, in both alike."""
    if train.about.labels != test.about.labels:
        raise DataError(
            f"{train.path} and {test.path} have other names for labels ({len(train.about.labels)} and "
            f"{len(test.about.labels)}); convert both with one list of them (--labels)"
        )
    return len(train.about.labels) or 1 + int(max(train.labels.max(), test.labels.max()))


def probe_frames(model: MaskedAutoencoder, exam: Exam, seed: int, device: torch.device, tell: Tell) -> dict[str, Any]:
    """mAP with intervals of what the encoder, random ones of its shape and the mean frame know, and the paired
    differences. Raises DataError where the frames are not what the encoder hears."""
    exam.refuse_unheard(model.config.features, model.config.rate)
    strangers = [probing.untrained(model, derive(seed, "probe", "random", number)) for number in range(RANDOM)]
    encoders = {"pretrained": model.encoder} | {f"random {at}": encoder for at, encoder in enumerate(strangers)}
    encoders = {name: encoder.to(device).eval() for name, encoder in encoders.items()}
    clips = len(exam.train.clips) + len(exam.test.clips)
    train = _vectors(encoders, exam.train, device, lambda done: tell("probe", done, clips, {}))
    test = _vectors(encoders, exam.test, device, lambda done: tell("probe", len(exam.train.clips) + done, clips, {}))
    truth = exam.test.targets
    kept = _kept(exam.test, seed)
    return {
        "metric": "mAP",
        "learnt_on": str(exam.train.frames.path),
        "asked_on": exam.split,
        "clips": {"learnt": len(exam.train.clips), "asked": len(exam.test.clips)},
        "left_out": dict(exam.left_out),
        "labels": {"all": exam.train.labels, "asked": int(truth.any(0).sum())},
        "random_encoders": RANDOM,
        "chance": truth.mean(0)[truth.any(0)].mean().item(),
    } | {
        name: _compared(
            {source: probing.mean_average_precisions(scores, truth, kept) for source, scores in found.items()}
        )
        for name, found in _scores(train, test, exam.train.targets).items()
    }


def brief(model: MaskedAutoencoder, exam: Exam, device: torch.device) -> dict[str, float]:
    """mAP of both probes on the encoder alone: what is logged while it trains (`masked.Stage.probe`)."""
    train, test = (
        _vectors({"pretrained": model.encoder}, side, device, lambda _: None) for side in (exam.train, exam.test)
    )
    truth = exam.test.targets
    found = _scores({"pretrained": train["pretrained"]}, test, exam.train.targets)
    scores = {name: probing.mean_average_precision(values["pretrained"], truth) for name, values in found.items()}
    return {f"probe/{name}": value for name, value in scores.items() if value is not None}


def _scores(train: Mapping[str, Tensor], test: Mapping[str, Tensor], targets: Tensor) -> dict[str, dict[str, Tensor]]:
    """Scores [C, L] of test clips by probe, then by what the vectors are."""
    return {
        "linear": {
            name: probing.linear(x, targets.to(x.device), test[name], several=True).cpu() for name, x in train.items()
        },
        "knn": {name: probing.knn(x, targets.to(x.device), test[name]).cpu() for name, x in train.items()},
    }


def _kept(side: Side, seed: int) -> Tensor:
    """All clips, then all but those of one group of recordings after another [GROUPS + 1, C]; of too few recordings
    for that, all clips alone [1, C]."""
    recordings = sorted(set(side.recordings))
    everything = torch.ones(1, len(side.clips), dtype=torch.bool)
    if len(recordings) < GROUPS:
        return everything
    places = rng(seed, "probe", "groups").permutation(len(recordings)) % GROUPS
    group = dict(zip(recordings, places.tolist(), strict=True))
    groups = torch.tensor([group[name] for name in side.recordings])
    return torch.cat([everything, groups != torch.arange(GROUPS)[:, None]])


def _compared(found: Mapping[str, Tensor]) -> dict[str, Any]:
    """mAP with intervals, and what the first has over the others, from the mAPs of `_kept`."""
    random = [values for source, values in found.items() if source.startswith("random")]
    found = {"pretrained": found["pretrained"], "random": torch.stack(random).mean(0), "features": found["features"]}
    told: dict[str, Any] = {}
    for source, values in found.items():
        interval = _interval(values)
        told[source] = {
            "map": values[0].item(),
            "interval": interval and [max(0.0, interval[0]), min(1.0, interval[1])],
        }
    first, *others = found
    for other in others:
        apart = found[first] - found[other]
        told[f"over_{other}"] = {"difference": apart[0].item(), "interval": _interval(apart)}
    return told


def _interval(values: Tensor) -> list[float] | None:
    """95 % around the first, of a jackknife over the others; None where too few recordings, or labels, tell."""
    estimate, left = values[0].item(), values[1:]
    if len(left) < GROUPS or not values.isfinite().all():
        return None
    reach = STUDENT * ((GROUPS - 1) * left.var(correction=0).item()) ** 0.5
    return [estimate - reach, estimate + reach]


def _vectors(
    encoders: Mapping[str, PatchEncoder], side: Side, device: torch.device, told: Callable[[int], None]
) -> dict[str, Tensor]:
    """Vectors [C, D] of the clips by encoder, and as `features` their mean frames [C, F], on the device."""
    first = next(iter(encoders.values()))
    found = {
        name: torch.zeros(len(side.clips), encoder.config.width, device=device) for name, encoder in encoders.items()
    }
    found["features"] = torch.zeros(len(side.clips), first.config.features, device=device)
    done = 0
    for places in _batches(np.diff(side.frames.offsets)[side.clips]):
        rows, lengths = _rows(side.frames, side.clips[places])
        rows, lengths, at = rows.to(device), lengths.to(device), torch.from_numpy(places).to(device)
        inside = torch.arange(rows.shape[1], device=device) < lengths[:, None]
        found["features"][at] = (rows * inside[..., None]).sum(1) / lengths[:, None]
        with torch.no_grad():
            for name, encoder in encoders.items():
                tokens, heard = encoder.hear(rows, lengths)
                found[name][at] = (tokens * heard[..., None]).sum(1) / heard.sum(1, keepdim=True)
        done += len(places)
        told(done)
    return found


def _batches(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Places of clips of similar lengths, about ROWS rows at a time."""
    order = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(order):
        size = max(1, ROWS // int(lengths[order[first]]))
        size = max(1, min(size, ROWS // int(lengths[order[first : first + size][-1]])))
        yield order[first : first + size]
        first += size


def _rows(frames: FrameSet, clips: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Values [B, T, F] of clips and their lengths [B]; past a clip's end its last row is repeated."""
    lengths = np.diff(frames.offsets)[clips]
    inside = np.minimum(np.arange(int(lengths.max())), lengths[:, None] - 1)
    rows = frames.frames[frames.offsets[clips][:, None] + inside]
    return torch.from_numpy(frames.convert(rows)), torch.from_numpy(lengths)
