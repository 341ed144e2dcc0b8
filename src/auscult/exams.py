"""A benchmark put to one model from beginning to end, in a run folder:

answers.jsonl                every answer and every failure as it came: the same command goes on from here
samples_PROMPT*.jsonl        every question with its answer, and the rows of the no-media baselines
results_PROMPT.json          accuracy with interval and baselines, under the benchmark's rule and under ours
results_comparison.json      each prompt against the first, and with media against without, paired by question
predictions_PROMPT.jsonl     what `auscult score` and `auscult submit` take
rollouts/showcase.jsonl      replies for the page, their recordings in media/
report.html, done
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from auscult.core.config import to_dict
from auscult.core.endpoint import Spent
from auscult.core.errors import ConfigError, DataError
from auscult.core.journal import Journal
from auscult.core.runs import Run, write_json, write_text
from auscult.core.seeds import derive
from auscult.core.types import Outcome
from auscult.data.source import Listed
from auscult.evaluate import scoring
from auscult.evaluate.baselines import guesses
from auscult.evaluate.benchmark import PLUGIN
from auscult.evaluate.comparison import difference
from auscult.evaluate.evaluation import listed
from auscult.evaluate.exam import HEARD, Exam, Selection, Sitting, select
from auscult.evaluate.outcomes import proportion, write_outcomes
from auscult.evaluate.respondents import Local, Remote, Respondent, served
from auscult.evaluate.results import Evaluation, prompt_of
from auscult.models.fingerprint import fingerprint
from auscult.models.wording import messages
from auscult.pipeline import Say, Tell, check_model, clock, device
from auscult.report.page import write_page
from auscult.report.summary import summary
from auscult.rollouts.local import LocalEngine
from auscult.showcase import Shown, write_showcase

OURS = "choice"
"""The rule that stands beside a benchmark's own."""


def run(exam: Exam, out: Path, command: str, tell: Tell, *, say: Say, overwrite: bool = False) -> dict[str, Any]:
    """Asks whatever has no answer yet, and scores; the figures of the finished run.

    Raises AuscultError for what a user can mend; the answers so far stay in the folder.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    device(exam.device)
    if exam.model is not None:
        if exam.model.path is None:
            raise ConfigError("model.path is missing: an exam wants a model that was trained; give --model DIR")
        check_model(exam.model.path)
    selection = _selection(exam)
    # Before anything is written: what cannot be begun leaves no folder that refuses the corrected command.
    asked = _respondent(exam) if overwrite or not (out / "done").exists() else None
    with Run.open(out, to_dict(exam), command, overwrite=overwrite) as opened:
        if opened.finished or asked is None:
            say(f"{out} is finished, and these are its figures; --overwrite would begin again")
            return summary(out)
        groups = len({sample.group or sample.id for sample in selection.samples})
        say(f"{exam.benchmark.title}: {len(selection.samples):,} questions of {groups:,} groups")
        if selection.to_dict(exam):
            say(f"they are a selection of its {selection.of:,} questions: no score of the whole benchmark")
        began = time.perf_counter()
        try:
            _sit(exam, *asked, selection, out, tell, say)
        finally:
            clock(out / "environment.json", time.perf_counter() - began)
        write_page(out)
        opened.finish()
    return summary(out)


def _selection(exam: Exam) -> Selection:
    """What is asked: the benchmark's questions, or those that `only` names, or `limit` of them."""
    every = tuple(exam.benchmark.samples())
    named = select(every, Path(exam.only)) if exam.only else Selection(every, len(every))
    return replace(named, samples=tuple(listed(Listed(named.samples), exam.evaluate.limit)))


def _sit(exam: Exam, who: str, respondent: Respondent, selection: Selection, out: Path, tell: Tell, say: Say) -> None:
    """All questions asked, and all files written; `who` stands for the respondent's weights."""
    samples = selection.samples
    journal = Journal(out / "answers.jsonl")
    if len(journal):
        say(f"going on behind {len(journal):,} answers in {journal.path}")
    with_gold = sum(bool(sample.answers) for sample in samples)
    if 0 < with_gold < len(samples):
        raise DataError(
            f"{exam.benchmark.gold}: {len(samples) - with_gold} questions have no answer; add or remove them"
        )
    sittings = [sitting for sitting in exam.sittings(samples, who) if with_gold or sitting.condition == HEARD]
    for sitting in sittings:
        total = len(samples) * sitting.draws
        what = f"{_label(sitting.prompt)}: {sitting.condition}"
        respondent.ask(sitting, journal, lambda done, what=what, total=total: tell(what, done, total, {}))
    for sitting in sittings:
        _check_failures(exam, sitting, journal)
        if sitting.condition == HEARD:
            _predict(out / f"predictions_{_label(sitting.prompt)}.jsonl", sitting, journal)
    if with_gold:
        _score(exam, selection, sittings, journal, out)
        _show(exam, sittings[0], journal, out)
    else:
        say(f"{exam.benchmark.gold} keeps its answers to itself: there are predictions in {out}, and no score")


def _respondent(exam: Exam) -> tuple[str, Respondent]:
    """What stands for the weights, and who answers."""
    if exam.server is not None:
        options = exam.server
        if options.model == "auto":
            options = replace(options, model=asyncio.run(served(options)))
        return f"{options.url} {options.model}", Remote(options, Spent())
    assert exam.model is not None
    assert exam.model.path is not None
    listener = exam.model.load(exam.model.path, exam.wording)
    torch.nn.Module.to(listener.model, device(exam.device))
    engine = LocalEngine(listener, exam.evaluate.batch * exam.votes)
    return fingerprint(listener.model), Local(engine, listener, exam.evaluate.batch)


def _check_failures(exam: Exam, sitting: Sitting, journal: Journal) -> None:
    """Raises DataError when more questions have no answer than the exam allows for."""
    failures = sitting.failures(journal)
    asked = len(sitting.samples) * sitting.draws
    if len(failures) > exam.max_failed * asked:
        counts = Counter(row["problem"] for row in failures)
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        raise DataError(
            f"{len(failures)} of {asked} questions ({sitting.prompt}, {sitting.condition}) have no answer: {reasons}; "
            f"the first: {failures[0]['detail']}. Mend the cause, and the same command asks them again; or let them "
            f"count as wrong with --max_failed {min(0.99, len(failures) / asked + 0.005):.2f}"
        )


def _predict(path: Path, sitting: Sitting, journal: Journal) -> None:
    """The answers as a submission holds them; a reply without a readable one keeps its row, and says nothing."""
    lines: list[str] = []
    for sample in sitting.samples:
        if (found := sitting.reading(sample, journal)) is not None:
            said = {"thinking_prediction": found[1].thought or "", "answer_prediction": found[1].answer or ""}
            lines.append(json.dumps({"id": sample.id, **said}, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def _score(exam: Exam, selection: Selection, sittings: Sequence[Sitting], journal: Journal, out: Path) -> None:
    """Writes samples, results and comparisons."""
    rule = exam.scorer or exam.benchmark.scorer
    scorer = scoring.scorer(rule)
    compared: list[dict[str, Any]] = []
    first: tuple[str, Sequence[Outcome]] | None = None
    for order, prompt in enumerate(exam.prompts):
        label = _label(prompt)
        outcomes = {
            sitting.condition: sitting.outcomes(journal, scorer) for sitting in sittings if sitting.prompt == prompt
        }
        heard = next(sitting for sitting in sittings if sitting.prompt == prompt)
        results = _results(exam, rule, heard, outcomes, journal)
        head = {"label": label, "order": order, "selection": selection.to_dict(exam)}
        write_json(out / f"results_{label}.json", {**head, **results})
        for condition, rows in outcomes.items():
            named = label if condition == HEARD else f"{label}_{condition}"
            write_outcomes(out / f"samples_{named}.jsonl", rows)
            if condition != HEARD:
                compared.append(_paired(exam, named, rows, label, outcomes[HEARD]))
        if first is not None:
            compared.append(_paired(exam, *first, label, outcomes[HEARD]))
        first = first or (label, outcomes[HEARD])
    write_json(out / "results_comparison.json", compared)


def _results(
    exam: Exam, rule: str, heard: Sitting, outcomes: Mapping[str, tuple[Outcome, ...]], journal: Journal
) -> dict[str, Any]:
    """What the results file of a prompt holds."""
    samples, rows = heard.samples, outcomes[HEARD]
    clips = {"clips": sum(len(sample.media) for sample in samples), **heard.happened(journal)}
    unheard = {condition: found for condition, found in outcomes.items() if condition != HEARD}
    results = Evaluation(rows, unheard, guesses(samples), clips, rule).to_dict()
    for tag in (table.tag for table in exam.benchmark.breakdowns_of(samples)):
        values = sorted({row.tags[tag] for row in rows if tag in row.tags})
        results["by"].setdefault(tag, {v: proportion([row for row in rows if row.tags.get(tag) == v]) for v in values})
    return {
        **results,
        "form": exam.wording.form,
        "benchmark": {"name": PLUGIN.name_of(exam.benchmark), **exam.benchmark.identity(exam.benchmark.gold)},
        "prompt": prompt_of(heard.prompt),
        "votes": exam.votes,
        "failed": dict(Counter(row["problem"] for row in heard.failures(journal))),
        "figures": exam.benchmark.figures(samples, rows),
        "scorers": {rule: proportion(rows), OURS: _ours(heard, journal)},
    }


def _ours(sitting: Sitting, journal: Journal) -> dict[str, Any] | None:
    """The score by our own rule; None where it cannot be had, as where an answer is none of the options."""
    if sitting.verbatim:
        return None
    try:
        return proportion(sitting.outcomes(journal, scoring.scorer(OURS)))
    except DataError:
        return None


def _paired(exam: Exam, before: str, first: Sequence[Outcome], after: str, second: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "before": before,
        "after": after,
        **difference(first, second, derive(exam.seed, "bootstrap", before, after)),
    }


def _show(exam: Exam, sitting: Sitting, journal: Journal, out: Path) -> None:
    """Some of the questions with their answers, for the page."""
    count = min(exam.evaluate.showcase, len(sitting.samples))
    scorer = scoring.scorer(exam.scorer or exam.benchmark.scorer)
    shown: list[Shown] = []
    for sample in (sitting.samples[place * len(sitting.samples) // count] for place in range(count)):
        if (found := sitting.reading(sample, journal)) is None:
            continue
        reply, parsed = found
        right = float(parsed.answer is not None and scorer(parsed.answer, sample).correct)
        asked = [piece for turn in messages(sample, sitting.wording) for piece in turn["content"]]
        text = "\n".join(piece if isinstance(piece, str) else f"[{type(piece).__name__}]" for piece in asked)
        shown.append(Shown(sample, text, reply, parsed, {"right": right}, right))
    write_showcase(out, shown)


def _label(prompt: str) -> str:
    """What the files of a prompt are called."""
    return Path(prompt).stem
