"""A recipe that describes sounds: trained on all references, rewarded by CIDEr-D, evaluated by it, and told so."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile

from auscult.cli import main
from auscult.core.runs import read_jsonl
from auscult.core.seeds import rng
from auscult.data.frames import About, writing
from auscult.models.mae import MaeConfig, MaskedAutoencoder
from auscult.rewards.audit import HONEST

SOUNDS = {
    "tone": ("a low tone", "one steady tone", "a tone hums"),
    "noise": ("loud noise", "noise hisses loudly", "a hiss of noise"),
    "click": ("a click", "one short click", "something clicks"),
    "beats": ("a tone beats", "two tones beat", "a beating tone"),
}
RECIPE = """
name: describe
data: {{source: captions, root: {folder}/train.csv, heldout: {folder}/test.csv}}
model: {{family: graft, width: 32, layers: 2, heads: 2, encoder_width: 32, encoder_layers: 1, vocabulary: 300}}
wording: {{form: label, instruction: false, choices: false}}
train: {{check_every: 15, keep: best, warmup: 1}}
sft: {{algorithm: sft, steps: 30, prompts: 4, learning_rate: 0.015, references: all}}
grpo:
  algorithm: grpo
  steps: 2
  prompts: 2
  group: 3
  max_tokens: 6
  rewards: {{cider: {{weight: 1.0, kwargs: {{df: train}}}}, brevity: 0.1}}
evaluate: {{metric: captions, max_tokens: 8, showcase: 3}}
"""


def wave(kind: str, number: int):
    time, draw = np.arange(4000) / 16_000, rng(number, kind)
    low = np.sin(2 * np.pi * (200 + 10 * number) * time)
    made = {
        "tone": low,
        "noise": draw.standard_normal(4000) / 3,
        "click": low * (np.abs(time - 0.1) < 0.01),
        "beats": (low + np.sin(2 * np.pi * 215 * time)) / 2,
    }[kind]
    return (0.5 * made).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioned")
    for split, numbers in (("train", range(2)), ("test", range(2, 4))):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "caption_1", "caption_2", "caption_3"])
            for kind, captions in SOUNDS.items():
                for number in numbers:
                    name = f"{kind}-{number}.wav"
                    soundfile.write(folder / name, wave(kind, number), 16_000)
                    table.writerow([name, *captions])
    (folder / "mine.yaml").write_text(RECIPE.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    out = folder / "run"
    assert main(["run", str(folder / "mine.yaml"), "--out", str(out)]) == 0
    return out


def results(out, label):
    return json.loads((out / f"results_{label}.json").read_text())


def test_every_model_is_measured_by_its_captions_of_all_clips(finished, capsys):
    for label in ("start", "sft", "grpo"):
        found = results(finished, label)
        assert found["n"] == 8
        assert "accuracy" not in found
        rows = finished / f"samples_{label}.jsonl"
        assert main(["score", "captions", str(rows), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert {name: said[name] for name in ("cider_d", "rouge_l", "bleu_4", "empty")} == {
            name: found[name] for name in ("cider_d", "rouge_l", "bleu_4", "empty")
        }
        assert {tuple(row["target"]) for row in read_jsonl(rows).rows} == set(SOUNDS.values())
        constant = found["baselines"]["constant"]
        assert constant["caption"] in {text for captions in SOUNDS.values() for text in captions}
        assert (constant["candidates"], constant["empty"]) == (12, 0)
    assert set(results(finished, "grpo")["baselines"]) == {"shuffled", "silence", "constant"}


def test_stages_and_baselines_are_compared_by_their_mean(finished):
    pairs = {
        (row["before"], row["after"]): row for row in json.loads((finished / "results_comparison.json").read_text())
    }
    last = [("grpo_shuffled", "grpo"), ("grpo_silence", "grpo"), ("grpo_constant", "grpo")]
    assert list(pairs) == [("start", "sft"), ("sft", "grpo"), *last, ("grpo_constant", "grpo_shuffled")]
    assert results(finished, "sft")["cider_d"] > 0.3  # it learnt to say something, some of it of the right clip
    gained = results(finished, "grpo")["cider_d"] - results(finished, "sft")["cider_d"]
    assert pairs["sft", "grpo"]["difference"] == pytest.approx(gained)
    assert {row["n"] for row in pairs.values()} == {8}


def test_checks_watch_the_mean_and_the_best_is_kept(finished):
    for stage, count in (("sft", 2), ("grpo", 1)):
        rows = read_jsonl(finished / stage / "metrics.jsonl").rows
        checks = [row["heldout/cider_d"] for row in rows if "heldout/cider_d" in row]
        assert len(checks) == count
        assert max(checks) == pytest.approx(results(finished, stage)["cider_d"])


def test_the_reward_has_the_frequencies_of_the_training_samples(finished):
    counted = json.loads((finished / "captions_df.json").read_text())
    assert counted["documents"] == 8
    assert counted["counts"]["tone"] == 4  # two clips each of two kinds
    rows = read_jsonl(finished / "grpo" / "metrics.jsonl").rows
    assert all(row["reward/cider/ungraded"] == 0 for row in rows)
    assert "df: train" in (finished / "config.yaml").read_text()  # runs again as it is


def test_the_page_and_the_terminal_tell_captions(finished, capsys):
    page = (finished / "report.html").read_text()
    shown = read_jsonl(finished / "rollouts" / "showcase.jsonl").rows
    assert all(tuple(row["references"]) in SOUNDS.values() for row in shown)
    for text in ("CIDEr-D on 8 held-out clips", "Best constant caption", "Held-out CIDEr-D", "a hiss of noise"):
        assert text.lower() in page.lower(), text
    assert page.count("<audio") == 3
    assert "Accuracy" not in page
    assert main(["run", str(finished), "--out", str(finished)]) == 0
    out = capsys.readouterr().out
    assert "CIDEr-D on 8 held-out clips" in out
    assert "ccuracy" not in out
    assert main(["run", str(finished), "--out", str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"]["grpo"]["cider_d"] == results(finished, "grpo")["cider_d"]


def test_captions_of_two_runs_are_compared_by_their_scores(finished, capsys):
    sft, grpo = (str(finished / f"samples_{label}.jsonl") for label in ("sft", "grpo"))
    assert main(["compare", sft, str(finished), "--json"]) == 0  # of a folder, the last model's
    found = json.loads(capsys.readouterr().out)
    pairs = json.loads((finished / "results_comparison.json").read_text())
    told = next(row for row in pairs if (row["before"], row["after"]) == ("sft", "grpo"))
    (pair,) = found["comparisons"]
    assert {key: pair[key] for key in ("n", "clusters", "difference", "better", "alike", "worse")} == {
        key: told[key] for key in ("n", "clusters", "difference", "better", "alike", "worse")
    }
    assert [run["cider_d"] for run in found["runs"]] == [results(finished, name)["cider_d"] for name in ("sft", "grpo")]
    assert main(["compare", grpo, sft]) == 0
    assert "B minus A: " in capsys.readouterr().out
    assert main(["compare", grpo, sft, "--rows", "only_a"]) == 2
    assert "leave out --rows" in capsys.readouterr().err


def test_errors_says_that_captions_are_neither_right_nor_wrong(finished, capsys):
    assert main(["errors", str(finished)]) == 2
    assert "samples_grpo.jsonl:1: a caption, which is neither right nor wrong" in capsys.readouterr().err


def test_the_audit_counts_frequencies_of_the_training_samples_too(folder, capsys):
    main(["rewards", "audit", str(folder / "mine.yaml"), "--json"])
    stage = json.loads(capsys.readouterr().out)["stages"]["grpo"]
    (cider,) = [part for part in stage["parts"] if part["name"] == "cider"]
    earned = {one["name"]: one["mean"] for one in cider["earned"]}
    assert max(earned.values()) == earned[HONEST] > 1


def test_clips_that_are_left_out_are_named_in_the_run_and_on_its_page(folder, tmp_path, capsys):
    for split in ("train", "test"):
        lines = (folder / f"{split}.csv").read_text()
        (tmp_path / f"{split}.csv").write_text(lines + "".join(f"gone-{split}-{n}.wav,a,b,c\n" for n in range(7)))
    rows = ["--data.root", tmp_path / "train.csv", "--data.heldout", tmp_path / "test.csv", "--data.audio", folder]
    short = ["--data.max_missing", 0.5, "--sft.steps", 1, "--train.check_every", 1, "--grpo", "null"]
    words = ["run", folder / "mine.yaml", "--out", tmp_path / "run", *rows, *short]
    assert main(list(map(str, words))) == 0
    told = json.loads((tmp_path / "run" / "data.json").read_text())
    assert told["missing"] == {name: [f"gone-{file}-{n}.wav" for n in range(7)] for name, file in
                               (("train", "train"), ("heldout", "test"))}  # fmt: skip
    printed, page = capsys.readouterr().err, (tmp_path / "run" / "report.html").read_text()
    assert "data: 8 samples of 8 groups to train on, 8 samples of 8 groups held out" in told["said"]
    first = ", ".join(f"gone-test-{n}.wav" for n in range(5))
    assert f"heldout: 7 of 15 clips are left out: {first} and 2 more" in told["said"]
    assert all(sentence in printed and sentence in page for sentence in told["said"])


def test_a_killed_run_keeps_its_frequencies(finished, tmp_path):
    """What a stage was begun with is what it goes on with."""
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    for gone in ("grpo/done", "done", "grpo/model", "results_grpo.json", "results_comparison.json"):
        shutil.rmtree(out / gone) if (out / gone).is_dir() else (out / gone).unlink()
    before = (out / "captions_df.json").stat().st_mtime_ns
    assert main(["run", str(finished.parent / "mine.yaml"), "--out", str(out)]) == 0
    assert (out / "captions_df.json").stat().st_mtime_ns == before
    assert results(out, "grpo") == results(finished, "grpo")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--grpo.rewards", "{{cider: 1.0}}"], "give it kwargs: {df: train}"),
        (
            ["--grpo.rewards", "{{cider: {{weight: 1.0, kwargs: {{df: nowhere.json}}}}}}"],
            "nowhere.json: no document freq",
        ),
        (["--evaluate.limit", "1"], "hold out two or more"),
        (["--train.check_limit", "1"], "hold out two or more"),
        (["--evaluate.metric", "caption"], "must be choice | captions"),
        (["--model.encoder", "{frames}"], "hears feature frames of 16 values, and the sample has a recording; give"),
        (
            ["--model.encoder", "{frames}"],
            "pretrain an encoder on recordings (auscult pretrain) and name it with --mod",
        ),
        (["--model.encoder", "{frames}", "--model.features", "80"], "model.features is 80, but the pretrained encoder"),
        (["--pretrain.data", "[{set}]"], "hears feature frames of 32 values, and the sample has a recording; give"),
    ],
)
def test_what_cannot_be_is_refused_before_training(folder, tmp_path, capsys, change, said):
    shape = {"width": 32, "layers": 1, "heads": 2, "decoder_width": 32, "decoder_layers": 1, "decoder_heads": 2}
    config = MaeConfig(source="frames", features=16, patch_rows=1, patch_features=16, rate=1.0, **shape)
    MaskedAutoencoder(config).save_pretrained(tmp_path / "frames")
    with writing(tmp_path / "set", About(32, 1.0, "float32")) as writer:
        writer.add("clip", np.zeros((10, 32), np.float32))
    change = [word.format(frames=tmp_path / "frames", set=tmp_path / "set") for word in change]
    if "--pretrain.data" in change:
        change += [f"--pretrain.shape.{name}={shape[name]}" for name in ("width", "layers")]
        change += ["--pretrain.shape.patch_features=32"]
    assert main(["run", str(folder / "mine.yaml"), "--out", str(tmp_path / "run"), *change]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
