"""`auscult eval RECIPE | BENCHMARK`: a saved model on a recipe's held-out samples, or a model on a benchmark."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.commands import run as recipes
from auscult.commands.arguments import HELP, Parser, nearest, option_lines
from auscult.commands.output import quiet, show
from auscult.commands.recipes import recipe_names
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from auscult.evaluate.exam import Exam

FLAGS = {
    "gold": ("benchmark.gold", "FILE", "the benchmark's questions and answers, as published"),
    "media": ("benchmark.media", "DIR", "folder of its recordings or images (default: the file's own)"),
    "model": ("model.path", "DIR", "a saved model, or a hub id with --model.family NAME"),
    "server": ("server.url", "URL", "ask an OpenAI-compatible server instead, for example http://localhost:8000/v1"),
    "limit": ("evaluate.limit", "N", "ask N questions, evenly spaced (default: all)"),
    "only": ("only", "FILE", "ask only the questions that FILE names, as `auscult errors RUN --export FILE` writes it"),
    "samples": ("votes", "N", "answers drawn to each question; the one most often given counts (default: 1)"),
    "prompt": ("prompts", "NAME", "what is said around the question; give it again to compare (default: baseline)"),
    "scorer": ("scorer", "NAME", "the rule that tells right from wrong (default: the benchmark's own), or a judge's"),
}
"""Flag -> the setting that it is short for, its value in usage, its text."""
REPLY_TOKENS = 2048
"""Longest reply in words of its own, where nothing else is set: VoiceBench's own."""
SWITCHES = ("--json", "--overwrite")
"""Options without a value."""


def run(command: str, arguments: list[str]) -> int:
    """Evaluates on what the first word names: a benchmark, the run folder of an exam, or else a recipe."""
    from auscult.core.config import Plugin

    names = Plugin("name", "auscult.evaluate.benchmarks").names()
    words = _plain(arguments)
    named = next((word for word in words if word in names or _benchmark_of(word)), None)
    if named is None:
        if set(HELP) & set(arguments):
            print(f"benchmarks: {', '.join(names)}; auscult eval BENCHMARK --help\n\nrecipes:\n")
        for word in [word for word in words[:1] if word not in recipe_names() and not Path(word).exists()]:
            if close := nearest(word, [*names, *recipe_names()]):
                raise ConfigError(f"there is no benchmark or recipe {word!r}{close}; auscult list has all of them")
        return recipes.run(command, arguments)
    rest = list(arguments)
    rest.remove(named)
    return _examine(command, named, rest)


def _plain(arguments: list[str]) -> list[str]:
    """The words that are neither options nor their values."""
    before = ["", *arguments]
    takes = [word.startswith("--") and "=" not in word and word not in (*SWITCHES, *HELP) for word in before]
    pairs = zip(arguments, takes, strict=False)
    return [word for word, value in pairs if not value and not word.startswith("-")]


def _benchmark_of(word: str) -> str | None:
    """The benchmark of an exam's run folder; None for anything else."""
    from auscult.core.yaml12 import read_yaml

    config = Path(word) / "config.yaml"
    section = read_yaml(config).get("benchmark") if config.is_file() else None
    return section.get("name") if isinstance(section, dict) else None


def _examine(command: str, what: str, arguments: list[str]) -> int:
    parser = Parser(command, f"{what} --gold FILE (--model DIR | --server URL) [--key value ...]")
    for flag, (_, value, text) in FLAGS.items():
        parser.add_argument(f"--{flag}", metavar=value, help=text, action="append" if flag == "prompt" else "store")
    default = what if _benchmark_of(what) else f"runs/eval-{what}"
    parser.add_argument("--out", metavar="DIR", help=f"run folder (default: {default})")
    parser.add_argument("--json", action="store_true", help="print one JSON object with all figures")
    parser.add_argument("--overwrite", action="store_true", help="delete what is in the run folder and begin again")
    known, rest = parser.parse_known_args([word for word in arguments if word not in HELP])
    from auscult.core.config import parse_overrides

    overrides = parse_overrides(rest)
    from auscult.evaluate.exam import Exam

    settings = {field.name for field in fields(Exam)}
    for key in (key for key in overrides if key.partition(".")[0] not in settings):
        close = nearest(key, (*FLAGS, *settings))
        raise ConfigError(f"the command line: there is no setting --{key}{close}; see --help")
    for flag, (key, _, _) in FLAGS.items():
        value = getattr(known, flag)
        if value is None:
            continue
        if key in overrides:
            raise ConfigError(f"the command line: --{flag} and --{key} are one setting; keep one")
        overrides[key] = json.dumps(value) if flag == "prompt" else value
    values = _values(what, overrides)
    if set(HELP) & set(arguments):
        print(f"{parser.format_help()}\nsettings:\n{option_lines(Exam, values, overrides)}")
        return 0
    if not overrides.keys() & {"benchmark", "benchmark.gold"} and "gold" not in values["benchmark"]:
        from auscult.evaluate.benchmark import find

        source = find(values["benchmark"]["name"]).source
        raise ConfigError(f"{command} {what}: its questions and answers are missing ({source}); give --gold FILE")
    out = known.out or (what if _benchmark_of(what) else None)
    return _work(_exam(what, values, overrides), out, overwrite=known.overwrite, as_json=known.json)


def _values(what: str, overrides: Mapping[str, str]) -> dict[str, Any]:
    """What is set before the command line: the exam's own folder, or what the run that trained the model says of it."""
    from auscult.core.yaml12 import read_yaml

    if (Path(what) / "config.yaml").is_file():
        return read_yaml(Path(what) / "config.yaml")
    from auscult.evaluate.benchmark import find
    from auscult.evaluate.exam import JUDGES

    values: dict[str, Any] = {"benchmark": {"name": what}}
    rule, benchmark = overrides.get("scorer"), find(what)
    if rule in JUDGES:  # who is paid for each condition
        values["baselines"] = False
    if rule in JUDGES or benchmark.spoken:  # an answer in words of its own is longer than an option
        values["evaluate"] = {"max_tokens": REPLY_TOKENS}
    bare = benchmark.verbatim or benchmark.spoken
    if bare or (rule in JUDGES and rule != "rubrics"):  # an instruction of ours would change the reply
        values["wording"] = {"form": "label", "instruction": False}
    if "server.url" in overrides and "server.model" not in overrides:
        values["server"] = {"model": "auto"}
    path = overrides.get("model.path")
    if path is None:
        return values
    for folder in list(Path(path).absolute().parents)[:3]:
        trained = read_yaml(folder / "config.yaml") if (folder / "config.yaml").is_file() else {}
        if isinstance(trained.get("model"), dict):
            wording = {"prompt": "baseline", **(trained.get("wording") or {})}
            return {**values, "model": trained["model"], "wording": wording, "prompts": [wording["prompt"]]}
    if "model.family" in overrides:
        return values
    if (family := _family(Path(path))) is not None:
        values["model"] = {"family": family}
    return values


def _family(path: Path) -> str | None:
    """The family of a checkpoint by its config.json; None where that does not say."""
    from auscult.data import rows
    from auscult.models.family import family_of

    if len(path.parts) == 1 and not path.exists():  # of two parts it may be a hub id
        raise ConfigError(
            f"--model {path}: there is no such folder; name that of a saved model, or a hub id (OWNER/NAME)"
        )
    file = path / "config.json"
    config = rows.mapping(rows.load_json(rows.read_text(file), str(file)), str(file)) if file.is_file() else {}
    return family_of(str(config.get("model_type", "")))


def _exam(what: str, values: Mapping[str, Any], overrides: Mapping[str, str]) -> Exam:
    from auscult.core.config import build
    from auscult.evaluate.exam import Exam

    folder = Path(what) / "config.yaml"
    return build(Exam, values, overrides, where=str(folder) if folder.is_file() else f"eval {what}")


def _work(exam: Exam, out: str | None, *, overwrite: bool, as_json: bool) -> int:
    quiet()
    from auscult import exams, pipeline
    from auscult.console import Reporter
    from auscult.core.config import to_dict

    name = to_dict(exam)["benchmark"]["name"]
    folder = Path(out) if out else pipeline.folder(f"eval-{name}")
    with Reporter() as tell:
        spoken = shlex.join(["auscult", *sys.argv[1:]])
        figures = exams.run(exam, folder, spoken, tell, say=tell.say, overwrite=overwrite)
    given = figures.get("to_judge", {})
    if given and not as_json:
        _hand_on(figures)
    else:
        show(folder, figures, as_json=as_json)
    found = next(iter([*figures["results"].values(), *given.values()]), None)
    for caveat in _caveats(found) if found and not as_json else ():
        print(caveat)
    return 0


def _caveats(found: Mapping[str, Any]) -> Iterator[str]:
    """What keeps a result from being the benchmark's own, in sentences."""
    from auscult.evaluate.benchmark import find

    selection, benchmark = found["selection"], found["benchmark"]
    yield from find(benchmark["name"]).caveats(selection["of"] if selection else found["n"], benchmark)
    if selection:
        yield f"A selection, {selection['asked']:,} of {selection['of']:,} questions: no score of the whole benchmark."


def _hand_on(figures: Mapping[str, Any]) -> None:
    """What was answered, and the commands that put it to a judge, each on a line of its own."""
    for name, found in figures["to_judge"].items():
        lacks = [
            f"{sum(found['failed'].values()):,} without a reply{_reasons(found['failed'])}",
            f"{sum(found['unread'].values()):,} with nothing in the place of the answer{_reasons(found['unread'])}",
            f"{found['cut']:,} replies cut off at evaluate.max_tokens",
        ]
        print(f"{name}: {found['n']:,} questions, {', '.join(lacks)}.")
    print(f"No score yet: {figures['scorer']} is a judge's. MODEL is who judges, --judge.url where that is served:\n")
    print("\n".join(figures["commands"].values()))


def _reasons(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{count:,} {reason}' for reason, count in counts.items())})" if counts else ""
