"""`auscult ask --model DIR --image FILE ... --question TEXT`: one question to a saved model, or to a server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from auscult.commands.arguments import Parser
from auscult.commands.output import quiet
from auscult.core.errors import ConfigError, MediaError

if TYPE_CHECKING:
    from auscult.core.types import Frames, Media, Sample, Sampling
    from auscult.models.wording import Wording

EPILOG = """\
Images (DICOM too), recordings and frames are shown in the order in which they are given. A model in a run folder is
asked as its run asked. A film whose header names somebody is looked at here, with a word about it; no server is sent
it."""


def run(command: str, arguments: list[str]) -> int:
    """Asks, and prints the reply."""
    parser = Parser(command, "(--model DIR | --server URL --name NAME) --question TEXT [--image FILE ...] [--json]")
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--model", metavar="DIR", help="a saved model, such as runs/NAME/grpo/model, or a hub id")
    add("--server", metavar="URL", help="an OpenAI-compatible server, such as http://localhost:8000/v1")
    add("--name", metavar="NAME", help="what the server calls the model")
    add(
        "--key-env", metavar="VARIABLE", help="environment variable that holds the server's key (default: none is sent)"
    )
    for kind, text in (
        ("image", "picture or DICOM film; several views in their order"),
        ("audio", "recording"),
        ("frames", "feature frames: a .npy of floats [T, F], or the folder of a frame set with --clip"),
    ):
        add(f"--{kind}", metavar="FILE", nargs="+", action=_InOrder, dest="media", default=[], help=text)
    add("--clip", metavar="ID", help="which clip of the frame set")
    add("--rate", metavar="HZ", type=float, help="frames a second of a .npy (default: 1; a frame set says its own)")
    add(
        "--views",
        metavar="NAME",
        nargs="+",
        default=[],
        help="what each image is, such as PA LATERAL (default: unsaid)",
    )
    add(
        "--pictures",
        metavar="N",
        nargs="+",
        type=int,
        default=[],
        help="which picture of each image's file, from 0, where files hold several, as a DICOM of frames does",
    )
    add("--question", metavar="TEXT", help="what is asked (required)")
    add(
        "--options",
        metavar="TEXT",
        nargs="+",
        default=[],
        help="answers to choose from, without letters (default: open)",
    )
    add("--form", metavar="NAME", help="shape of the answer (default: its run's, else label: the answer alone)")
    add("--max-tokens", metavar="N", type=int, default=128, help="longest reply, tokens (default: 128)")
    add("--temperature", metavar="T", type=float, default=0.0, help="0 is greedy (default: 0)")
    add("--seed", metavar="N", type=int, default=0, help="of what is drawn (default: 0)")
    add(
        "--weights",
        choices=("auto", "float32", "bfloat16", "nf4"),
        default="auto",
        help="how they are held (default: auto)",
    )
    add("--send-identified", action="store_true", help="send a server also films whose header names somebody")
    add("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known = parser.parse_args(arguments)
    if known.question is None or not known.question.strip():
        parser.error("say what is asked: --question TEXT")
    if (known.model is None) == (known.server is None):
        parser.error("name who answers, a model or a server, one of them: --model DIR, or --server URL --name NAME")
    if known.server is not None and known.name is None:
        parser.error("say what the server calls its model: --name NAME")
    framed = [kind for kind, _ in known.media if kind == "--frames"]
    if framed and known.server is not None:
        parser.error("a server hears no feature frames; ask a saved model: --model DIR")
    if not framed and (known.clip is not None or known.rate is not None):
        parser.error("--clip and --rate go with --frames; name the frames, or leave them out")
    if len(framed) > 1 and known.clip is not None:
        parser.error("--clip names one clip; give one --frames")
    if known.rate is not None and not 0 < known.rate < float("inf"):
        parser.error(f"--rate is {known.rate}: give frames a second, more than 0")
    if known.max_tokens < 1 or known.temperature < 0:
        parser.error("--max-tokens is 1 or more, --temperature 0 or more")
    if len(set(known.options)) < len(known.options):
        parser.error("two of the options are the same; name each once")
    if len(known.options) == 1:
        parser.error(
            "a single option is always right; name the others too, or leave --options out for an open question"
        )
    quiet()
    figures = _ask(known)
    if known.json:
        print(json.dumps(figures, ensure_ascii=False))
        return 0
    print(figures["reply"])
    if known.options or figures["reply"] != figures["answer"]:
        print(f"\nread as: {figures['answer']}" if figures["answer"] else f"\nno answer: {figures['problem']}")
    return 0


class _InOrder(argparse.Action):
    """Keeps images and recordings in the order in which they are given, each with its kind."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        found = [*namespace.media, *((option_string, value) for value in values)]
        namespace.media = found


def _ask(known: argparse.Namespace) -> dict[str, Any]:
    from auscult.asking import question
    from auscult.core.types import Sampling

    media = _media(known)
    sample = question(known.question, media, known.options, known.views)
    sampling = Sampling(temperature=known.temperature, max_tokens=known.max_tokens)
    wording, run = _wording(known)
    identified = _identified([path for kind, path in known.media if kind == "--image"])
    for path, problem in identified.items():
        if known.server is not None and not known.send_identified:
            raise MediaError(
                f"image {path} is not de-identified: {problem}; it is not sent to {known.server}: remove what names a "
                "person, or allow it with --send-identified",
                reason="identified",
            )
        where = "stays on this machine" if known.server is None else f"is sent to {known.server}, without its header"
        print(f"auscult: {path}: {problem}; it {where}", file=sys.stderr)
    answered = (_by_model if known.server is None else _by_server)(known, sample, sampling, wording)
    asked = {"model": known.model or known.name, "server": known.server, "form": wording.form, "as_in": run}
    return {**answered, **asked, "media": [path for _, path in known.media], "identified": identified}


def _media(known: argparse.Namespace) -> list[Media]:
    """What is given, in its order."""
    from auscult.core.types import Audio, Image

    images = [path for kind, path in known.media if kind == "--image"]
    if known.pictures and len(known.pictures) != len(images):
        raise ConfigError(f"{len(known.pictures)} pictures are named and {len(images)} images given; name one for each")
    pictures = iter(known.pictures or [None] * len(images))
    media: list[Media] = []
    for kind, path in known.media:
        if kind == "--frames":
            media.append(_frames(path, known.rate, known.clip))
        else:
            media.append(Image(path, frame=next(pictures)) if kind == "--image" else Audio(path))
    return media


def _frames(path: str, rate: float | None, clip: str | None) -> Frames:
    """Feature frames [T, F] of a .npy of floats, `rate` a second (by default 1), or the clip whose id is `clip` in a
    frame set. Raises MediaError for a file that holds none, ConfigError for a clip that is not there, or has several
    places."""
    import numpy as np

    from auscult.core.types import Frames
    from auscult.data.frames import FrameSet

    if (Path(path) / "about.json").is_file():
        frames = FrameSet.open(path)
        if rate is not None:
            raise ConfigError(f"{path} is a frame set, of {frames.about.rate:g} frames a second; leave --rate out")
        if clip is None:
            raise ConfigError(
                f"{path} is a frame set of {len(frames):,} clips; say which with --clip ID, for example {frames.id(0)}"
            )
        places = frames.places([clip]).get(clip, [])
        if len(places) != 1:
            raise ConfigError(f"{path} has {len(places)} clips {clip!r}, not one; name another with --clip ID")
        return frames.media(places[0])
    if clip is not None:
        raise ConfigError(f"{path} is no frame set that has a clip {clip!r}; leave --clip out, or name its folder")
    write = "write floats [T, F] with numpy.save"
    try:
        values: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as problem:
        raise MediaError(f"{path}: cannot be read as feature frames ({problem}); {write}", reason="kind") from problem
    if not isinstance(values, np.ndarray) or values.ndim != 2 or not values.size or values.dtype.kind != "f":
        found = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else "several arrays"
        raise MediaError(f"{path}: {found} are no feature frames; {write}", reason="kind")
    if not np.isfinite(values).all():
        raise MediaError(f"{path}: not all of its numbers are finite; {write}", reason="kind")
    return Frames.of(values.astype(np.float32), 1.0 if rate is None else rate)


def _by_model(known: argparse.Namespace, sample: Sample, sampling: Sampling, wording: Wording) -> dict[str, Any]:
    from auscult.asking import AuscultModel

    model = AuscultModel.from_pretrained(known.model, wording=wording, weights=known.weights)
    said = model.ask(sample, sampling, known.seed)
    return _read(said.text, said.parsed.answer, said.parsed.problem, said.parsed.thought)


def _by_server(known: argparse.Namespace, sample: Sample, sampling: Sampling, wording: Wording) -> dict[str, Any]:
    from auscult.asking import ask_server
    from auscult.core.config import build
    from auscult.rollouts.options import Server

    given = {"url": known.server, "model": known.name, "send_identified": known.send_identified}
    options = build(Server, {**given, "key_env": known.key_env}, where="the command line: --server")
    text, parsed = ask_server(sample, wording, options, sampling, known.seed)
    return _read(text, parsed.answer, parsed.problem, parsed.thought)


def _read(text: str, answer: str | None, problem: str | None, thought: str | None) -> dict[str, Any]:
    return {"reply": text, "answer": answer, "problem": problem, "thought": thought}


def _wording(known: argparse.Namespace) -> tuple[Wording, str | None]:
    """How the question is put, and the run that says so."""
    from dataclasses import replace

    from auscult.asking import wording_of
    from auscult.core.forms import form
    from auscult.models.wording import Wording

    found = wording_of(known.model) if known.model else None
    wording, run = found or (Wording(form="label", instruction=bool(known.options)), None)
    if known.form is not None:
        wording = replace(wording, form=form(known.form).name)
    return wording, run


def _identified(images: Sequence[str]) -> Mapping[str, str]:
    """By file: who could be recognised by its header. Raises MediaError for what cannot be read."""
    from auscult.media.dicom import identity

    return {path: problem for path in images if (problem := identity(path).problem)}
