"""What a report says of a pretrained encoder: what it knows, and what it makes of what it does not see.

Read from the folder of a pretraining run, or from `pretrain/` in that of a recipe: `results_probe.json`, and
`reconstructions.npz`, whose arrays become small pictures, a pixel a value, which the page stretches. Time runs to the
right and features upwards; what was hidden is transparent, so that the page shows through. A clip's three pictures
share one scale. Letters: T rows, F features.
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from auscult.core.errors import RunError
from auscult.report.figures import Stage
from auscult.report.record import Record, object_of
from auscult.report.words import between, percent, points

FOLDERS = (".", "pretrain")
"""Where a run folder may hold an encoder: it is one's own run, or a stage of a recipe."""
PROBES = {"linear": "Linear layer", "knn": "Nearest neighbours"}
SOURCES = {"pretrained": "This encoder", "random": "Random ones of its shape", "features": "The features themselves"}
SHADES = np.array(
    [(16, 18, 48), (58, 44, 120), (140, 58, 130), (224, 96, 92), (252, 170, 100), (254, 240, 200)], dtype=np.float64
)
"""From soft to loud, ever lighter, so that the order survives without colour."""
ENDS = (1, 99)
"""Percentiles of the values that the scale spans."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A stretch of a clip, as it is, as it was seen, and filled in; each a data URI."""

    name: str
    """The clip's id, of a path its end."""
    heard: str
    """As it is."""
    seen: str
    """Without what was hidden."""
    filled: str
    """With what was hidden as predicted."""
    hidden: float
    """Share of its patches that was hidden."""
    seconds: float
    """How long the stretch is."""
    error: float
    """Mean squared error of what was hidden, as the loss counts it."""
    error_of_mean: float
    """That of whoever says the mean of what was seen."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """All that a report says about a pretrained encoder."""

    alone: bool
    """Whether the run is its pretraining and nothing else."""
    headline: str
    """How far it came, in a sentence."""
    measure: str
    """What probes are told in: `Accuracy` or `mAP`; empty when nothing was probed."""
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """What was probed, with (value, interval) for each of `PROBES`, in words."""
    about: str
    """What was probed how, and what pretraining taught."""
    pictures: tuple[Picture, ...]
    """Reconstructions."""


def encoder_of(run: Path, stages: tuple[Stage, ...]) -> Encoder | None:
    """The encoder of a run folder, whose stages were read; None where it has none. RunError: a file is not readable."""
    trained = next((stage for stage in stages if is_pretraining(stage)), None)
    places = [run / place for place in FOLDERS if (run / place / "encoder").is_dir()]
    if trained is None and not places:
        return None
    folder = run / trained.name if trained is not None else places[0]
    measure, rows, about = _probed(folder)
    return Encoder(
        alone=folder.resolve() == run.resolve(),
        headline=_headline(trained),
        measure=measure,
        rows=rows,
        about=about,
        pictures=_pictures(folder),
    )


def is_pretraining(stage: Stage) -> bool:
    """Whether what a stage logged is an autoencoder's."""
    return "loss_of_mean" in stage.curves


def _headline(stage: Stage | None) -> str:
    if stage is None or not stage.curves["loss"].points or not stage.curves["loss_of_mean"].points:
        return "Pretraining: not measured."
    loss, of_mean = (stage.curves[key].points[-1][1] for key in ("loss", "loss_of_mean"))
    return f"Of what is hidden the autoencoder misses {loss:.3g}; saying the mean of what is seen misses {of_mean:.3g}."


# -- probes -----------------------------------------------------------------------------------------------------------


def _probed(folder: Path) -> tuple[str, tuple[tuple[str, tuple[tuple[str, str], ...]], ...], str]:
    """The measure, its values by what was probed, and a sentence."""
    if not (folder / "results_probe.json").is_file():
        return "", (), ""
    row = object_of(folder, "results_probe.json")
    labels = row.text_or_none("metric") == "mAP"
    key, tell = ("map", _digits) if labels else ("accuracy", percent)
    rows = tuple(
        (title, tuple(_cell(row.record(probe).record(source), key, tell) for probe in PROBES))
        for source, title in SOURCES.items()
    )
    over = row.record("linear").record("over_random")
    gain = f"{over.number('difference'):+.4f}" if labels else f"{points(over.number('difference'))} points"
    reach = _interval(over)
    ends = () if reach is None else tuple(f"{end:+.4f}" if labels else points(end) for end in reach)
    told = f" ({' to '.join(ends)}, paired)" if ends else ""
    clips, chance = _asked(row, labels), row.number("chance")
    about = (
        f"{clips}; chance {_digits(chance) if labels else percent(chance)}. Pretraining taught a linear layer "
        f"{gain}{told}, beside random encoders of the same shape."
    )
    return "mAP" if labels else "Accuracy", rows, about


def _asked(row: Record, labels: bool) -> str:
    """What was probed on, in words."""
    if labels:
        learnt, asked = row.record("clips").count("learnt"), row.record("clips").count("asked")
        return f"Learnt on {learnt:,} clips, asked about {asked:,} ({row.text('asked_on')})"
    return f"{row.count('clips'):,} clips of {len(row.texts('classes'))} classes, {row.text('split')}"


def _cell(row: Record, key: str, tell: Any) -> tuple[str, str]:
    interval = _interval(row)
    return tell(row.fraction(key)), "" if interval is None else _reach(interval, key == "map")


def _interval(row: Record) -> tuple[float, float] | None:
    return None if row.values.get("interval") is None else row.pair("interval", lowest=-1.0, highest=1.0)


def _reach(interval: tuple[float, float], labels: bool) -> str:
    return f"{_digits(interval[0])} to {_digits(interval[1])}" if labels else between(interval)


def _digits(value: float) -> str:
    return f"{value:.4f}"


# -- pictures ---------------------------------------------------------------------------------------------------------


def _pictures(folder: Path) -> tuple[Picture, ...]:
    path = folder / "reconstructions.npz"
    if not path.is_file():
        return ()
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return tuple(_picture(found, number) for number in range(len(found["ids"])))
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as problem:
        raise RunError(
            f"{path}: cannot be read ({problem}); delete it and pretrain again, which writes it"
        ) from problem


def _picture(found: Mapping[str, NDArray[Any]], number: int) -> Picture:
    heard, filled = (found[f"{what}-{number}"].astype(np.float64) for what in ("heard", "filled"))
    visible = found[f"visible-{number}"]
    if filled.shape != heard.shape or heard.ndim != 2 or any(np.mod(heard.shape, visible.shape)):
        raise ValueError(f"clip {number}: shapes {heard.shape}, {filled.shape}, {visible.shape} do not fit")
    seen = visible.repeat(heard.shape[0] // visible.shape[0], 0).repeat(heard.shape[1] // visible.shape[1], 1)
    low, high = np.percentile(heard, ENDS)
    shades = [np.clip((rows - low) / ((high - low) or 1.0), 0, 1) for rows in (heard, filled)]
    everything = np.ones_like(seen)
    return Picture(
        name="/".join(PurePath(str(found["ids"][number])).parts[-2:]),
        heard=_uri(shades[0], everything),
        seen=_uri(shades[0], seen),
        filled=_uri(shades[1], everything),
        hidden=1 - float(visible.mean()),
        seconds=len(heard) / float(found["rate"]),
        error=float(found["error"][number]),
        error_of_mean=float(found["error_of_mean"][number]),
    )


def _uri(shades: NDArray[np.float64], shown: NDArray[np.bool_]) -> str:
    """A PNG of values [T, F] from 0 to 1, transparent where nothing is shown."""
    places = np.linspace(0, len(SHADES) - 1, 255)
    palette = np.stack([np.interp(places, np.arange(len(SHADES)), SHADES[:, at]) for at in range(3)], axis=-1)
    pixels = np.where(shown, 1 + (254 * shades).round(), 0).astype(np.uint8).T[::-1]
    image = Image.fromarray(np.ascontiguousarray(pixels), "P")
    image.putpalette(bytes(3) + palette.round().astype(np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, transparency=0)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
