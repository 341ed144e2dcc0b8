"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Turn
from auscult.models.families import graft
from auscult.models.listener import Listener
from auscult.models.wording import Wording

torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real recordings and films: `AUSCULT_TESTDATA`, by default `../shared/testdata` beside the
    checkout."""
    folder = Path(os.environ.get("AUSCULT_TESTDATA", ROOT.parent / "shared" / "testdata")).resolve()
    if not folder.is_dir():
        reason = f"no test data in {folder}: set AUSCULT_TESTDATA to the folder that holds fsdd/, esc10/, formats/ ..."
        if os.environ.get("AUSCULT_REQUIRE_TESTDATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight graft of the smallest useful shape, saved as an ordinary checkpoint."""
    return graft.tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def listener(checkpoint: Path) -> Listener:
    """A fresh listener with the checkpoint's weights; replies are in the think form."""
    return graft.Model().load(checkpoint, Wording(instruction=False, choices=False))


@pytest.fixture
def heard() -> Callable[..., Sample]:
    """Makes samples: `heard(number, seconds=…, question=…)`, each with noise of its own to listen to."""

    def make(number: int = 0, *, seconds: float = 0.5, question: str = "How many sounds?", answer: str = "2") -> Sample:
        wave = rng(number, "test clip").standard_normal(round(16_000 * seconds)).astype(np.float32) * 0.1
        turn = Turn("user", (Audio.of(wave, 16_000), question))
        return Sample(f"clip-{number}", (turn,), (answer,), choices=("1", "2", "3"), thought="low tone, click")

    return make
