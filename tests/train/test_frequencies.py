"""Several references of a clip: as document frequencies of a reward, and as targets of one prompt."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from auscult.core.errors import ConfigError
from auscult.core.runs import Run
from auscult.core.seeds import rng
from auscult.core.types import Audio, Parsed, Rollout, Sample, Turn
from auscult.data.source import Listed
from auscult.models.families import graft
from auscult.models.wording import Wording
from auscult.rewards.captioning.frequencies import Frequencies
from auscult.rewards.captioning.tokens import tokenize
from auscult.rewards.rubric import Rubric
from auscult.rollouts.local import LocalEngine
from auscult.train import frequencies, loop
from auscult.train.algorithms import sft
from auscult.train.options import Train

CIDER = {"cider": {"weight": 1.0, "kwargs": {"df": "train"}}, "form": 0.1}
ANSWERS = (("a dog barks", "a dog barking", "one bark"), ("rain falls", "it rains", "a dog in rain"), ("a bell",) * 3)


def noise(number, answers):
    wave = rng(number, "noise").standard_normal(4000).astype(np.float32) * 0.1
    return Sample(f"clip-{number}", (Turn("user", (Audio.of(wave, 16_000), "Describe it.")),), answers)


@pytest.fixture
def clips():
    return Listed(tuple(noise(number, answers) for number, answers in enumerate(ANSWERS)))


def test_a_reward_that_asks_for_it_has_the_frequencies_of_the_training_samples(clips, tmp_path):
    path = tmp_path / "run" / frequencies.FILE
    frequencies.check(CIDER, clips)
    frequencies.counted(CIDER, clips, path)
    rubric = Rubric.from_config(frequencies.placed(CIDER, path))
    rollout = Rollout((), (), None, "a dog barks", "end", "", Parsed("a dog barks", well_formed=True))
    (score,) = rubric.score(clips[0], [rollout])
    (other,) = rubric.score(clips[1], [rollout])
    assert score.parts["cider"] > other.parts["cider"] > 0  # both know of dogs
    expected = Frequencies.of([[tokenize(text) for text in answers] for answers in ANSWERS])
    said = json.loads(path.read_text())
    assert said["documents"] == 3
    assert said["counts"] == {" ".join(ngram): count for ngram, count in expected.counts.items()}


def test_frequencies_are_counted_once(clips, tmp_path):
    path = tmp_path / frequencies.FILE
    frequencies.counted(CIDER, clips, path)
    before = path.stat()
    frequencies.counted(CIDER, Listed(clips.samples[:2]), path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    frequencies.counted({"form": 1.0}, clips, tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()


@pytest.mark.parametrize(
    ("entry", "size", "said"),
    [
        (1.0, 3, "needs document frequencies; give it kwargs: {df: train}"),
        ({"weight": 1.0}, 3, "needs document frequencies"),
        ({"weight": 1.0, "kwargs": {"df": "missing.json"}}, 3, "missing.json: no document frequencies there"),
        ({"weight": 1.0, "kwargs": {"df": "train"}}, 1, "which have 1 samples"),
        ({"weight": 1.0, "kwargs": {"df": "train"}}, None, "which have no end"),
    ],
)
def test_a_reward_without_frequencies_is_refused_with_what_to_do(clips, entry, size, said):
    class Sized:
        def __getitem__(self, index):
            return clips[index]

    samples = Sized()
    samples.size = size
    with pytest.raises(ConfigError) as raised:
        frequencies.check({"form": 0.1, "cider": entry}, samples)
    assert said in str(raised.value)
    assert "auscult captions df" in str(raised.value)


def test_a_training_sample_without_a_reference_is_refused(clips, tmp_path):
    with pytest.raises(ConfigError, match="sample 1 "):
        frequencies.counted(CIDER, Listed((clips[0], Sample("x", (Turn("user", ("?",)),), ()))), tmp_path / "df.json")


# -- several targets of one prompt ------------------------------------------------------------------------------------


def trained(folder, start, samples, references):
    def load(path):
        return graft.Model().load(path, Wording(instruction=False, choices=False))

    algorithm = sft.Algorithm(steps=2, prompts=2, references=references)
    options = Train(learning_rate=1e-3, warmup=1, precision="float32")
    with Run.open(folder, {}, "test") as run:
        stage = loop.Stage(
            run=run,
            algorithm=algorithm,
            options=options,
            start=start,
            load=load,
            engine=lambda listener: LocalEngine(listener, batch=4),
            samples=samples,
            seed=3,
        )
        listener = loop.train(stage, lambda *_: None)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return dict(listener.model.state_dict()), rows


@pytest.fixture(scope="module")
def stages(checkpoint, tmp_path_factory):
    """The same stage with different answers: `first` and `all` of three; `cut` to the first; `second` and `third`."""
    folder = tmp_path_factory.mktemp("references")
    whole = tuple(noise(n, answers) for n, answers in enumerate(ANSWERS))

    def begun(references, answers=slice(None)):
        samples = Listed(tuple(replace(sample, answers=sample.answers[answers]) for sample in whole))
        return trained(folder / f"{references}-{answers.start}-{answers.stop}", checkpoint, samples, references)

    turned = {"second": begun("first", slice(1, None)), "third": begun("first", slice(2, None))}
    return {"first": begun("first"), "all": begun("all"), "cut": begun("all", slice(0, 1)), **turned}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_by_default_only_the_first_reference_is_imitated(stages):
    weights, rows = stages["first"]
    cut, told = stages["cut"]
    assert same(weights, cut)
    assert [row["loss"] for row in rows] == [row["loss"] for row in told]


def test_all_references_are_imitated_after_one_pass_over_their_clip(stages):
    assert not same(stages["first"][0], stages["all"][0])
    for row, first in zip(stages["all"][1], stages["first"][1], strict=True):
        assert row["reply_tokens"] > 2 * first["reply_tokens"]
        assert row["media/encoder_clips"] == first["media/encoder_clips"] <= 2  # not once for each reference


def test_the_loss_of_all_references_is_the_mean_over_their_tokens(stages):
    """The first step, before anything is learnt: each reference alone, weighed by its tokens, gives the same."""
    alone = [stages[name][1][0] for name in ("first", "second", "third")]
    tokens = [row["reply_tokens"] for row in alone]
    found = stages["all"][1][0]
    assert found["reply_tokens"] == sum(tokens)
    assert found["loss"] == pytest.approx(np.average([row["loss"] for row in alone], weights=tokens), rel=1e-5)
