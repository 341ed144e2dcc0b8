"""A saved model, asked from Python: the folder says what family it is, and what it hears is turned into what it takes.

It answers as in a run: the same prompt, the same passes, greedily unless asked otherwise. A server is asked in the same
words, but is sent no film whose header names somebody, unless its options allow it.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig

from auscult.core.config import build
from auscult.core.endpoint import Endpoint, EndpointError, Failure, Spent, run_to_end
from auscult.core.errors import ConfigError, MediaError
from auscult.core.forms import form
from auscult.core.types import Audio, Frames, Image, Media, Parsed, Rollout, Sample, Sampling, Turn
from auscult.core.yaml12 import read_yaml
from auscult.evaluate.respondents import read_reply
from auscult.media import audio
from auscult.models import adapters
from auscult.models.family import FAMILIES, Model, check_model, family_of
from auscult.models.fetching import fetching
from auscult.models.listener import Listener
from auscult.models.wording import Wording, messages
from auscult.rollouts.local import LocalEngine
from auscult.rollouts.messages import wire
from auscult.rollouts.options import Server

Given = str | Path | bytes | NDArray[Any] | tuple[NDArray[Any], int] | Media
"""A recording or picture: its file, the bytes of a recording, feature frames [T, F], pixels uint8 [H, W, 3], mono
samples [N] with their rate in Hz, or what `auscult.core.types` has for it."""
AS_WRITTEN = Wording(form="label", instruction=False, choices=False)
"""The model reads what it is asked, and nothing around it."""
GREEDY = Sampling(temperature=0.0, max_tokens=128)


@dataclass(frozen=True, slots=True)
class AuscultModel:
    """A model that hears, and sees where its family does.

    >>> from auscult import AuscultModel
    >>> model = AuscultModel.from_pretrained("runs/medgemma-audio/grpo/model")
    >>> model.generate("dog.wav", "Describe this sound.")
    """

    listener: Listener
    """The model with its tokenizer."""

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        base: str | None = None,
        wording: Wording = AS_WRITTEN,
        device: str | None = None,
        weights: Literal["auto", "float32", "bfloat16", "nf4"] = "auto",
    ) -> AuscultModel:
        """The model in a folder that a stage of auscult wrote, adapted or not, or a plain checkpoint of a family's, a
        folder or a hub id.

        `base` is where a graft's language model is, if not where the folder says; `wording` is how a run put its
        questions, where that was more than the question; `device` is a GPU where there is one; `weights` are as in
        `Learning`. Raises ConfigError where there is no such model, or its language model is missing.
        """
        settings: dict[str, Any] = {"weights": weights} if base is None else {"weights": weights, "base": base}
        family = _family_of(adapters.beneath(path), adapters.said_by(path, "--model"))
        if base is not None and not hasattr(family, "base"):
            raise ConfigError(f"base says where a graft's language model is, and {path} is no graft; leave it out")
        options = family(**settings)
        listener = adapters.asked(path, wording, options, options.open)
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        torch.nn.Module.to(listener.model, where)  # transformers' own refuses 4-bit weights
        return cls(listener)

    def generate(
        self,
        media: Given | list[Given] | None,
        prompt: str,
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """The reply to `prompt` about one recording or picture, several in a list, or none; special tokens left out.

        Greedy at temperature 0; above, drawn by `seed`. Raises MediaError for what cannot be heard, RenderError for a
        prompt that holds a special token.
        """
        given = media if isinstance(media, list) else [] if media is None else [media]
        sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens)
        return self.ask(question(prompt, given), sampling, seed).text

    def ask(self, sample: Sample, sampling: Sampling = GREEDY, seed: int = 0) -> Rollout:
        """The reply to a question with all that it is, and how its form reads it (`parsed`); see `question`. Raises as
        `generate` does."""
        ((reply,),) = LocalEngine(self.listener).roll([self.listener.prompt(sample)], 1, sampling, seed)
        return reply


def question(text: str, media: Sequence[Given] = (), choices: Sequence[str] = (), views: Sequence[str] = ()) -> Sample:
    """A question about media in their order, as a run asks it: each image behind the name of its view, where these are
    given, and the options for the wording to write. Raises MediaError for what cannot be heard or seen, ConfigError for
    views that are not as many as images."""
    content: list[str | Media] = []
    parts = [as_media(given) for given in media]
    images = sum(isinstance(part, Image) for part in parts)
    if views and len(views) != images:
        raise ConfigError(f"{len(views)} views are named and {images} images given; name each in its order, or none")
    labels = (f"View {number} ({view}):" for number, view in enumerate(views, 1))
    for part in parts:
        content += [next(labels), part] if views and isinstance(part, Image) else [part]
    return Sample("asked", (Turn("user", (*content, text)),), (), tuple(choices))


def wording_of(path: str | Path) -> tuple[Wording, str] | None:
    """How the run in whose folder the model `path` lies put its questions, and that folder; None where it lies in
    none."""
    for folder in Path(path).absolute().parents:
        values = read_yaml(config) if (config := folder / "config.yaml").is_file() else {}
        if isinstance(said := values.get("wording"), dict):
            return build(Wording, said, where=str(config)), str(folder)
    return None


def ask_server(sample: Sample, wording: Wording, options: Server, sampling: Sampling, seed: int) -> tuple[str, Parsed]:
    """A server's reply, and how the form reads it. Raises MediaError for a film that names somebody, unless the options
    allow it, and EndpointError where there is no reply."""
    said = wire(messages(sample, wording), options, wording.display)
    drawing = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens}

    async def answer() -> Any:
        async with Endpoint(options, Spent(), "server") as endpoint:
            await endpoint.reach()
            body = {"model": options.model, "messages": said, **drawing, "seed": seed}
            return await endpoint.complete(body, name="asked", seed=seed, tokens=sampling.max_tokens)

    found = run_to_end(answer())
    found = found if isinstance(found, Failure) else read_reply(found)
    if isinstance(found, Failure):
        raise EndpointError(f"{options.url} gave no reply ({found.reason}: {found.detail}); see its log")
    text = str(found["text"])
    return text, form(wording.form).parse(text, sample.choices)


def as_media(given: Given) -> Media:
    """What is given as a recording, frames or a picture. Raises MediaError for what is none of them."""
    match given:
        case str() | Path():
            kind = mimetypes.guess_type(str(given))[0] or ""
            picture = kind.startswith("image/") or kind == "application/dicom"
            return Image(str(given)) if picture else Audio(str(given))
        case bytes():
            with NamedTemporaryFile() as file:  # read as every file is, with every check
                file.write(given)
                file.flush()
                rate = audio.read_header(Audio(file.name)).rate
                return Audio.of(audio.decode(Audio(file.name), rate), rate)
        case (np.ndarray(ndim=1) as wave, rate) if np.issubdtype(wave.dtype, np.floating):
            return Audio.of(wave, int(rate))
        case np.ndarray(ndim=3, dtype=np.uint8):
            return Image.of(given)
        case np.ndarray(ndim=2) if np.issubdtype(given.dtype, np.floating):
            return Frames.of(given.astype(np.float32), 1.0)
        case Audio() | Frames() | Image():
            return given
        case _:
            raise MediaError(
                f"{_described(given)} is nothing to hear or see; give a file, (mono samples [N], rate) or feature "
                "frames [T, F] in floating point, or pixels uint8 [H, W, 3]",
                reason="kind",
            )


def _described(given: object) -> str:
    if isinstance(given, np.ndarray):
        return f"an array {given.dtype} {list(cast(NDArray[Any], given).shape)}"
    return f"an object of type {type(given).__name__}"


def _family_of(path: str, asked: str) -> type[Model]:
    """The options of the family whose checkpoint is in the folder, or of the hub id, `path`, which `asked` names."""
    check_model(path)
    try:
        with fetching(path, asked):
            kind = PreTrainedConfig.get_config_dict(path)[0].get("model_type")
    except OSError:
        kind = None
    if kind is None:
        raise ConfigError(
            f"there is no model in {path}; name the folder of one, for example RUN/sft/model, or a hub id"
        )
    name = family_of(str(kind))
    if name is None:
        raise ConfigError(f"{path} holds a model of type {kind!r}; there are {', '.join(FAMILIES.names())}")
    return FAMILIES.find(name, Model)
