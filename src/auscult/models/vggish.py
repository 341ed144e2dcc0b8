"""VGGish: 128 numbers for every 0.96 s of sound, as AudioSet's features were made (Hershey et al., arXiv 1609.09430).

    wave [N] -> log-mel patches [P, 96, 64] -> network -> embeddings [P, 128] -> whitened, cut at +-2, bytes [P, 128]

Source: tensorflow/models, research/audioset/vggish: `mel_features.py`, `vggish_input.py`, `vggish_slim.py`,
`vggish_postprocess.py`. The embedding is what stands before any nonlinearity, as there. What is left of a
recording behind the last whole patch is not heard, as there; where it resamples with resampy, `media.audio` has soxr.

Weights are the user's: one safetensors file with the variables of the published checkpoint under their own names and in
their own shapes (`SHAPES`), and `pca_eigen_vectors` and `pca_means` of the published `vggish_pca_params.npz`. Where
TensorFlow is installed, this writes it:

    reader = tf.train.load_checkpoint("vggish_model.ckpt")
    named = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.startswith("vggish/")}
    safetensors.numpy.save_file({**named, **np.load("vggish_pca_params.npz")}, "vggish.safetensors")

Letters: N samples, P patches.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from auscult.core.errors import DataError
from auscult.core.types import Wave

RATE = 16_000  # Hz; the window and hop below are in samples at this rate
WINDOW = 400  # 25 ms
HOP = 160  # 10 ms
FFT = 512
BANDS = 64
LOWEST, HIGHEST = 125.0, 7500.0  # Hz
OFFSET = 0.01  # added before the logarithm
FRAMES = 96  # of a patch, without overlap
FRAMES_PER_SECOND = RATE / HOP / FRAMES
"""Patches, and so embeddings, of a second."""
SHORTEST = (WINDOW + (FRAMES - 1) * HOP) / RATE
"""Seconds that one patch needs."""
FEATURES = 128
LOUDEST = 2.0
"""Where whitened values are cut, on both sides of 0."""
AT_ONCE = 64
"""Patches that the network is given at once."""
CONVOLUTIONS = {"conv1": (1, 64), "conv2": (64, 128), "conv3/conv3_1": (128, 256), "conv3/conv3_2": (256, 256),
                "conv4/conv4_1": (256, 512), "conv4/conv4_2": (512, 512)}  # fmt: skip
POOLED = ("conv1", "conv2", "conv3/conv3_2", "conv4/conv4_2")
"""Layers behind which each two by two become one."""
DENSE = {"fc1/fc1_1": (6 * 4 * 512, 4096), "fc1/fc1_2": (4096, 4096), "fc2": (4096, FEATURES)}
SHAPES: dict[str, tuple[int, ...]] = {
    **{f"vggish/{name}/weights": (3, 3, *sizes) for name, sizes in CONVOLUTIONS.items()},
    **{f"vggish/{name}/weights": sizes for name, sizes in DENSE.items()},
    **{f"vggish/{name}/biases": (sizes[1],) for name, sizes in (CONVOLUTIONS | DENSE).items()},
    "pca_eigen_vectors": (FEATURES, FEATURES),
    "pca_means": (FEATURES, 1),
}
"""What a file of weights holds; `pca_means` may be flat. Convolutions are height, width, in, out."""


@cache
def _filters() -> Tensor:
    """Triangles in mel (HTK's), not in Hz [FFT // 2 + 1, BANDS]; the constant takes part in none."""
    bins = _mel(np.linspace(0.0, RATE / 2, FFT // 2 + 1))[:, None]
    edges = np.linspace(_mel(np.float64(LOWEST)), _mel(np.float64(HIGHEST)), BANDS + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    bank = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(min=0.0)
    bank[0] = 0.0
    return torch.from_numpy(bank)


def _mel(hertz: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(hertz / 700.0))


def log_mel_patches(wave: Wave) -> Tensor:
    """Patches [P, 96, 64] of the logarithm of mel magnitudes, of mono samples [N] at 16 kHz; none of a wave shorter
    than SHORTEST. Computed in double, as there: beside loud bands soft ones would be a little off."""
    samples = torch.from_numpy(wave).double()
    if len(samples) < WINDOW:
        return torch.empty(0, FRAMES, BANDS)
    frames = samples.unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW, dtype=torch.float64)
    logs = (torch.fft.rfft(frames, FFT).abs() @ _filters() + OFFSET).log().float()
    whole = len(logs) // FRAMES
    return logs[: whole * FRAMES].unflatten(0, (whole, FRAMES)) if whole else torch.empty(0, FRAMES, BANDS)


class VGGish(nn.Module):
    """The network, and what makes bytes of its embeddings."""

    eigenvectors: Tensor
    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict(
            {_key(name): nn.Conv2d(*sizes, kernel_size=3, padding=1) for name, sizes in CONVOLUTIONS.items()}
        )
        self.dense = nn.ModuleDict({_key(name): nn.Linear(*sizes) for name, sizes in DENSE.items()})
        self.register_buffer("eigenvectors", torch.eye(FEATURES))
        self.register_buffer("means", torch.zeros(FEATURES))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """With the weights of a file. Raises DataError where it is no safetensors file of `SHAPES`."""
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as problem:
            raise DataError(
                f"{path}: is no file of weights ({problem}); `auscult data frames --help` says how to get one"
            ) from problem
        if found.get("pca_means", torch.empty(0)).shape == (FEATURES,):
            found["pca_means"] = found["pca_means"][:, None]
        for name, shape in SHAPES.items():
            if name not in found or found[name].shape != shape:
                has = f"has the shape {list(found[name].shape)}" if name in found else "is missing"
                raise DataError(
                    f"{path}: `{name}` {has}, where {list(shape)} is expected; write the published variables under "
                    "their own names"
                )
        with torch.device("meta"):  # no random weights, which would take longer than these
            model = cls()
        state = {"eigenvectors": found["pca_eigen_vectors"], "means": found["pca_means"][:, 0]}
        for name in CONVOLUTIONS:
            state[f"convolutions.{_key(name)}.weight"] = found[f"vggish/{name}/weights"].permute(3, 2, 0, 1)
            state[f"convolutions.{_key(name)}.bias"] = found[f"vggish/{name}/biases"]
        for name in DENSE:
            state[f"dense.{_key(name)}.weight"] = found[f"vggish/{name}/weights"].T
            state[f"dense.{_key(name)}.bias"] = found[f"vggish/{name}/biases"]
        model.load_state_dict({name: value.float().contiguous() for name, value in state.items()}, assign=True)
        return model.eval()

    def forward(self, patches: Tensor) -> Tensor:
        """Log-mel patches [P, 96, 64] -> embeddings [P, 128]."""
        x = patches[:, None]
        for name in CONVOLUTIONS:
            x = functional.relu(self.convolutions[_key(name)](x))
            x = functional.max_pool2d(x, 2) if name in POOLED else x
        x = x.permute(0, 2, 3, 1).flatten(1)  # channels last, as the published weights expect them
        for name in DENSE:
            x = self.dense[_key(name)](functional.relu(x) if name != "fc1/fc1_1" else x)
        return x

    def quantise(self, embeddings: Tensor) -> Tensor:
        """Embeddings [P, 128] whitened and cut, as bytes; a byte q stands for q * 4 / 255 - 2, rounded down."""
        white = (embeddings - self.means) @ self.eigenvectors.T
        return ((white.clamp(-LOUDEST, LOUDEST) + LOUDEST) * (255 / (2 * LOUDEST))).to(torch.uint8)

    @torch.no_grad()
    def frames(self, wave: Wave) -> NDArray[np.uint8]:
        """Features [P, 128] of mono samples [N] at 16 kHz, as AudioSet's records hold them."""
        patches = log_mel_patches(wave).to(self.means.device)
        parts = [self.quantise(self(part)) for part in patches.split(AT_ONCE)]
        return torch.cat(parts).cpu().numpy()


def _key(name: str) -> str:
    """A published name without its folder: torch's modules cannot have a slash."""
    return name.rpartition("/")[2]
