"""What the Thinkers of Qwen2.5-Omni and Qwen3-Omni have in common: audio and images in one prompt, and positions in
three rows (time, height, width) for multimodal RoPE.

Only the Thinker is trained: the full models have no usable `forward`. Text after an image continues from the largest
position of the three rows, so a prompt may take fewer positions than tokens; replies count on from there.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from auscult.core.types import Wave
from auscult.models.hub.listener import HubListener
from auscult.models.listener import Encoded, Features, Step

MARGIN = 400
"""Zeros behind a clip, samples: the windows of its last frames reach so far. The processor pads more, to no effect."""


class OmniListener(HubListener):
    """Audio and images, mixed, several a prompt."""

    @property
    def marks(self) -> dict[str, str]:
        return {"audio": self.processor.audio_token, "image": self.processor.image_token}

    @property
    def slots(self) -> dict[str, int]:
        config = cast(Any, self.model.config)
        return {"audio": config.audio_token_id, "image": config.image_token_id}

    @property
    def max_seconds(self) -> float:
        return self.processor.feature_extractor.n_samples / self.rate

    @abstractmethod
    def audio_tokens(self, frames: int) -> int:
        """Log-mel frames -> media tokens."""

    def audio_features(self, wave: Wave) -> tuple[Mapping[str, Tensor], int, str]:
        extractor = self.processor.feature_extractor
        frames = -(-len(wave) // extractor.hop_length)
        longer = np.pad(wave, (0, MARGIN + -(len(wave) + MARGIN) % extractor.hop_length))
        found = extractor(longer, sampling_rate=self.rate, padding=False, truncation=False, return_tensors="pt")
        tokens = self.audio_tokens(frames)
        rows = found["input_features"][0][:, :frames].T.contiguous()
        return {"frames": rows}, tokens, self.processor.audio_token * tokens

    def image_features(self, pixels: np.ndarray) -> tuple[Mapping[str, Tensor], int, str]:
        found = self.processor.image_processor(images=[pixels], return_tensors="pt")
        grid = found["image_grid_thw"][0]
        tokens = int(grid.prod()) // self.processor.image_processor.merge_size**2
        return {"patches": found["pixel_values"], "grid": grid}, tokens, self.processor.image_token * tokens

    def stages(self, kind: str) -> Sequence[tuple[nn.Module, Step]]:
        core = cast(Any, self.core)
        return [(core.audio_tower, self._listen)] if kind == "audio" else [(core.visual, self._look)]

    def _listen(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        window = 2 * cast(Any, self.core).audio_tower.n_window
        found: dict[str, Tensor] = {}
        # The tower cuts clips into windows and pads the last ones to the longest there is, and Qwen3's convolutions
        # hear that padding. A clip of a window or more always has a longest; shorter ones go with their like.
        alike: dict[int, list[Features]] = {}
        for item in items:
            alike.setdefault(min(window, len(item.inputs["frames"])), []).append(item)
        for part in alike.values():
            lengths = torch.tensor([len(item.inputs["frames"]) for item in part], device=self.device)
            frames = torch.cat([item.inputs["frames"] for item in part]).T.to(self.device)
            rows = self.run_audio_tower(frames, lengths)
            found |= zip([item.key for item in part], rows.split([item.tokens for item in part]), strict=True)
        return [found[item.key] for item in items]

    @abstractmethod
    def run_audio_tower(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Log-mel frames of all clips [mels, sum of lengths] -> rows [sum of tokens, W]."""

    def _look(self, items: Sequence[Features], passed: list[Tensor] | None) -> list[Tensor]:
        tower = cast(Any, self.core).visual
        patches = torch.cat([item.inputs["patches"] for item in items]).to(self.device, tower.dtype)
        grids = torch.stack([item.inputs["grid"] for item in items]).to(self.device)
        found = tower(patches, grid_thw=grids)
        # Where the tower feeds several layers, their rows stand side by side: [tokens, (1 + layers) * W].
        rows = torch.cat([found.pooler_output, *(getattr(found, "deepstack_features", None) or [])], dim=1)
        return list(rows.split([item.tokens for item in items]))

    def positions(self, ids: Tensor, mask: Tensor, media: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
        grids = [item.features.inputs["grid"] for item in media if item.features.kind == "image"]
        lengths = [len(item.features.inputs["frames"]) for item in media if item.features.kind == "audio"]
        found, deltas = cast(Any, self.core).get_rope_index(
            ids,
            torch.stack(grids).to(ids.device) if grids else None,
            None,
            mask,
            False,
            torch.tensor(lengths, device=ids.device) if lengths else None,
        )
        following = mask.sum(1) if deltas is None else found.masked_fill(mask == 0, -1).amax(dim=(0, 2)).long() + 1
        return found.long(), following

    def run_replies(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        return super().run_replies(ids, mask, positions[None].expand(3, -1, -1), cache)
