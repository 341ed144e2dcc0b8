"""AudioSet's features and AudioCaps' captions, from the network to frame sets.

    FOLDER/features.tar.gz, *.csv                    2.4 GB of records, the names of the labels, lists of segments
    FOLDER/captions/{train,val,test}.csv             AudioCaps
    FOLDER/frames/{bal_train,eval,unbal_train}       frame sets

A download goes on where it was interrupted, and is compared with the hashes that the server sends, or with `sha256`.
Both addresses are settings, so that a mirror, or a folder on a server of one's own, does as well."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from auscult.core.errors import DataError
from auscult.data import audioset, provision
from auscult.data.convert import convert
from auscult.data.download import fetch
from auscult.data.frames import FrameSet
from auscult.data.waiting import Tell

SPLITS = ("train", "val", "test")
"""AudioCaps' files."""


@dataclass(frozen=True, kw_only=True)
class Provision(provision.Provision):
    """Options of AudioSet with AudioCaps."""

    folder: str = "audioset"
    home: str = audioset.HOME.format(region="us")
    """Address that AudioSet's files are below; `eu_audioset` and `asia_audioset` are copies in other regions."""
    captions: str = "https://raw.githubusercontent.com/cdjkim/audiocaps/master/dataset"
    """Address that AudioCaps' train.csv, val.csv and test.csv are below."""
    sha256: str | None = None
    """Hash that the features must have; null is content with the server's."""
    parts: tuple[str, ...] = tuple(audioset.PUBLISHED)
    """Which parts become frame sets."""

    def __post_init__(self) -> None:
        if unknown := [part for part in self.parts if part not in audioset.PUBLISHED]:
            raise ValueError(f"parts has {unknown[0]!r}: name some of {', '.join(audioset.PUBLISHED)}")
        if not self.parts:
            raise ValueError(f"parts is empty: name some of {', '.join(audioset.PUBLISHED)}")

    def provide(self, tell: Tell) -> str:
        """Raises DownloadError for what cannot be fetched, DataError for what cannot be read."""
        folder = Path(self.folder)
        if folder.is_file():
            raise DataError(f"{folder} is a file; name a folder with --prepare.folder")
        missing = [part for part in self.parts if not (folder / "frames" / part).exists()]
        for name in audioset.FILES if missing else ():
            sha256 = self.sha256 if name == audioset.FILES[-1] else None
            fetch(f"{self.home}/{name}", folder / Path(name).name, sha256=sha256, tell=tell)
        for split in SPLITS:
            fetch(f"{self.captions}/{split}.csv", folder / "captions" / f"{split}.csv", tell=tell)
        if missing:
            convert(folder, folder / "frames", only=missing, tell=tell)
        told = ", ".join(_told(FrameSet.open(folder / "frames" / part)) for part in self.parts)
        return f"audioset: {told} as frame sets, and AudioCaps' captions, in {folder}"


def _told(frames: FrameSet) -> str:
    """How many clips a part has, and how many records were left out."""
    left = sum(frames.dropped.values()) + frames.lost.clips
    about = "about " if frames.lost.bytes else ""
    dropped = f"; {about}{left:,} left out, see {frames.path / 'dropped.jsonl'}" if left else ""
    return f"{frames.path.name} ({len(frames):,} clips{dropped})"
