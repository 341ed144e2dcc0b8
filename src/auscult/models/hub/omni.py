"""What the Thinkers of Qwen2.5-Omni and Qwen3-Omni have in common: audio and images in one prompt, and positions in
three rows (time, height, width) for multimodal RoPE.

Only the Thinker is trained: the full models have no usable `forward`. A Thinker that came out of a full model is saved
as that full model, the trained weights in the place of the old ones and all else (`Voice`) as it was; one that came
alone stays alone. Text after an image continues from the largest position of the three rows, so a prompt may take fewer
positions than tokens; replies count on from there.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file

from auscult.core.errors import ConfigError, RunError
from auscult.core.types import Wave
from auscult.models.hub.listener import HubListener
from auscult.models.hub.parts import Parts
from auscult.models.listener import Encoded, Features, Step
from auscult.models.wording import Wording

MARGIN = 400
"""Zeros behind a clip, samples: the windows of its last frames reach so far. The processor pads more, to no effect."""
THINKER = "thinker."
"""What the names of a Thinker's weights begin with in a full model."""
FILES = ("config.json", "generation_config.json", "spk_dict.pt")
"""What stands beside the weights of a full model, but for its processor's files."""


@dataclass(frozen=True)
class Voice:
    """What a full model has beside its Thinker: the talker, its vocoder, its speakers, the settings of the whole.

    Its files are opened with the Thinker and read, one after another, when a checkpoint is written: none of it is held
    in memory, and the folder that it came from may be gone by then."""

    files: Mapping[str, bytes]
    """Content of `FILES`."""
    shards: Sequence[tuple[Any, tuple[str, ...]]]
    """Open safetensors files, each with the names of its tensors that are not the Thinker's."""

    @classmethod
    def of(cls, path: str | Path) -> Voice | None:
        """The voice of the checkpoint in the folder, or of the hub id, `path`; None when it is a Thinker alone."""

        def file(name: str) -> str | None:
            return cached_file(path, name, _raise_exceptions_for_missing_entries=False)

        files = {name: Path(found).read_bytes() for name in FILES if (found := file(name)) is not None}
        if "thinker_config" not in json.loads(files["config.json"]):
            return None
        index = file(SAFE_WEIGHTS_INDEX_NAME)
        places = {"": SAFE_WEIGHTS_NAME} if index is None else json.loads(Path(index).read_text())["weight_map"]
        found = [file(name) for name in sorted({place for key, place in places.items() if not key.startswith(THINKER)})]
        if None in found:
            raise ConfigError(
                f"{path}: the full model's weights are not all there as safetensors; fetch or convert them"
            )
        opened = [safe_open(name, "pt") for name in found if name is not None]
        kept = [tuple(key for key in shard.keys() if not key.startswith(THINKER)) for shard in opened]  # noqa: SIM118
        return cls(files, [(shard, keys) for shard, keys in zip(opened, kept, strict=True) if keys])

    def join(self, folder: Path) -> None:
        """Makes the Thinker's checkpoint in `folder` one of the full model."""
        index, single = folder / SAFE_WEIGHTS_INDEX_NAME, folder / SAFE_WEIGHTS_NAME
        if single.exists():
            single = single.rename(folder / "thinker.safetensors")
            with safe_open(single, "pt") as thinker:
                places = dict.fromkeys(thinker.keys(), single.name)
        else:
            places = json.loads(index.read_text())["weight_map"]
        if alone := [key for key in places if not key.startswith(THINKER)]:
            raise RunError(f"{folder}: this transformers saves {alone[0]} without {THINKER}; install transformers 5.23")
        for number, (shard, keys) in enumerate(self.shards):
            name = f"talker-{number:05d}.safetensors"
            save_file({key: shard.get_tensor(key) for key in keys}, folder / name, {"format": "pt"})
            places |= dict.fromkeys(keys, name)
        size = sum((folder / name).stat().st_size for name in set(places.values()))
        index.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": places}, indent=2, sort_keys=True))
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


class OmniListener(HubListener):
    """Audio and images, mixed, several a prompt."""

    def __init__(self, model: PreTrainedModel, parts: Parts, wording: Wording, voice: Voice | None = None) -> None:
        super().__init__(model, parts, wording)
        self.voice = voice
        """What the Thinker is saved with; None when it came alone."""

    def save(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        whole = self.voice if self.adapter is None else None
        if whole and getattr(self.model, "is_quantized", False):
            raise ConfigError(
                f"{folder}: a Thinker in 4 bits does not go back into its full model; set model.weights: bfloat16, or "
                "adapt a part of the model"
            )
        super().save(folder, weights)
        if whole:
            whole.join(folder)

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
