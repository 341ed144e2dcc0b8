"""Recipes, and how their stages are wired: each one reads what the one before it left in the run folder.

    pretrain/                    the encoder, where the recipe pretrains one: a run folder of its own (`encoders.py`)
    model/                       the listener that the run begins with
    sft/ rest/ grpo/             one run folder a stage: metrics, rollouts, checkpoints, the trained model/, and `done`
    samples_LABEL*.jsonl         every held-out row after `start` and each stage (of `model`, where there is no stage);
                                 the rows of the no-media baselines
    results_LABEL.json           accuracies (of captions, CIDEr-D) with intervals, baselines beside them
    results_comparison.json      before and after, with media and without, paired by row
    data.json                    what was trained on and held out, and what was left out of it: in sentences, and by id
    captions_df.json             document frequencies of the training samples, where a reward asks for them
    rollouts/showcase.jsonl      sampled rollouts for the page, their audio in media/
    report.html, done

A file that is there is finished, so the same command goes on where it was stopped. Seeds are addresses: nothing
depends on whether a run was stopped, or its stages were asked for one by one (`stage`). Several processes (`torchrun`,
`accelerate launch`) go through all of it together and share the training and the held-out samples; process 0 writes.

Before all of that the data are fetched or made, where the recipe says how (`prepare`): outside of the run folder,
because other runs share them.
"""

from __future__ import annotations

import difflib
import itertools
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from auscult import encoders
from auscult.core.config import to_dict
from auscult.core.errors import ConfigError, DataError
from auscult.core.forms import form
from auscult.core.runs import Run, atomic_folder, read_jsonl, write_json
from auscult.core.seeds import derive
from auscult.core.types import Sample, Sampling
from auscult.data.leakage import Found, guarded
from auscult.data.source import Listed, Samples, Split, each, order
from auscult.data.splits import assert_disjoint, files_of, group_of, refuse_twins
from auscult.data.waiting import Tell, telling
from auscult.evaluate import published
from auscult.evaluate.evaluation import answer, evaluate, listed
from auscult.evaluate.metric import metric
from auscult.evaluate.results import prompt_of
from auscult.models.adapters import beneath, copy_checkpoint, merge, said_by
from auscult.models.arithmetic import repeatable
from auscult.models.base import causal_config
from auscult.models.family import check_model
from auscult.models.fetching import check_reachable
from auscult.models.graft_listener import Ears, encoder_at
from auscult.models.graft_shape import Shape
from auscult.models.listener import Listener
from auscult.recipe import Encoder, Pretraining, Recipe
from auscult.report.page import write_page
from auscult.report.summary import summary
from auscult.rewards.rubric import Rubric, flat_parts
from auscult.rollouts.engine import Engine
from auscult.rollouts.local import LocalEngine
from auscult.rollouts.server import ServerEngine
from auscult.session import Say, clock, device
from auscult.showcase import Shown, write_showcase
from auscult.train import checkpoint, frequencies, loop, rest
from auscult.train.algorithm import Algorithm
from auscult.train.algorithms.rest import Algorithm as Rest
from auscult.train.processes import Together, join, leave
from auscult.train.rest import Heldout, SelfTraining

VOCABULARY_SAMPLES = 512
"""Samples whose texts a new tokenizer is learnt from."""


def load(recipe: Recipe, path: str | Path) -> Listener:
    """The listener saved in `path`, on the recipe's device."""
    listener = recipe.model.load(path, recipe.wording)
    torch.nn.Module.to(listener.model, device(recipe.device))
    return listener


def local(recipe: Recipe, listener: Listener) -> LocalEngine:
    """What answers prompts with the listener's weights."""
    return LocalEngine(listener, recipe.evaluate.batch, recipe.train.precision)


def engine(recipe: Recipe, listener: Listener) -> Engine:
    """The same, asked by all processes together, each of which answers its share."""
    return Together(local(recipe, listener), join())


def rolling(recipe: Recipe, folder: Path, listener: Listener) -> Engine:
    """What draws the rollouts of a stage; a server's replies are journaled in `folder`."""
    if recipe.server is None:
        return local(recipe, listener)
    return ServerEngine(listener, recipe.server, folder)


def run(
    recipe: Recipe,
    out: Path,
    command: str,
    tell: Tell,
    *,
    say: Say = lambda _: None,
    overwrite: bool = False,
    stage: str | None = None,
) -> dict[str, Any]:
    """Runs what is left of the recipe in the folder `out`, or of one stage of it alone; the figures of the finished
    run, or what the stage made, for process 0 alone."""
    repeatable()
    _refuse_odd(recipe, stage)
    who = join()
    if missing := who.first(partial(_missing, recipe, out, stage)):
        raise ConfigError(missing)
    if stage != "prepare":
        _there(recipe, out)
    for algorithm in recipe.stages.values():  # a reward that is not there must not be found out after the first stage
        if algorithm.request:
            Rubric.from_config(algorithm.request.rewards)
    heard: Tell = tell if who.rank == 0 else lambda *_: None
    provided: list[str] = []
    with telling(heard):
        if recipe.prepare is not None:
            provided.append(who.first(partial(recipe.prepare.provide, heard)))
            if stage == "prepare":
                leave()
                return {"stage": stage, "made": provided[0]} if who.rank == 0 else {}
            if who.rank == 0:
                say(provided[0])
        work = _Work.of(recipe, heard)  # what cannot be begun leaves no folder that refuses the corrected command
    for algorithm in recipe.stages.values():
        if algorithm.request:
            frequencies.check(algorithm.request.rewards, work.train)
    _measurable(recipe, work.held)
    _pretrainable(recipe, out, stage)
    _hearable(recipe, work, out)
    with who.open(out, to_dict(recipe), command, overwrite=overwrite) as opened:
        if who.rank:
            if not opened.finished:
                _stages(recipe, work, opened, command, heard, lambda _: None, stage)
            leave()
            return {}
        if opened.finished:
            say(f"{out} is finished, and these are its figures; --overwrite would begin again")
        else:
            told = list(work.sentences(recipe))
            for sentence in (*told, *work.begins(recipe)):
                say(sentence)
            write_json(out / "data.json", {"said": [*provided, *told], "missing": work.missing(recipe)})
            if work.found:
                write_json(out / "leaks.json", work.found.to_dict())
            began = time.perf_counter()
            try:
                made = _stages(recipe, work, opened, command, tell, say, stage)
            finally:
                clock(out / "environment.json", time.perf_counter() - began)
            if made is not None:
                leave()
                return {"stage": stage, "made": str(made)}
            write_page(out)
            opened.finish()
    leave()
    return summary(out)


def stages_of(recipe: Recipe) -> list[str]:
    """What a run consists of, in order."""
    first = {"prepare": recipe.prepare, "pretrain": recipe.pretrain}
    return [*(name for name, section in first.items() if section is not None), *recipe.stages, "evaluate"]


def _refuse_odd(recipe: Recipe, stage: str | None) -> None:
    """Refuses a stage that the recipe has not, and a pretrained encoder that nothing would be grafted with."""
    stages, of = stages_of(recipe), f"recipe {recipe.name}"
    if stage is not None and stage not in stages:
        near = difflib.get_close_matches(stage, stages, n=1)
        meant = f", did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"{of} has no stage {stage!r}{meant}; it has {', '.join(stages)}")
    if recipe.pretrain is None:
        return
    if not hasattr(recipe.model, "encoder"):
        raise ConfigError(f"{of} pretrains an encoder, which only model.family graft takes; add --pretrain null")
    given = next((name for name in ("path", "encoder") if getattr(recipe.model, name)), None)
    if given is not None:
        raise ConfigError(
            f"{of} pretrains an encoder, but model.{given} brings one; leave it out or add --pretrain null"
        )


def _missing(recipe: Recipe, out: Path, stage: str | None) -> str | None:
    """What a stage that is to run alone lacks of those before it, in a sentence."""
    made = {"pretrain": out / "pretrain" / "encoder", **{name: out / name / "model" for name in recipe.stages}}
    before = [] if stage is None else stages_of(recipe)[: stages_of(recipe).index(stage)]
    for name in before:
        if name in made and not made[name].exists():
            return f"stage {stage} needs {made[name]}, which is not there; run stage {name} first"
    return None


@dataclass(frozen=True)
class _Work:
    """What a recipe is about, found before anything is written."""

    train: Samples
    """What is trained on."""
    held: Sequence[Sample]
    """What is not."""
    found: Found | None = None
    """What of the training samples was found in benchmarks, where they were compared."""

    @classmethod
    def of(cls, recipe: Recipe, tell: Tell) -> _Work:
        """Opens the data; raises the errors of data and device that a user can mend."""
        device(recipe.device)
        held = listed(recipe.data.split("heldout", recipe.seed), recipe.evaluate.limit)
        if twice := [name for name, count in Counter(sample.id for sample in held).items() if count > 1]:
            raise DataError(f"{len(twice)} ids occur twice among the held-out samples ({twice[0]!r}); make each unique")
        if not recipe.stages and recipe.model.path is not None:  # a benchmark has nothing to train on
            return cls(Listed(()), held)
        train = recipe.data.split("train", recipe.seed)
        train, found = guarded(train, recipe.leaks, tell, join().first, published.rows_of)
        if train.size is not None:
            assert_disjoint(each(train), held)
            refuse_twins(files_of(each(train)), files_of(held), "remove one of each, or give their rows one group")
        return cls(train, held, found)

    def sentences(self, recipe: Recipe) -> Iterator[str]:
        """What a person should know of the data."""
        held = f"{_counted(self.held)} held out"
        if not recipe.stages:
            yield f"data: {held}"
        elif self.train.size is None:
            yield f"data: samples drawn without end to train on, {held}"
        else:
            yield f"data: {_counted(each(self.train))} to train on, {held}"
        for name in self._splits(recipe):
            yield from recipe.data.notes(name, recipe.seed)

    def missing(self, recipe: Recipe) -> dict[str, list[str]]:
        """What was left out of each split, by id."""
        return {name: list(recipe.data.missing(name, recipe.seed)) for name in self._splits(recipe)}

    @staticmethod
    def _splits(recipe: Recipe) -> tuple[Split, ...]:
        return ("train", "heldout") if recipe.stages else ("heldout",)

    def begins(self, recipe: Recipe) -> Iterator[str]:
        """What else a person should know before the waiting begins."""
        if self.found:
            yield from self.found.lines()
        if recipe.model.path is not None:
            yield f"model: begins with {recipe.model.path}"


def _counted(samples: Iterable[Sample]) -> str:
    groups = Counter(group_of(sample) for sample in samples)
    return f"{groups.total():,} samples of {len(groups):,} groups"


def _stages(
    recipe: Recipe, work: _Work, opened: Run, command: str, tell: Tell, say: Say, only: str | None
) -> Path | None:
    """Runs all stages to their ends, or `only` one of them: then what it made is handed back."""
    out, train, held = opened.path, work.train, work.held
    encoder, model = out / "pretrain" / "encoder", out / "model"
    if recipe.pretrain is not None and only in (None, "pretrain"):
        if not join().first((out / "pretrain" / "done").exists):
            encoders.pretrained(_alone(recipe.pretrain, recipe), out / "pretrain", command, tell, say=say)
        if only is not None:
            return encoder
    join().first(lambda: _begin(recipe, train, model))
    labels = labels_of(recipe)
    if only in (None, "evaluate"):
        _evaluated(recipe, labels[0], model, held, train, out, tell)
    for name, algorithm in recipe.stages.items():
        if only in (None, name):
            model = _trained(recipe, name, algorithm, model, train, held, out, command, tell, say)
            if only is not None:
                return model
        model = out / name / "model"
        if only in (None, "evaluate"):
            _evaluated(recipe, name, model, held, train, out, tell)
    if join().rank == 0 and not (out / "results_comparison.json").exists():
        write_json(out / "results_comparison.json", compare(recipe, out))
    if not join().first((out / "rollouts" / "showcase.jsonl").exists):
        showcase(recipe, model, held, out)
    return None


def _alone(encoder: Encoder, recipe: Recipe) -> Pretraining:
    """The pretraining of an encoder by itself."""
    return encoder.alone(derive(recipe.seed, "pretrain"), recipe.device)


def labels_of(recipe: Recipe) -> list[str]:
    """The models that are evaluated, in order: the start and what each stage made of it, or the one `model`."""
    return ["start", *recipe.stages] if recipe.stages else ["model"]


def _begin(recipe: Recipe, train: Samples, model: Path) -> None:
    """Writes the listener that the run begins with."""
    if model.exists():
        return
    if recipe.model.path is not None:
        listener = recipe.model.load(recipe.model.path, recipe.wording)
    else:
        shape = form(recipe.wording.form)
        texts = [
            text
            for sample in order(train, 0, min(VOCABULARY_SAMPLES, train.size or VOCABULARY_SAMPLES), recipe.seed)
            for text in (
                sample.question,
                *(shape.render(a, sample.thought, choices=sample.choices) for a in sample.answers[:1]),
            )
        ]
        ears = {} if recipe.pretrain is None else {"encoder": str(model.parent / "pretrain" / "encoder")}
        listener = replace(recipe.model, **ears).build(
            texts, shape.tags(), recipe.wording, derive(recipe.seed, "weights")
        )
    _written(model, listener.save)


def _trained(
    recipe: Recipe,
    name: str,
    algorithm: Algorithm,
    start: Path,
    train: Samples,
    held: Sequence[Sample],
    out: Path,
    command: str,
    tell: Tell,
    say: Say,
) -> Path:
    """Runs a stage to its end in its own run folder; the trained model's folder."""
    config = {"stage": name, **to_dict(recipe)}
    who = join()
    with who.open(out / name, config, command) as opened:
        model = out / name / "model"
        if not opened.finished:
            if opened.resumed:
                say(f"going on from step {_reached(opened.path, algorithm)} of stage {name} in {out}")
            algorithm = _graded(algorithm, train, out)
            stage = loop.Stage(
                run=opened,
                algorithm=algorithm,
                options=recipe.train,
                start=start,
                load=partial(load, recipe),
                engine=partial(rolling, recipe, out / name / "replies"),
                samples=train,
                seed=derive(recipe.seed, name),
                check=partial(_check, recipe, held),
                figure=metric(recipe.evaluate.metric).figure,
                processes=who,
            )
            if isinstance(algorithm, Rest):
                heldout = _heldout(recipe, held)
                work = SelfTraining(stage=stage, algorithm=algorithm, heldout=heldout, command=command, tell=tell)
                kept = rest.train(work)
                who.first(lambda: _written(model, partial(copy_checkpoint, kept)))
            else:
                if not who.first(model.exists):
                    listener = loop.train(stage, lambda step, row: tell(name, step + 1, algorithm.steps, row))
                    who.first(lambda: _written(model, listener.save))
                checkpoints = out / name / "checkpoints"
                if flat := flat_parts(read_jsonl(opened.path / "metrics.jsonl").rows):
                    say(f"stage {name}: {', '.join(flat)} taught nothing, being equal within every group")
                if who.rank == 0 and checkpoints.exists():  # what they hold is in model/ now, but for the optimiser
                    shutil.rmtree(checkpoints)
            opened.finish()
    return model


def _written(folder: Path, write: Callable[[Path], object]) -> None:
    with atomic_folder(folder) as aside:
        write(aside)


def _reached(folder: Path, algorithm: Algorithm) -> int:
    """The steps of a stage that need not be done again; of self-training, the iterations."""
    if isinstance(algorithm, Rest):
        return len(list(folder.glob("iteration-*/done")))
    point = checkpoint.newest(folder / "checkpoints")
    return 0 if point is None else point[0]


def _graded(algorithm: Algorithm, train: Samples, out: Path) -> Algorithm:
    """The algorithm, its rewards given the document frequencies of the training samples where they ask for them."""
    if algorithm.request is None:
        return algorithm
    rewards, path = algorithm.request.rewards, out / frequencies.FILE
    join().first(lambda: frequencies.counted(rewards, train, path))
    placed = frequencies.placed(rewards, path)
    return algorithm if placed == rewards else replace(algorithm, rewards=placed)


def _heldout(recipe: Recipe, held: Sequence[Sample]) -> Heldout:
    """How an iteration of self-training is compared with the one before it: all held-out samples, paired."""

    who, measured = join(), metric(recipe.evaluate.metric)

    def ask(listener: Listener, path: Path) -> tuple[Any, ...]:
        if not who.first(path.exists):
            rows = answer(engine(recipe, listener), listener, held, recipe.evaluate, recipe.seed)
            who.first(lambda: measured.write(path, rows))
        return who.first(lambda: measured.read(path))

    def compared(before: Sequence[Any], after: Sequence[Any]) -> dict[str, Any]:
        seed = derive(recipe.seed, "bootstrap", "iteration")
        return {
            "before": measured.said(before),
            "after": measured.said(after),
            **measured.difference(before, after, seed),
        }

    return Heldout(answer=ask, compare=compared, figure=measured.figure)


def _measurable(recipe: Recipe, held: Sequence[Sample]) -> None:
    """Refuses held-out samples that cannot be measured, before anything is trained."""
    measured = metric(recipe.evaluate.metric)
    measured.check(held)
    if recipe.train.check_every:
        measured.check(listed(Listed(tuple(held)), recipe.train.check_limit))


def _pretrainable(recipe: Recipe, out: Path, stage: str | None) -> None:
    """Refuses an encoder that cannot be pretrained."""
    if recipe.pretrain is not None and stage in (None, "pretrain") and not (out / "pretrain" / "encoder").exists():
        encoders.look(_alone(recipe.pretrain, recipe))


def _there(recipe: Recipe, out: Path) -> None:
    """Refuses a model, an encoder or a language model to graft that is not there, and one that the hub would have to
    give and cannot."""
    if recipe.model.path is not None:
        check_model(recipe.model.path)
    if (out / "model").exists():
        return
    if (path := recipe.model.path) is not None:
        check_reachable(beneath(path), said_by(path))
        return
    for name, look in (("base", partial(causal_config, asked="model.base")), ("encoder", encoder_at)):
        if (named := getattr(recipe.model, name, None)) is not None:
            look(named)


def _hearable(recipe: Recipe, work: _Work, out: Path) -> None:
    """Refuses settings that a pretrained encoder would not follow, and samples that a new graft would not hear."""
    model = recipe.model
    if not isinstance(model, Shape) or model.path is not None or (out / "model").exists():
        return
    if recipe.pretrain is None and model.encoder is None:
        ears = Ears.of_random(model)
    else:
        made = None if recipe.pretrain is None else encoders.ears(_alone(recipe.pretrain, recipe))
        ears = made or Ears.of_encoder(encoder_at(str(model.encoder)))
        ears.refuse_otherwise(model)
    first = [] if work.train.size == 0 else [work.train[0]]
    for media in (media for sample in (*first, *work.held) for media in sample.media):
        ears.refuse_unheard(media)


def _check(recipe: Recipe, held: Sequence[Sample], listener: Listener) -> float:
    """The metric's mean over some held-out samples, of a listener in training."""
    asked = listed(Listed(tuple(held)), recipe.train.check_limit)
    rows = answer(engine(recipe, listener), listener, asked, recipe.evaluate, recipe.seed)
    return metric(recipe.evaluate.metric).mean(rows)


def _evaluated(
    recipe: Recipe, label: str, model: Path, held: Sequence[Sample], train: Samples, out: Path, tell: Tell
) -> None:
    """Writes the held-out results of a model; nothing when they are there."""
    who, measured = join(), metric(recipe.evaluate.metric)
    if who.first((out / f"results_{label}.json").exists):
        return
    listener = load(recipe, model)
    found = evaluate(
        engine(recipe, listener),
        listener,
        held,
        recipe.evaluate,
        seed=recipe.seed,
        unheard=label != "start",
        train=(train[index] for index in range(train.size or 0)),
        tell=lambda what, done, total: tell(f"evaluate {label}: {what}", done, total, {}),
        precision=recipe.train.precision,
    )
    if who.rank:
        return
    measured.write(out / f"samples_{label}.jsonl", found.outcomes)
    for name, rows in found.unheard.items():
        measured.write(out / f"samples_{label}_{name}.jsonl", rows)
    asked = {"form": recipe.wording.form, "prompt": prompt_of(recipe.wording.prompt)}
    results = {"label": label, "order": labels_of(recipe).index(label), **asked, **found.to_dict()}
    write_json(out / f"results_{label}.json", results)


def compare(recipe: Recipe, out: Path) -> list[dict[str, Any]]:
    """Each model against the one before it, and the last against its baselines; paired by row."""
    measured, labels = metric(recipe.evaluate.metric), labels_of(recipe)
    pairs = list(itertools.pairwise(labels))
    if labels[-1] != "start":
        ended = [(labels[-1] + before, labels[-1] + after) for before, after in measured.against]
        pairs += [pair for pair in ended if (out / f"samples_{pair[0]}.jsonl").exists()]
    rows: list[dict[str, Any]] = []
    for before, after in pairs:
        first, second = (measured.read(out / f"samples_{label}.jsonl") for label in (before, after))
        seed = derive(recipe.seed, "bootstrap", before, after)
        rows.append({"before": before, "after": after, **measured.difference(first, second, seed)})
    return rows


def showcase(recipe: Recipe, model: Path, held: Sequence[Sample], out: Path) -> None:
    """Sampled and scored rollouts of held-out samples, their audio beside them: what the page plays."""
    requests = [stage.request for stage in recipe.stages.values() if stage.request]
    sampling = requests[-1].sampling if requests else Sampling(max_tokens=recipe.evaluate.max_tokens)
    measured = metric(recipe.evaluate.metric)
    rewards = requests[-1].rewards if requests else measured.rewards
    rubric = Rubric.from_config(frequencies.placed(rewards, out / frequencies.FILE))
    listener = load(recipe, model)
    prompts = [listener.prompt(sample) for sample in listed(Listed(tuple(held)), recipe.evaluate.showcase)]
    rolled = engine(recipe, listener).roll(prompts, 1, sampling, derive(recipe.seed, "showcase"))
    if join().rank:
        return
    shown: list[Shown] = []
    for prompt, (rollout,) in zip(prompts, rolled, strict=True):
        (score,) = rubric.score(prompt.sample, [rollout])
        references = prompt.sample.answers if measured.references else ()
        said = (prompt.text, rollout.text, rollout.parsed)
        shown.append(Shown(prompt.sample, *said, score.parts, score.total, references))
    write_showcase(out, shown, recipe.wording.display)


def export(recipe: Recipe, model: str, out: Path, *, overwrite: bool = False) -> None:
    """Writes the listener in `model` to `out` as a plain checkpoint, its adapter merged into its weights."""
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} is there already; name another folder with --out, or add --overwrite")
    if out.exists() and not any(out.glob("*config.json")):
        raise ConfigError(f"{out} holds no checkpoint that could be overwritten; name another folder with --out")
    check_model(model)
    _written(out, merge(load(recipe, model)).save)


def only(recipe: Recipe, stage: str | None) -> Recipe:
    """The recipe with one stage only (None: with none, to evaluate)."""
    if stage is not None and stage not in recipe.stages:
        raise ConfigError(f"recipe {recipe.name} has no stage {stage}; it has {', '.join(recipe.stages) or 'none'}")
    if recipe.model.path is None and stage != "sft":
        raise ConfigError("name the model to begin with: --model DIR, for example runs/quickstart/sft/model")
    if stage != "sft" or recipe.model.path is not None or getattr(recipe.model, "encoder", None) is not None:
        recipe = replace(recipe, pretrain=None)  # there are ears already
    return replace(recipe, **{name: algorithm if name == stage else None for name, algorithm in recipe.stages.items()})


def folder(name: str) -> Path:
    """Where a run called `name` goes when nobody says: below AUSCULT_RUNS, or below runs/ in the present folder."""
    return Path(os.environ.get("AUSCULT_RUNS", "runs")) / name


def shown(recipe: Recipe, samples: Sequence[Sample], count: int) -> list[str]:
    """The first `count` samples as the recipe's model reads them: every token, whether it is trained on, and the
    media."""
    with TemporaryDirectory() as aside:
        model = Path(aside) / "model"
        if recipe.model.path is None:
            _begin(replace(recipe, pretrain=None), Listed(tuple(samples)), model)
        listener = load(recipe, recipe.model.path or model)
        lines: list[str] = []
        for sample in samples[:count]:
            prompt = listener.prompt(sample)
            reply = loop.demonstrate(listener, prompt).rollouts[0].reply_ids if sample.answers else ()
            names = listener.tokenizer.convert_ids_to_tokens([*prompt.ids, *reply])
            media = ", ".join(
                f"{part.tokens} placeholders for {part.kind} of "
                + " and ".join(f"{name} {'x'.join(map(str, value.shape))}" for name, value in part.inputs.items())
                for part in prompt.features
            )
            lines += [f"\n{sample.id}: {len(prompt.ids)} prompt tokens, {len(reply)} trained on; {media or 'no media'}"]
            lines += [prompt.text + listener.text(reply)]
            for name, run in itertools.groupby(zip(names, [0] * len(prompt.ids) + [1] * len(reply), strict=True)):
                repeated = len(list(run))
                lines.append(
                    f"  {'train' if name[1] else '  -  '}  {name[0]}{f'  x {repeated}' if repeated > 1 else ''}"
                )
    return lines
