"""What a recipe is: an experiment with every option it has. Loads without torch, so that `--help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from auscult.core.config import Plugin
from auscult.data.leakage import Guard
from auscult.data.provision import Provision
from auscult.data.source import Source
from auscult.evaluate.options import Evaluate
from auscult.models.family import Model
from auscult.models.mae_shape import Shape
from auscult.models.wording import Wording
from auscult.rollouts.options import Server
from auscult.train.algorithm import Algorithm
from auscult.train.options import Train
from auscult.train.pretraining import Pretrain


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """What an encoder is pretrained on, its shape, and what it is probed on."""

    data: tuple[str, ...]
    """Folders of recordings, or one frame set."""
    ignore: tuple[str, ...] = (".*",)
    """Patterns of file or folder names that are no recordings, such as `*.csv`; any other foreign file is an error."""
    mels: int = 80
    """Mel bands of recordings; of no effect with a frame set."""
    shape: Shape = field(default_factory=Shape)
    """Of the autoencoder."""
    probe: str | None = None
    """What the encoder is probed on: a folder of class folders, or a frame set with labels; null probes nothing."""


@dataclass(frozen=True, kw_only=True)
class Pretraining(Unlabelled):
    """An encoder's pretraining, complete."""

    seed: int = 0
    """Of everything that is drawn."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is computed; auto takes a GPU when there is one."""
    pretrain: Pretrain = field(default_factory=Pretrain)
    """How it is trained."""


@dataclass(frozen=True, kw_only=True)
class Encoder(Unlabelled, Pretrain):
    """An encoder's pretraining as the first stage of a recipe."""

    def alone(self, seed: int, device: Literal["auto", "cpu", "cuda"]) -> Pretraining:
        """The same by itself."""
        what, how = ({one.name: getattr(self, one.name) for one in fields(cls)} for cls in (Unlabelled, Pretrain))
        return Pretraining(**what, seed=seed, device=device, pretrain=Pretrain(**how))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An experiment, complete."""

    name: str
    """What it is called; the run folder is runs/NAME unless --out says otherwise."""
    about: str = ""
    """What it shows, on one line."""
    seed: int = 0
    """Of everything that is drawn."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto takes a GPU when there is one."""
    prepare: Annotated[Provision, Plugin("what", "auscult.data.provisions")] | None = None
    """How the files that `data` names come to be there, fetched or made; null when they are there."""
    data: Annotated[Source, Plugin("source", "auscult.data.sources")]
    """Where samples come from."""
    leaks: Guard = field(default_factory=Guard)
    """Benchmarks that no training sample may be in."""
    model: Annotated[Model, Plugin("family", "auscult.models.families")]
    """What listens."""
    wording: Wording = field(default_factory=Wording)
    """How samples are put to the model."""
    train: Train = field(default_factory=Train)
    """What all stages share."""
    server: Server | None = None
    """A server that draws the rollouts of training; null draws them here. Held-out questions are answered here."""
    pretrain: Encoder | None = None
    """The encoder learns from sounds alone before it is grafted (`model.family: graft`); null takes the model's own."""
    sft: Annotated[Algorithm, Plugin("algorithm", "auscult.train.algorithms")] | None = None
    """The first stage; null leaves it out."""
    rest: Annotated[Algorithm, Plugin("algorithm", "auscult.train.algorithms")] | None = None
    """The second stage; null leaves it out."""
    grpo: Annotated[Algorithm, Plugin("algorithm", "auscult.train.algorithms")] | None = None
    """The last stage; null leaves it out."""
    evaluate: Evaluate = field(default_factory=Evaluate)
    """How held-out samples are answered."""

    @property
    def stages(self) -> dict[str, Algorithm]:
        """The stages there are, in order."""
        stages = {"sft": self.sft, "rest": self.rest, "grpo": self.grpo}
        return {name: stage for name, stage in stages.items() if stage is not None}
