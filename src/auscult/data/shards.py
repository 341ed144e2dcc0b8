"""A frame set as shards for WebDataset (github.com/webdataset/webdataset): tar files of clips.

    OUT/0000.tar     000000000.npy, the stored frames [T, F] of a clip; 000000000.json, what they are
    OUT/sizes.json   clips of each shard

The same frame set makes the same bytes: members have no time and no owner.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from pathlib import Path

import numpy as np

from auscult.core.runs import atomic_folder, write_json
from auscult.data.frames import FrameSet
from auscult.data.waiting import Tell


def write_shards(source: Path | str, out: Path | str, *, size: int = 2048, tell: Tell | None = None) -> list[Path]:
    """Writes the frame set `source` as shards of `size` clips each (the last has the rest); returns their paths."""
    found = FrameSet.open(source)
    sizes: dict[str, int] = {}
    with atomic_folder(out) as aside:
        for first in range(0, len(found), size):
            name, last = f"{first // size:04d}.tar", min(first + size, len(found))
            with tarfile.open(aside / name, "w", format=tarfile.USTAR_FORMAT) as tar:
                for index in range(first, last):
                    _add(tar, found, index)
            sizes[name] = last - first
            if tell:
                tell("clips", last, len(found), {})
        write_json(aside / "sizes.json", sizes)
    return [Path(out) / name for name in sizes]


def _add(tar: tarfile.TarFile, found: FrameSet, index: int) -> None:
    """One clip; its files have no time and no owner, so that they are the same wherever they are made."""
    labels, start, about = found.labels_of(index).tolist(), float(found.starts[index]), found.about
    told = {
        "id": found.id(index),
        "start": start if math.isfinite(start) else None,
        "labels": labels,
        "names": [about.labels[label] for label in labels] if about.labels else None,
        "rate": about.rate,
        "scale": about.scale,
        "shift": about.shift,
    }
    array = io.BytesIO()
    np.save(array, found.stored(index), allow_pickle=False)
    for suffix, data in ((".npy", array.getvalue()), (".json", json.dumps(told, ensure_ascii=False).encode())):
        member = tarfile.TarInfo(f"{index:09d}{suffix}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
