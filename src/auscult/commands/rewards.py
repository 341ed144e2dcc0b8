"""`auscult rewards audit RECIPE`: what its rewards pay for, and what they should not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from auscult.commands.arguments import Parser
from auscult.commands.recipes import open_with_data, overrides_of, recipe_names
from auscult.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from auscult.core.types import Sample
    from auscult.recipe import Recipe
    from auscult.rewards.audit import Account, Audit
    from auscult.rewards.rubric import Rubric
    from auscult.train.frequencies import Rewards


SHOWN = 60
"""Characters of an example."""


def run(command: str, arguments: list[str]) -> int:
    """Audits the rewards of each stage; its exit code is 2 where a total has a hole."""
    parser = Parser(command, "audit RECIPE [--preset NAME] [--limit N] [--json] [--key value ...]")
    parser.add_argument("what", choices=["audit"], metavar="audit")
    parser.add_argument("recipe", metavar="RECIPE", help=f"{', '.join(recipe_names())}, a YAML file or a run folder")
    parser.add_argument(
        "--preset", metavar="NAME", action="append", default=[], help="settings that the recipe has under a name"
    )
    parser.add_argument("--limit", type=int, default=32, metavar="N", help="held-out samples to try (default: 32)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if parser.helped(arguments):
        return 0
    known, rest = parser.parse_known_args(arguments)
    from auscult.core.forms import form
    from auscult.rewards.audit import examine
    from auscult.rewards.rubric import Rubric

    _refuse_exam(Path(known.recipe))
    recipe = open_with_data(known.recipe, overrides_of(parser, rest), known.preset)
    rewards = {name: stage.request.rewards for name, stage in recipe.stages.items() if stage.request}
    if not rewards:
        raise ConfigError(f"recipe {recipe.name} has no stage with rewards; audit one that samples replies")
    for given in rewards.values():
        Rubric.from_config(given)
    samples = _drawn(recipe, known.limit)
    with TemporaryDirectory() as aside:
        rubrics = _rubrics(recipe, rewards, Path(aside))
        audits = {name: examine(rubric, form(recipe.wording.form), samples) for name, rubric in rubrics.items()}
    flat = _flat(Path(known.recipe))
    if known.json:
        stages = {name: asdict(audit) for name, audit in audits.items()}
        found = {"recipe": recipe.name, "form": recipe.wording.form, "stages": stages, "flat": flat}
        print(json.dumps(found, ensure_ascii=False))
    else:
        for name, audit in audits.items():
            _show(f"{recipe.name}, stage {name}, form {recipe.wording.form}", audit, flat.get(name, []))
    return 2 if any(audit.total.holes for audit in audits.values()) else 0


def _refuse_exam(run: Path) -> None:
    """Raises ConfigError for the run folder of an exam, which has no rewards."""
    from auscult.core.yaml12 import read_yaml

    config = run / "config.yaml"
    if config.is_file() and "benchmark" in read_yaml(config):
        raise ConfigError(
            f"{run} is a run of `auscult eval`, which has no rewards; audit the recipe that trained its model"
        )


def _rubrics(recipe: Recipe, rewards: Mapping[str, Rewards], aside: Path) -> dict[str, Rubric]:
    """The rewards of each stage, with document frequencies of the training samples where they ask for them."""
    from auscult.data.source import Listed
    from auscult.rewards.rubric import Rubric
    from auscult.train import frequencies

    path = aside / frequencies.FILE
    asks = any(frequencies.asks(given) for given in rewards.values())
    train = recipe.data.split("train", recipe.seed) if asks else Listed(())
    for given in rewards.values():
        frequencies.check(given, train)
        frequencies.counted(given, train, path)
    return {name: Rubric.from_config(frequencies.placed(given, path)) for name, given in rewards.items()}


def _drawn(recipe: Recipe, limit: int) -> list[Sample]:
    """Held-out samples from all over the set, the same ones for the same seed."""
    from auscult.console import Reporter
    from auscult.core.seeds import rng
    from auscult.data.waiting import telling

    if limit < 1:
        raise ConfigError(f"rewards: --limit is {limit}; try at least 1 sample")
    with Reporter() as tell, telling(tell):
        samples = recipe.data.split("heldout", recipe.seed)
    order = rng(recipe.seed, "rewards audit").permutation(samples.size or 0)[:limit]
    return [samples[int(index)] for index in sorted(order)]


def _flat(run: Path) -> dict[str, list[str]]:
    """By stage of a run folder, the parts that taught nothing in it; nothing for what is no run folder."""
    from auscult.core.runs import read_jsonl
    from auscult.rewards.rubric import flat_parts

    files = sorted(run.glob("*/metrics.jsonl")) if run.is_dir() else []
    found = {file.parent.name: flat_parts(read_jsonl(file).rows) for file in files}
    return {stage: parts for stage, parts in found.items() if parts}


def _show(title: str, audit: Audit, flat: Sequence[str]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(Text(f"{title}, {audit.samples} held-out samples", style="bold"))
    console.print(_table(audit))
    lines = [line for account in (audit.total, *audit.parts) for line in _holes(account)] or ["No cheat pays."]
    constant = [part.name for part in audit.parts if part.constant]
    if constant:
        lines.append(f"The same for every reply tried: {', '.join(constant)}.")
    if flat:
        lines.append(f"Different within no group of this run, so they taught nothing in it: {', '.join(flat)}.")
    ungraded = [f"{part.name} {part.ungraded}" for part in audit.parts if part.ungraded]
    if ungraded:
        lines.append(f"Replies that could not be graded, and were left out of the means: {', '.join(ungraded)}.")
    lines += [
        f"Not graded by {part.name}, so a policy is not taught to leave them: {'; '.join(part.spared)}."
        for part in audit.parts
        if part.spared
    ]
    if audit.constant:
        best = audit.constant
        lines.append(
            f"Best constant answer: {best.mean:.2f}, where honest replies earn {best.honest:.2f} ({best.name})."
        )
    lines += [f"Not tried on {len(audit.unused)} samples; {audit.unused[0]}"] if audit.unused else []
    console.print(Text("\n".join(lines)), soft_wrap=True)


def _table(audit: Audit) -> Table:
    """A row for each part and the total: what is honest, what is a mistake, and the cheat that did best."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from auscult.rewards.audit import HONEST, MISTAKE

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Part", "Weight", "Honest", "Mistake", "Cheat", "Best paid cheat"):
        table.add_column(heading, justify="right" if heading in ("Weight", "Honest", "Mistake", "Cheat") else "left")
    for account in (*audit.parts, audit.total):
        values = {one.name: f"{one.mean:.2f}" for one in account.earned}
        best = next((one for one in account.earned if one.cheat), None)
        weight = "" if account is audit.total else f"{account.weight:g}"
        cells = (account.name, weight, values.get(HONEST, ""), values.get(MISTAKE, ""))
        table.add_row(*map(Text, (*cells, *((f"{best.mean:.2f}", best.name) if best else ("", "")))))
    return table


def _holes(account: Account) -> list[str]:
    if not account.holes:
        return []
    return [
        f"HOLES in {account.name}: these earn too much",
        *(f"  {one.mean:.2f}  {one.name}; {one.example_id}: {one.example[:SHOWN]!r}" for one in account.holes),
    ]
