"""`auscult ask --model DIR --image FILE ... --question TEXT`: one question to a saved model, or to a server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auscult.commands.arguments import Parser
from auscult.commands.output import quiet
from auscult.core.errors import MediaError

if TYPE_CHECKING:
    from auscult.core.types import Sample, Sampling
    from auscult.models.wording import Wording

EPILOG = """\
Images (DICOM too) and recordings are shown in the order in which they are given. A model in a run folder is asked as
its run asked. A film whose header names somebody is looked at here, with a word about it; no server is sent it."""


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
    for kind, text in (("image", "picture or DICOM film; several views in their order"), ("audio", "recording")):
        add(f"--{kind}", metavar="FILE", nargs="+", action=_InOrder, dest="media", default=[], help=text)
    add(
        "--views",
        metavar="NAME",
        nargs="+",
        default=[],
        help="what each image is, such as PA LATERAL (default: unsaid)",
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
    from auscult.core.types import Audio, Image, Sampling

    media = [(Image if kind == "--image" else Audio)(path) for kind, path in known.media]
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
