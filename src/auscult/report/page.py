"""One page about a run, to read, to hear and to see; it needs nothing but a browser, today or in ten years.

Everything stands inside of the file: style, drawings, and the clips as data URIs, each once: what was asked about the
same clip stands on one card. There is no script, and a content security policy forbids one, so that a reply that
contains HTML stays text twice over: escaped, and powerless if it were not. A clip that cannot be shown is named on its
card and counted at the top. The same run folder gives the same bytes: nothing on the page depends on when it was
written.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import jinja2
import numpy as np
import soundfile
from markupsafe import Markup

from auscult.core.runs import write_bytes
from auscult.report import charts, words
from auscult.report.encoder import PROBES, encoder_of, is_pretraining
from auscult.report.figures import Clip, Figures, Shown
from auscult.report.panels import number, panels_of
from auscult.report.reading import figures_of

MEDIA_TYPES = {
    ".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".opus": "audio/ogg",
    ".m4a": "audio/mp4", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
}  # fmt: skip
DECODED = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
"""Suffixes that soundfile reads, so that a torn file is found here and not by the reader's browser."""
PROBLEMS = {
    "empty": "the reply is empty",
    "unclosed_thinking": "the thinking never ends",
    "no_answer": "no answer in the reply",
    "several_answers": "several different answers",
    "not_a_choice": "the answer is none of the options",
}
"""`Parsed.problem` in words."""


@dataclass(frozen=True, slots=True)
class Player:
    """A clip as the page shows it: `source` holds it, or `trouble` says why it cannot be heard."""

    clip: Clip
    source: str | None = None
    wave: Markup | None = None
    trouble: str | None = None

    @property
    def name(self) -> str:
        """What to call it where it cannot be shown."""
        return self.clip.file or self.clip.kind


@dataclass(frozen=True, slots=True)
class Card:
    """The clips of a question, and all sampled rollouts that are about these clips: the page holds a clip once."""

    players: tuple[Player, ...]
    rollouts: tuple[Shown, ...]


def write_page(run: Path) -> Path:
    """Writes `report.html` into the run folder, whole or not at all; returns its path. RunError: see `figures_of`."""
    target = run / "report.html"
    # A lone surrogate is legal in JSON and not in UTF-8: it is shown by its escape.
    write_bytes(target, render(figures_of(run), run).encode("utf-8", "backslashreplace"))
    return target


def render(found: Figures, run: Path) -> str:
    """The page as text; media are read from `run`."""
    cards = _cards(run, found.rollouts)
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["unheard"] = words.unheard
    encoder = encoder_of(run, found.stages)
    stages = [(stage, *panels_of(stage, found.iterations)) for stage in found.stages]
    return environment.get_template("page.html").render(
        run=found,
        encoder=encoder,
        encoder_probes=PROBES.values(),
        pretraining=[drawn for drawn in stages if is_pretraining(drawn[0])],
        cards=cards,
        stages=[drawn for drawn in stages if not is_pretraining(drawn[0])],
        clips=sum(len(card.players) for card in cards),
        troubles=[(card.rollouts[0].id, player) for card in cards for player in card.players if player.trouble],
        rivals=dict.fromkeys([*words.RIVALS, *(name for result in found.described for name in result.baselines)]),
        problems=PROBLEMS,
        number=number,
        words=words,
        draw=charts,
    )


# -- media ------------------------------------------------------------------------------------------------------------


def _cards(run: Path, rollouts: Sequence[Shown]) -> list[Card]:
    """A card for each clip, or set of clips, in order of appearance; a rollout without a file has its own."""
    together: dict[object, list[Shown]] = {}
    for at, shown in enumerate(rollouts):
        files = tuple(clip.file for clip in shown.media)
        together.setdefault(files if files and all(files) else at, []).append(shown)
    return [Card(tuple(_player(run, clip) for clip in alike[0].media), tuple(alike)) for alike in together.values()]


def _player(run: Path, clip: Clip) -> Player:
    if clip.file is None:
        return Player(clip, trouble="cannot be played: no file of it is kept")
    path, suffix = run / clip.file, PurePosixPath(clip.file).suffix.lower()
    # A run folder may come from elsewhere, and a page is passed on: no file from outside of the folder goes into it.
    if not path.resolve().is_relative_to(run.resolve()):
        return Player(clip, trouble="lies outside of the run folder")
    if not path.is_file():
        return Player(clip, trouble="is missing")
    if suffix not in MEDIA_TYPES or MEDIA_TYPES[suffix].partition("/")[0] != clip.kind:
        return Player(clip, trouble=f"is no {clip.kind} that a browser shows")
    content = path.read_bytes()
    source = f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(content).decode('ascii')}"
    if suffix not in DECODED:
        return Player(clip, source=source)
    try:
        samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        return Player(clip, trouble=f"cannot be decoded ({error.error_string})")
    if not len(samples):
        return Player(clip, trouble="holds no samples")
    return Player(clip, source=source, wave=charts.envelope(np.nan_to_num(samples).mean(axis=1)))
