"""All stages of recipe medgemma-audio, small: written scenes, a pretrained encoder, captions, rewards; whole, one by
one, and stopped anywhere."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import T5Config

from auscult import pipeline
from auscult.cli import main
from auscult.commands.recipes import open_recipe, presets, recipe_names
from auscult.core.config import parse_overrides, to_dict
from auscult.core.errors import ConfigError
from auscult.core.yaml12 import read_yaml
from auscult.evaluate.evaluation import listed
from auscult.models.hub import gemma3
from auscult.models.wording import Wording
from auscult.recipe import Recipe

STEPS = """
    --pretrain.epochs 2 --pretrain.log_every 1 --pretrain.save_seconds 0 --pretrain.shape.width 16
    --pretrain.shape.layers 1 --pretrain.shape.heads 2 --pretrain.shape.decoder_width 8
    --pretrain.shape.decoder_heads 2 --train.save_every 1 --train.empty_steps 99 --sft.steps 2 --sft.prompts 3
    --grpo.steps 2 --grpo.prompts 2 --grpo.group 2 --grpo.max_tokens 6 --evaluate.max_tokens 6 --evaluate.showcase 2
"""
TINY = """
    --preset tiny --prepare.train 12 --prepare.val 2 --prepare.test 8
    --model.width 32 --model.layers 2 --model.heads 2
"""
FIGURES = ("seconds", "started", "command")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stages")


def words(folder: Path, more: str = TINY) -> list[str]:
    """The recipe on the command line, its data in `folder`."""
    scenes = folder / "scenes"
    frames = f"{scenes}/frames/bal_train"
    return [
        *("medgemma-audio", *more.split(), *STEPS.split(), "--data.root", f"{scenes}/captions/train.csv"),
        *("--data.heldout", f"{scenes}/captions/test.csv", "--data.frames", f"[{frames}, {scenes}/frames/eval]"),
        *("--pretrain.data", f"[{frames}]", *(("--prepare.folder", str(scenes)) if more == TINY else ())),
    ]


def recipe(folder: Path) -> Recipe:
    name, _, preset, *settings = words(folder)
    return open_recipe(name, parse_overrides(settings), [preset])


def run(folder: Path, out: str, stage: str | None = None, tell=lambda *_: None) -> dict:
    return pipeline.run(recipe(folder), folder / out, "a test", tell, stage=stage)


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    found = run(folder, "whole")
    assert list(found["results"]) == ["start", "sft", "grpo"]
    return folder / "whole"


def numbers(out: Path) -> dict[str, object]:
    """Whatever a run computed."""
    found: dict[str, object] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = str(path.relative_to(out))
        if path.suffix == ".safetensors" and "checkpoints" not in name:
            found[name] = path.read_bytes()
        if path.suffix in (".json", ".jsonl") and path.name != "environment.json":
            text = path.read_text().replace(str(out), "RUN")
            rows = [json.loads(line) for line in (text.splitlines() if path.suffix == ".jsonl" else [text])]
            found[name] = [
                {k: v for k, v in row.items() if k not in FIGURES} if type(row) is dict else row for row in rows
            ]
    return found


def test_the_whole_run_has_every_stage_and_a_page(whole: Path):
    for name in ("pretrain/done", "sft/done", "grpo/done", "done", "report.html"):
        assert (whole / name).exists()
    trained, grafted = (
        load_file(whole / "pretrain/encoder/model.safetensors"),
        load_file(whole / "model/model.safetensors"),
    )
    ears = {name: value for name, value in trained.items() if name.startswith("encoder.")}
    assert ears
    assert all((grafted[name] == value).all() for name, value in ears.items())


class Killed(BaseException):
    """As a signal ends a process: nothing is tidied up that does not tidy itself up."""


def killed(count: int):
    """A `tell` that ends the run when it was told something `count` times."""

    def tell(*_) -> None:
        nonlocal count
        count -= 1
        if not count:
            raise Killed

    return tell


def test_stage_by_stage_and_stopped_in_each_it_is_the_same_run(whole: Path, folder: Path):
    made: dict[str, dict] = {}
    for stage, after in {"pretrain": 1, "sft": 1, "grpo": 1, "evaluate": 4}.items():
        with pytest.raises(Killed):
            run(folder, "parts", stage, killed(after))
        made[stage] = run(folder, "parts", stage)
    assert made["pretrain"] == {"stage": "pretrain", "made": str(folder / "parts/pretrain/encoder")}
    assert made["grpo"]["made"] == str(folder / "parts/grpo/model")
    assert list(made["evaluate"]["results"]) == ["start", "sft", "grpo"]
    assert numbers(folder / "parts") == numbers(whole)


def test_the_recipe_itself_runs_on_a_base_of_its_kind(whole: Path, folder: Path, capsys):
    gemma3.tiny(["a low tone sounds, then a click"], (), Wording()).save(folder / "base")
    command = words(folder, f"--preset full --prepare null --model.base {folder / 'base'}")
    assert main(["run", *command, "--out", str(folder / "full"), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["results"]) == ["start", "sft", "grpo"]
    ears = load_file(folder / "full/grpo/model/model.safetensors")
    assert {name.partition(".")[0] for name in ears} == {"encoder", "projector"}, "a base is not written again"
    for name, value in load_file(folder / "full/pretrain/encoder/model.safetensors").items():
        assert not name.startswith("encoder.") or (ears[name] == value).all(), "what is frozen learnt"
    adapter, before = (load_file(folder / f"full/{at}/model/adapter_model.safetensors") for at in ("grpo", "sft"))
    assert {name.split(".")[-3] for name in adapter} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    assert adapter.keys() == before.keys()
    name, _, preset, *settings = command
    whole_recipe = open_recipe(name, parse_overrides(settings), [preset])
    shown = pipeline.shown(whole_recipe, listed(whole_recipe.data.split("heldout", 0), 1), 1)
    assert "placeholders for audio of rows 10x128" in shown[0], "without its encoder it hears frames all the same"


def test_a_stage_needs_those_before_it(whole: Path, folder: Path):
    for stage in ("sft", "grpo", "evaluate"):
        said = rf"stage {stage} needs .*encoder, which is not there; run stage pretrain first"
        with pytest.raises(ConfigError, match=said):
            run(folder, "early", stage)
    assert not (folder / "early").exists()
    with pytest.raises(
        ConfigError, match=r"no stage 'sfd', did you mean 'sft'\?; it has prepare, pretrain, sft, grpo, eval"
    ):
        run(folder, "early", "sfd")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--pretrain.data [{nowhere}]", "nowhere is no folder"),
        ("--pretrain.window 9 --pretrain.shape.patch_rows 2", "set a multiple of patch_rows, 2"),
        ("--model.base {nowhere}", "nowhere is not there"),
        ("--pretrain null --model.encoder {nowhere}", "nowhere is no pretrained encoder"),
        ("--model.base {whole}/pretrain/encoder", "'auscult_mae', which has no causal language model; say"),
        ("--model.base {t5}", "'t5', which has no causal language model; say where one is with --model.base"),
        ("--model.features 64", "model.features is 64, but the pretrained encoder has 128; leave it out"),
        ("--model.source mel", "model.source is mel, but the pretrained encoder has frames"),
        ("--pretrain null --model.source mel", "this model hears mel of 128 values, the sample has frames of 128"),
        ("--pretrain null --model.features 64", "this model hears frames of 64 values, the sample has frames of 128"),
    ],
)
def test_what_cannot_be_pretrained_or_grafted_leaves_no_folder(whole: Path, folder: Path, capsys, more, said):
    """Which would refuse the corrected command."""
    T5Config().save_pretrained(folder / "t5")
    places = {"nowhere": folder / "nowhere", "whole": whole, "t5": folder / "t5"}
    name, *settings = [*words(folder), *more.format(**places).split()]
    given = dict(zip(settings[::2], settings[1::2], strict=True))
    given = {key: value for key, value in given.items() if "--pretrain" not in given or "--pretrain." not in key}
    assert main(["run", name, *itertools.chain.from_iterable(given.items()), "--out", str(folder / "wrong")]) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "wrong").exists()


def test_an_encoder_is_pretrained_for_something(whole: Path, folder: Path):
    made = recipe(folder)
    for name, said in (("encoder", "model.encoder brings one"), ("path", "model.path brings one")):
        given = replace(made, model=replace(made.model, **{name: "somewhere"}))
        with pytest.raises(ConfigError, match=said):
            pipeline.run(given, folder / "odd", "a test", lambda *_: None)
    assert not (folder / "odd").exists()


def test_its_configuration_knows_no_presets_and_is_whole(whole: Path, folder: Path):
    written = read_yaml(whole / "config.yaml")
    assert "presets" not in written
    assert written == to_dict(recipe(folder)) == to_dict(open_recipe(str(whole), {}))


def test_the_command_does_a_stage_and_a_run(whole: Path, folder: Path, capsys):
    arguments = ["run", *words(folder), "--out", str(folder / "whole"), "--json"]
    assert main([*arguments, "--stage", "prepare"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["made"].startswith("scenes: 12 clips to train on")
    assert main(arguments) == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(figures["results"]) == ["start", "sft", "grpo"]
    assert main([*arguments, "--stage", "sft", "--overwrite"]) == 2
    assert "--overwrite deletes all stages" in capsys.readouterr().err
    assert (whole / "done").exists()
    assert main([*arguments, "--preset", "tinny"]) == 2
    assert "did you mean 'tiny'?" in capsys.readouterr().err
    assert main(["run", "medgemma-audio", "--help"]) == 0
    assert "presets of medgemma-audio: full, tiny, recordings" in capsys.readouterr().out


def test_who_opens_data_that_a_recipe_has_not_made_yet_is_told_how(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "medgemma-audio"]) == 2
    assert "which recipe medgemma-audio makes: auscult run medgemma-audio --stage prepare" in capsys.readouterr().err


@pytest.mark.parametrize("name", recipe_names())
def test_every_preset_of_every_recipe_is_one(name: str):
    for preset in presets(name):
        assert open_recipe(name, {}, [preset]).name == name
