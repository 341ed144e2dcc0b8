"""Which patches a masked autoencoder sees: an order of all of them, of which the first are visible.

    random       any patches (He et al., arXiv 2111.06377)
    time         whole columns: everything at a moment is hidden together (Huang et al., arXiv 2207.06405)
    frequency    whole bands: everything in a band is hidden together (the same)
    chunk        stretches of `span` columns, so that a hidden moment's neighbours are hidden too

Every clip of one size shows equally many patches, so a batch is a plain array. A structured mask hides as many whole
columns or bands as come nearest to the ratio, at least one and never all. Patches are numbered time-major: column *
bands + band.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auscult.core.errors import ConfigError
from auscult.models.mae_shape import Masking


def least(masking: Masking, bands: int) -> int:
    """Columns of the shortest clip of which something can be shown and something hidden. Raises ConfigError where a
    moment has one patch, and bands are to be hidden."""
    if masking == "frequency" and bands < 2:
        raise ConfigError(
            "masking is frequency, and a moment has one patch; set patch_features, or take another masking"
        )
    return 1 if bands > 1 and masking in ("random", "frequency") else 2


def visible(masking: Masking, columns: int, bands: int, ratio: float) -> int:
    """How many of columns * bands patches are shown. Raises ValueError where one must be shown and one hidden, and
    there are not two."""
    units, size = {"random": (columns * bands, 1), "frequency": (bands, columns)}.get(masking, (columns, bands))
    if units < 2:
        raise ValueError(f"{masking} masking needs two things to choose from, a clip has {units}; take another masking")
    return min(max(int(units * (1 - ratio)), 1), units - 1) * size


def order(masking: Masking, clips: int, columns: int, bands: int, span: int, draw: torch.Generator) -> Tensor:
    """Patch numbers [clips, columns * bands], for each clip in an order of its own, the visible ones first."""
    if masking == "random":
        noise = torch.rand(clips, columns, bands, generator=draw)
    elif masking == "frequency":
        noise = torch.rand(clips, 1, bands, generator=draw).expand(-1, columns, -1)
    elif masking == "time":
        noise = torch.rand(clips, columns, 1, generator=draw).expand(-1, -1, bands)
    else:
        phase = torch.randint(span, (clips, 1), generator=draw)
        stretch = (torch.arange(columns) + phase) // span
        noise = (
            torch.rand(clips, columns // span + 2, generator=draw).gather(1, stretch)[..., None].expand(-1, -1, bands)
        )
    return noise.flatten(1).argsort(dim=1, stable=True)
