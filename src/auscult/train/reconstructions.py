"""What a masked autoencoder makes of what it does not see, for the report to draw: `RUN/reconstructions.npz`.

    ids [C]  sizes [C, 2]                          names of clips; moments and bands of their patches
    heard-N, filled-N [T, F]  visible-N [m, b]     the rows of clip N; the same, hidden patches as predicted
    error [C]  error_of_mean [C]                   over hidden patches, as the loss counts; of the visible ones' mean
    rate  source  masking                          rows a second; what rows and masks are

They are stretches of clips from the set that it was trained on, hidden anew. Where targets are normalised, a hidden
patch is predicted but for its own mean and deviation, which are put back here, as in the pictures of He et al. (arXiv
2111.06377). Letters: C clips, T rows, F features, m moments, b bands, N patches, P values of a patch.
"""

# torch and NumPy ship partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from auscult.core.runs import write_bytes
from auscult.core.seeds import derive, rng
from auscult.data.frames import FrameSet
from auscult.data.windows import usable
from auscult.models import masking
from auscult.models.mae import MaskedAutoencoder, PatchEncoder, pick
from auscult.train.pretraining import Pretrain

CLIPS = 6
"""How many are drawn."""


def write(
    path: Path, encoder: Path, frames: FrameSet, options: Pretrain, seed: int, device: torch.device, clips: int = CLIPS
) -> None:
    """Writes `path` for the autoencoder in the folder `encoder`, unless it is there."""
    if path.exists():
        return
    model = MaskedAutoencoder.from_pretrained(encoder).to(device).eval()  # pyright: ignore[reportArgumentType]
    unit = model.config.patch_rows
    able = np.flatnonzero(usable(np.diff(frames.offsets), masking.least(options.masking, model.config.bands) * unit))
    chosen = np.sort(rng(seed, "reconstructions").choice(able, size=min(clips, len(able)), replace=False))
    found: dict[str, Any] = {"ids": [], "sizes": [], "error": [], "error_of_mean": []}
    for number, clip in enumerate(chosen.tolist()):
        rows = frames.values(clip)[: max(1, options.window // unit) * unit]
        rows = rows[: len(rows) // unit * unit]
        draw = torch.Generator().manual_seed(derive(seed, "reconstructions", number))
        size = (model.config.columns(len(rows)), model.config.bands)
        order = masking.order(options.masking, 1, *size, options.span, draw)
        visible = masking.visible(options.masking, *size, options.ratio)
        filled, errors = filled_in(model, torch.from_numpy(rows).to(device), order.to(device), visible)
        shown = np.zeros(size[0] * size[1], dtype=bool)
        shown[order[0, :visible].numpy()] = True
        found[f"heard-{number}"] = rows.astype(np.float16)
        found[f"filled-{number}"] = filled.astype(np.float16)
        found[f"visible-{number}"] = shown.reshape(size)
        found["ids"].append(frames.id(clip))
        found["sizes"].append(size)
        found["error"].append(errors[0])
        found["error_of_mean"].append(errors[1])
    file = io.BytesIO()
    np.savez(file, rate=frames.about.rate, source=model.config.source, masking=options.masking, **found)
    write_bytes(path, file.getvalue())


@torch.no_grad()
def filled_in(
    model: MaskedAutoencoder, rows: Tensor, order: Tensor, visible: int
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Rows [T, F], a whole number of patches, with those behind the first `visible` of an order [1, N] as predicted;
    the error of these, and that of whoever says the mean of the visible ones."""
    made = model(rows[None], order, visible)
    patches, hidden = model.encoder.patches(rows[None]), order[:, visible:]
    predicted = made.predicted.float()
    if model.config.normalise:
        true = pick(patches, hidden)
        spread = (true.var(-1, keepdim=True) + 1e-6).sqrt()
        predicted = predicted * spread + true.mean(-1, keepdim=True)
    whole = patches.scatter(1, hidden[..., None].expand_as(predicted), predicted)
    plain = (made.seen.mean(1, keepdim=True) - made.target).square().mean()
    return unpatched(model.encoder, whole)[0].cpu().numpy(), (made.loss.item(), plain.item())


def unpatched(encoder: PatchEncoder, patches: Tensor) -> Tensor:
    """Patches [B, N, P] -> rows [B, T, F]: `PatchEncoder.patches`, backwards."""
    config = encoder.config
    cut = patches.reshape(len(patches), -1, config.bands, config.patch_rows, config.patch_features)
    return cut.transpose(2, 3).flatten(3).flatten(1, 2) * encoder.deviation + encoder.mean
