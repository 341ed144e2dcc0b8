"""A benchmark put to one model from beginning to end, in a run folder:

answers.jsonl                every answer and every failure as it came: the same command goes on from here
samples_PROMPT*.jsonl        every question with its answer, and the rows of the no-media baselines
results_PROMPT.json          accuracy with interval and baselines, under the benchmark's rule and under ours
results_comparison.json      each prompt against the first, and with media against without, paired by question
predictions_PROMPT.jsonl     what `auscult score` and `auscult submit` take
to_judge.json                where a judge scores, instead of samples and results: what the predictions are of
rollouts/showcase.jsonl      replies for the page, their recordings in media/
asked.json                   hashes of what was asked, and whose answers they are
data.json                    what was asked and what was not, in sentences
report.html, done

A finished exam is not repeated as such when the gold file, a prompt or the weights have changed since. Settings that
touch no answer (`FREE`) may change from start to start: then the answers stay, and are scored anew.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from auscult.core.config import to_dict
from auscult.core.connection import Connection
from auscult.core.endpoint import Spent, run_to_end
from auscult.core.errors import ConfigError, DataError, MediaError, RunError
from auscult.core.journal import Journal
from auscult.core.runs import Run, write_json, write_text
from auscult.core.seeds import derive
from auscult.core.types import Outcome
from auscult.core.yaml12 import dump_yaml, flow, read_yaml
from auscult.data.headers import unusable
from auscult.data.source import Listed
from auscult.data.waiting import Tell, telling
from auscult.evaluate import judged, records, rubrics, scoring
from auscult.evaluate.baselines import guesses
from auscult.evaluate.benchmark import PLUGIN
from auscult.evaluate.comparison import difference
from auscult.evaluate.evaluation import listed
from auscult.evaluate.exam import HEARD, Exam, Selection, Sitting, label, published, select
from auscult.evaluate.outcomes import proportion, write_outcomes
from auscult.evaluate.predictions import ONLY
from auscult.evaluate.respondents import Local, Remote, Respondent, served
from auscult.evaluate.results import Evaluation, prompt_of
from auscult.models.arithmetic import repeatable
from auscult.models.family import check_model
from auscult.models.fingerprint import fingerprint
from auscult.models.wording import messages
from auscult.report.page import write_page
from auscult.report.summary import summary
from auscult.rewards.judging.prompt import read_prompt
from auscult.rollouts.local import LocalEngine
from auscult.session import Say, clock, device
from auscult.showcase import FILE as SHOWCASE
from auscult.showcase import Shown, write_showcase

OURS = "choice"
"""The rule that stands beside a benchmark's own."""
TO_JUDGE = "to_judge.json"
FREE = (
    "scorer",
    "max_failed",
    "evaluate.showcase",
    *(f"server.{field.name}" for field in fields(Connection) if field.name not in ("url", "model")),
)
"""Settings that touch no answer: how answers are scored and shown, and how patiently a server is asked."""


def run(exam: Exam, out: Path, command: str, tell: Tell, *, say: Say, overwrite: bool = False) -> dict[str, Any]:
    """Asks whatever has no answer yet, and scores; the figures of the finished run, or where a judge scores, the
    commands that ask it.

    Raises AuscultError for what a user can mend; the answers so far stay in the folder.
    """
    repeatable()
    device(exam.device)
    if exam.model is not None:
        if exam.model.path is None:
            raise ConfigError("model.path is missing: an exam wants a model that was trained; give --model DIR")
        check_model(exam.model.path)
    selection = _selection(exam)
    # Before anything is written: what cannot be begun leaves no folder that refuses the corrected command.
    (_check_judged if exam.judged else _check_rule)(exam, selection)
    finished = not overwrite and (out / "done").exists()
    if not finished:
        with telling(tell):
            _check_media(exam, selection, say)
    asked = _respondent(exam) if exam.model or not finished else None  # a server alone knows whose weights it has
    config = to_dict(exam)
    with Run.open(out, config if overwrite else _gone_on(config, out), command, overwrite=overwrite) as opened:
        if opened.finished:
            _refuse_changed(out, exam, _asked(exam, selection, asked and asked[0]))
            if opened.config == config and (out / "asked.json").exists():
                say(f"{out} is finished, and these are its figures; --overwrite would begin again")
                return _figures(exam, selection, out)
            (out / "done").unlink()
        if opened.config != config:
            say(f"going on under other settings: {_changes(opened.config, config)}")
            write_text(out / "config.yaml", dump_yaml(config))
        told = list(_told(exam, selection))
        for sentence in told:
            say(sentence)
        write_json(out / "data.json", {"said": told})
        began = time.perf_counter()
        who, respondent = asked or _respondent(exam)
        try:
            _sit(exam, who, respondent, selection, out, tell, say)
        finally:
            clock(out / "environment.json", time.perf_counter() - began)
        write_json(out / "asked.json", _asked(exam, selection, who))
        write_page(out)
        opened.finish()
    return _figures(exam, selection, out)


def _told(exam: Exam, selection: Selection) -> Iterator[str]:
    """What is asked about, and what is not, in sentences."""
    groups = len({sample.group or sample.id for sample in selection.samples})
    yield f"{exam.benchmark.title}: {len(selection.samples):,} questions of {groups:,} groups"
    if selection.repeated:
        yield f"{selection.repeated:,} rows of {exam.benchmark.gold} repeat a question, word for word: it counts once"
    if selection.to_dict(exam):
        yield f"they are a selection of its {selection.of:,} questions: no score of the whole benchmark"
    if without := sum(not sample.media for sample in selection.samples):
        yield f"{without:,} of them have no recording or image, so they are asked in writing alone"


def _figures(exam: Exam, selection: Selection, out: Path) -> dict[str, Any]:
    """Those of a finished exam; where a judge scores, what it is given, and the command that asks it, by label."""
    figures = summary(out)
    if not exam.judged:
        return figures
    given = json.loads((out / TO_JUDGE).read_text(encoding="utf-8"))
    commands = {name: _judging(exam, selection, out / entry["predictions"]) for name, entry in given.items()}
    return {**figures, "scorer": exam.rule, "score": None, "commands": commands, "to_judge": given}


def _judging(exam: Exam, selection: Selection, predictions: Path) -> str:
    """The command that puts predictions to a judge. Those of a selection carry their gold: in the benchmark's file all
    that was not asked would count as unanswered."""
    gold = exam.benchmark.gold if selection.to_dict(exam) is None else None
    return judged.command(PLUGIN.name_of(exam.benchmark), str(predictions), gold, exam.rule)


def _free(config: Mapping[str, Any]) -> dict[str, tuple[dict[str, Any], str]]:
    """Each `FREE` setting that a configuration has: the section that holds it, and its name there."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for key in FREE:
        section, _, name = key.rpartition(".")
        values = config.get(section) if section else config
        if isinstance(values, dict) and name in values:
            found[key] = values, name
    return found


def _gone_on(config: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The configuration with its `FREE` settings as they were when the exam in `out` was started the last time."""
    kept = deepcopy(dict(config))
    here, there = _free(kept), _free(read_yaml(out / "config.yaml") if (out / "config.yaml").is_file() else {})
    for key in here.keys() & there.keys():
        values, name = here[key]
        before, _ = there[key]
        values[name] = before[name]
    return kept


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which of the `FREE` settings differ, in words."""
    then = {key: values[name] for key, (values, name) in _free(before).items()}
    found = {key: values[name] for key, (values, name) in _free(now).items()}
    return ", ".join(
        f"{key} {flow(found[key])} (before: {flow(then[key])})" for key in found if found[key] != then[key]
    )


def _asked(exam: Exam, selection: Selection, who: str | None) -> dict[str, Any]:
    """What a finished exam's figures are of; `who` is None where nobody can know it."""
    return {
        "gold": exam.benchmark.identity(exam.benchmark.gold)["gold_sha256"],
        "only": selection.sha256,
        "prompts": {prompt: prompt_of(prompt)["sha256"] for prompt in exam.prompts},
        "who": who,
    }


def _refuse_changed(out: Path, exam: Exam, now: Mapping[str, Any]) -> None:
    """Raises RunError when a finished exam was asked of something else than what is there now."""
    path = out / "asked.json"
    then = json.loads(path.read_text(encoding="utf-8")) if path.exists() else now
    changed = [prompt for prompt in exam.prompts if then["prompts"].get(prompt) != now["prompts"][prompt]]
    changed = [f"the prompt {prompt}" for prompt in changed]
    if then["gold"] != now["gold"]:
        changed.append(f"the gold file {exam.benchmark.gold}")
    if then["only"] != now["only"]:
        changed.append(f"the file of ids {exam.only}")
    if exam.model is not None and then["who"] != now["who"]:
        changed.append(f"the weights in {exam.model.path}")
    if not changed:
        return
    again = "Give --out another folder to ask anew, or --overwrite to delete that run and begin again"
    if then["gold"] != now["gold"]:
        answers = str(out / f"predictions_{label(exam.prompts[0])}.jsonl")
        words = [PLUGIN.name_of(exam.benchmark), answers, "--gold", exam.benchmark.gold, "--scorer", exam.rule]
        words += ["--judge", "MODEL"] if exam.judged else []
        again += f"; its answers can be scored on the new file: {shlex.join(['auscult', 'score', *words])}"
    raise RunError(f"{out} is finished, but since then {' and '.join(changed)} changed. {again}")


def _check_rule(exam: Exam, selection: Selection) -> None:
    """Raises DataError for questions that the rule cannot be put to, which an empty reply tells as well as any."""
    samples = selection.samples
    with_gold = sum(bool(sample.answers) for sample in samples)
    if 0 < with_gold < len(samples):
        raise DataError(
            f"{exam.benchmark.gold}: {len(samples) - with_gold} questions have no answer; add or remove them"
        )
    rule = scoring.scorer(exam.rule)
    for sample in samples if with_gold else ():
        rule("", sample)


def _check_judged(exam: Exam, selection: Selection) -> None:
    """Raises DataError for questions that a judge could not be asked about, before they are answered."""
    gold, samples = exam.benchmark.gold, selection.samples
    bare = [sample.id for sample in samples if not sample.answers]
    if bare and "reference" in read_prompt(exam.rule).fields:
        raise DataError(
            f"{gold}: {len(bare)} of {len(samples)} questions have no answer that a judge could compare with, the "
            f"first {bare[0]!r}; add them, or take --scorer open"
        )
    if exam.rule == "rubrics":
        rubrics.rubrics(samples, rubrics.read_expectations(Path(gold)), {})


def _check_media(exam: Exam, selection: Selection, say: Say) -> None:
    """Raises MediaError when more questions than may fail are about files that cannot be used, by their headers."""
    found = unusable(part for sample in selection.samples for part in sample.media)
    bad = {
        sample.id: next(found[part] for part in sample.media if part in found)
        for sample in selection.samples
        if not found.keys().isdisjoint(sample.media)
    }
    if not bad:
        return
    name, first = next(iter(bad.items()))
    counts = ", ".join(f"{count} {why}" for why, count in Counter(error.reason for error in bad.values()).items())
    said = f"{len(bad):,} of {len(selection.samples):,} questions are about files that cannot be used ({counts})"
    if len(bad) <= exam.max_failed * len(selection.samples):
        say(f"{said}; --max_failed lets them count as wrong")
        return
    raise MediaError(
        f"{exam.benchmark.gold}: {said}, the first, {name!r}: {first}. Mend them, or name their folder with --media DIR"
        + _allowing(len(bad), len(selection.samples)),
        reason=first.reason,
    )


def _allowing(failed: int, asked: int) -> str:
    """How so many failures can be allowed for; nothing when all have failed."""
    share = math.ceil(100 * failed / asked) / 100
    return f"; or let them count as wrong with --max_failed {share:.2f}" if share < 1 else ""


def _selection(exam: Exam) -> Selection:
    """What is asked: the benchmark's questions, or those that `only` names, or `limit` of them."""
    file = records.read(Path(exam.benchmark.gold))
    every = tuple(exam.benchmark.samples_of(file, judged=exam.judged))
    named = select(every, Path(exam.only)) if exam.only else Selection(every, len(every))
    asked = tuple(listed(Listed(named.samples), exam.evaluate.limit))
    return replace(named, samples=asked, repeated=len(exam.benchmark.repeated(file)))


def _sit(exam: Exam, who: str, respondent: Respondent, selection: Selection, out: Path, tell: Tell, say: Say) -> None:
    """All questions asked, and all files written; `who` stands for the respondent's weights."""
    samples = selection.samples
    journal = Journal(out / "answers.jsonl")
    if len(journal):
        say(f"going on behind {len(journal):,} answers in {journal.path}")
    with_gold = any(sample.answers for sample in samples)
    scored = with_gold or exam.judged
    sittings = [sitting for sitting in exam.sittings(samples, who) if scored or sitting.condition == HEARD]
    for sitting in sittings:
        total = len(samples) * sitting.draws
        what = f"{label(sitting.prompt)}: {sitting.condition}"
        respondent.ask(sitting, journal, lambda done, what=what, total=total: tell(what, done, total, {}))
        if len(sitting.failures(journal)) == total:  # whatever it is, it would go on
            _check_failures(exam, sitting, journal)
    for sitting in sittings:
        _check_failures(exam, sitting, journal)
    if exam.judged:
        _hand_over(exam, selection, sittings, journal, out)
        return
    (out / TO_JUDGE).unlink(missing_ok=True)
    for sitting in sittings:
        if sitting.condition == HEARD:
            rows = ({**row, **selection.mark} for row in sitting.predictions(journal, exam.rule))
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            write_text(out / f"predictions_{label(sitting.prompt)}.jsonl", "".join(lines))
    if with_gold:
        _score(exam, selection, sittings, journal, out)
        _show(exam, sittings[0], journal, out)
    else:
        say(f"{exam.benchmark.gold} keeps its answers to itself: there are predictions in {out}, and no score")


def _hand_over(exam: Exam, selection: Selection, sittings: Sequence[Sitting], journal: Journal, out: Path) -> None:
    """Writes what a judge is given; what another rule made of these answers is no longer there."""
    gold = published(exam.benchmark)
    identity = {"name": PLUGIN.name_of(exam.benchmark), **exam.benchmark.identity(exam.benchmark.gold)}
    given: dict[str, Any] = {}
    for sitting in sittings:
        name = label(sitting.prompt, sitting.condition)
        rows = ({**row, **selection.mark} for row in sitting.to_judge(journal, exam.rule, gold))
        write_text(
            out / f"predictions_{name}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        )
        given[name] = {
            "predictions": f"predictions_{name}.jsonl",
            "n": len(sitting.samples),
            "failed": dict(Counter(row["problem"] for row in sitting.failures(journal))),
            "unread": dict(sitting.unread(journal)),
            "cut": sitting.cut(journal),
            "clips": {"clips": sum(len(sample.media) for sample in sitting.samples), **sitting.happened(journal)},
            "form": exam.wording.form,
            "prompt": prompt_of(sitting.prompt),
            "votes": sitting.draws,
            "selection": selection.to_dict(exam),
            "benchmark": identity,
        }
        for stale in (f"results_{name}.json", f"samples_{name}.jsonl"):
            (out / stale).unlink(missing_ok=True)
    for stale in ("results_comparison.json", SHOWCASE):
        (out / stale).unlink(missing_ok=True)
    write_json(out / TO_JUDGE, given)


def _respondent(exam: Exam) -> tuple[str, Respondent]:
    """What stands for the weights, and who answers."""
    if exam.server is not None:
        options = exam.server
        if options.model == "auto":
            options = replace(options, model=run_to_end(served(options)))
        return f"{options.url} {options.model}", Remote(options, Spent())
    assert exam.model is not None
    assert exam.model.path is not None
    listener = exam.model.load(exam.model.path, exam.wording)
    torch.nn.Module.to(listener.model, device(exam.device))
    engine = LocalEngine(listener, exam.evaluate.batch * exam.votes)
    return fingerprint(listener.model, whole=True), Local(engine, listener, exam.evaluate.batch)


def _check_failures(exam: Exam, sitting: Sitting, journal: Journal) -> None:
    """Raises DataError when more questions have no answer than the exam allows for."""
    failures = sitting.failures(journal)
    asked = len(sitting.samples) * sitting.draws
    if len(failures) > exam.max_failed * asked:
        counts = Counter(row["problem"] for row in failures)
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        raise DataError(
            f"{len(failures)} of {asked} questions ({sitting.prompt}, {sitting.condition}) have no answer: {reasons}; "
            f"the first: {failures[0]['detail']}. Mend the cause, and the same command asks them again"
            + _allowing(len(failures), asked)
        )


def _score(exam: Exam, selection: Selection, sittings: Sequence[Sitting], journal: Journal, out: Path) -> None:
    """Writes samples, results and comparisons."""
    compared: list[dict[str, Any]] = []
    first: tuple[str, Sequence[Outcome]] | None = None
    for order, prompt in enumerate(exam.prompts):
        name = label(prompt)
        sat = {sitting.condition: sitting for sitting in sittings if sitting.prompt == prompt}
        outcomes = {condition: sitting.outcomes(journal, exam.rule) for condition, sitting in sat.items()}
        results = _results(exam, sat[HEARD], outcomes, journal)
        head = {
            "label": name,
            "order": order,
            "selection": selection.to_dict(exam),
            "gold_repeated": selection.repeated,
        }
        write_json(out / f"results_{name}.json", {**head, **results})
        for condition, rows in outcomes.items():
            named = label(prompt, condition)
            said = {row["id"]: row for row in sat[condition].predictions(journal, exam.rule)}
            write_outcomes(out / f"samples_{named}.jsonl", rows, said, rule=exam.rule, only=selection.mark.get(ONLY))
            if condition != HEARD:
                compared.append(_paired(exam, named, rows, name, outcomes[HEARD]))
        if first is not None:
            compared.append(_paired(exam, *first, name, outcomes[HEARD]))
        first = first or (name, outcomes[HEARD])
    write_json(out / "results_comparison.json", compared)


def _results(
    exam: Exam, heard: Sitting, outcomes: Mapping[str, tuple[Outcome, ...]], journal: Journal
) -> dict[str, Any]:
    """What the results file of a prompt holds."""
    samples, rows = heard.samples, outcomes[HEARD]
    clips = {"clips": sum(len(sample.media) for sample in samples), **heard.happened(journal)}
    unheard = {condition: found for condition, found in outcomes.items() if condition != HEARD}
    results = Evaluation(rows, unheard, guesses(samples), clips, exam.rule).to_dict()
    for tag in (table.tag for table in exam.benchmark.breakdowns_of(samples)):
        values = sorted({row.tags[tag] for row in rows if tag in row.tags})
        alike = {value: [row for row in rows if row.tags.get(tag) == value] for value in values}
        results["by"].setdefault(tag, {value: proportion(some, rows) for value, some in alike.items()})
    return {
        **results,
        "form": exam.wording.form,
        "benchmark": {"name": PLUGIN.name_of(exam.benchmark), **exam.benchmark.identity(exam.benchmark.gold)},
        "prompt": prompt_of(heard.prompt),
        "votes": exam.votes,
        "failed": dict(Counter(row["problem"] for row in heard.failures(journal))),
        "figures": exam.benchmark.figures(samples, rows),
        "scorers": {exam.rule: proportion(rows), OURS: _ours(heard, journal)},
    }


def _ours(sitting: Sitting, journal: Journal) -> dict[str, Any] | None:
    """The score by our own rule; None where it cannot be had, as where an answer is none of the options."""
    if sitting.verbatim:
        return None
    try:
        return proportion(sitting.outcomes(journal, OURS))
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
    shown: list[Shown] = []
    for sample in (sitting.samples[place * len(sitting.samples) // count] for place in range(count)):
        if (reply := sitting.reply(sample, journal)) is None:
            continue
        outcome = sitting.outcome(sample, reply, exam.rule)
        right = float(outcome.correct)
        asked = [piece for turn in messages(sitting.put(sample), sitting.wording) for piece in turn["content"]]
        text = "\n".join(piece if isinstance(piece, str) else f"[{type(piece).__name__}]" for piece in asked)
        shown.append(Shown(sample, text, outcome.reply, outcome.parsed, {"right": right}, right))
    write_showcase(out, shown, sitting.wording.display)
