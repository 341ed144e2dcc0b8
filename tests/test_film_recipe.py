"""Recipe medgemma-cxr, small: every preset from its first stage to its last, and what its results say of the reward, of
the report and of what can be had without the film."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auscult.cli import main
from auscult.commands.recipes import open_recipe
from auscult.core.runs import read_jsonl
from auscult.core.yaml12 import read_yaml
from auscult.data.sources import films
from auscult.models.families import gemma3
from auscult.models.wording import Wording

NEW = "--model.width 32 --model.patch 4"
SMALL = """
    --train.empty_steps 99 --sft.steps 2 --sft.prompts 4 --grpo.steps 2 --grpo.prompts 2 --grpo.group 2
    --grpo.max_tokens 6 --evaluate.max_tokens 6 --evaluate.showcase 2
"""
PARTS = ("choice", "token_f1", "evidence", "form", "brevity")


def ran(out: Path, *words: str) -> dict[str, dict]:
    """Runs the recipe; its results by stage."""
    assert main(["run", "medgemma-cxr", "--out", str(out), *words]) == 0
    return {path.stem.removeprefix("results_"): json.loads(path.read_text()) for path in out.glob("results_*.json")}


def rewarded(out: Path) -> set[str]:
    """The parts of the reward that were logged with a value."""
    row = read_jsonl(out / "grpo" / "metrics.jsonl").rows[0]
    assert row["reward/ungraded"] == 0
    return {name for name in PARTS if f"reward/{name}/mean" in row}


def test_synthetic_films_are_learnt_from_rewarded_and_asked_without_their_films(tmp_path: Path) -> None:
    found = ran(tmp_path / "run", "--preset", "films", "--data.heldout", "8", *NEW.split(), *SMALL.split())
    assert set(found) == {"start", "sft", "grpo", "comparison"}
    assert set(found["grpo"]["baselines"]) == {"chance", "majority", "shuffled", "text_only"}
    assert set(found["grpo"]["by"]["task"]) == set(films.QUESTIONS)
    pairs = {(row["before"], row["after"]) for row in found["comparison"]}
    assert {("grpo_text_only", "grpo"), ("grpo_shuffled", "grpo")} <= pairs
    assert rewarded(tmp_path / "run") == set(PARTS)
    first = read_jsonl(tmp_path / "run" / "sft" / "metrics.jsonl").rows[0]
    assert first["media/clips"] == first["media/encoder_clips"] == 4, "each film was looked at"


def test_real_films_are_split_by_patient_and_image_and_show_no_report(testdata: Path, tmp_path: Path) -> None:
    words = ["--preset", "tiny", "--data.root", str(testdata), "--evaluate.limit", "12"]
    found = ran(tmp_path / "run", *words, *NEW.split(), *SMALL.split())["grpo"]
    assert found["n"] == 12
    assert found["clusters"] < 12
    assert found["report_shown"] == {"none": 12}
    assert {"text_only", "shuffled", "majority"} <= set(found["baselines"])
    assert set(found["by"]["task"]) == {"view", "closed"}
    assert rewarded(tmp_path / "run") == {"choice", "token_f1", "form", "brevity"}, (
        "there is no report to find words of"
    )
    config = read_yaml(tmp_path / "run" / "config.yaml")
    assert config["data"]["source"] == "radiographs"
    assert config["model"]["image"] == "train"


@pytest.mark.filterwarnings("ignore")  # bitsandbytes tells of kernels that it did not find
def test_the_recipe_itself_adapts_four_bits_on_rows_as_rexvqa_has_them(tmp_path: Path) -> None:
    """Preset full on a random model and films in files: only the size differs."""
    for name, count in (("train", 12), ("heldout", 6)):
        made = films.Source(side=32, heldout=6).split(name, 0)  # type: ignore[arg-type]
        films.write(tmp_path / name, made, range(count))
    tags = ["<start_working_out>", "<end_working_out>", "<SOLUTION>", "</SOLUTION>"]
    base = gemma3.Model(width=64, patch=4).build(["Is there an opacity? yes no"], tags, Wording(form="solution"), 0)
    (tmp_path / "base").mkdir()
    base.save(tmp_path / "base")
    words = ["--preset", "full", "--data.root", f"{tmp_path}/train/films.json", "--model", f"{tmp_path}/base"]
    words += ["--data.heldout", f"{tmp_path}/heldout/films.json", "--grpo.prompts", "2", "--grpo.steps", "1"]
    words += ["--grpo.max_tokens", "6", "--evaluate.max_tokens", "6", "--train.empty_steps", "99"]
    words += [
        "--sft",
        "{algorithm: sft, steps: 1, prompts: 2, learning_rate: 0.0002}",
    ]  # the warm start that may be had
    found = ran(tmp_path / "run", *words)["grpo"]
    assert found["report_shown"] == {"none": 6}, "the policy would show an indication, but no row has one"
    assert rewarded(tmp_path / "run") == set(PARTS)
    assert (tmp_path / "run" / "grpo" / "model" / "adapter_model.safetensors").is_file()


def test_its_settings_are_those_of_the_original() -> None:
    recipe = open_recipe("medgemma-cxr", {}, ["full"])
    assert (recipe.model.path, recipe.model.weights, recipe.model.language) == (
        "google/medgemma-4b-it",
        "nf4",
        "adapt",
    )
    assert (recipe.model.lora.rank, recipe.model.lora.alpha, recipe.model.lora.dropout) == (16, 32, 0.05)
    assert (recipe.train.prompt_batch, recipe.sft) == (1, None)
    grpo = recipe.grpo
    assert grpo is not None
    assert (grpo.prompts, grpo.group, grpo.max_tokens, grpo.learning_rate, grpo.kl) == (8, 4, 128, 5e-6, 0)  # type: ignore[attr-defined]
    assert open_recipe("medgemma-cxr", {}).grpo == grpo
