"""What a recipe needs on a GPU: parameters counted as transformers has them, activations as autograd keeps them."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from auscult.cli import main
from auscult.commands.recipes import open_recipe
from auscult.core.errors import ConfigError
from auscult.core.types import Image, Parsed, Rollout, Sample, Turn
from auscult.footprint import GB, KNOWN, Asked, Size, footprints, size_of, smaller
from auscult.footprint import kept as bytes_kept
from auscult.models.families import gemma3
from auscult.models.learning import Lora
from auscult.models.wording import Wording
from auscult.train.algorithm import Objective
from auscult.train.learner import Lesson, backward
from auscult.train.options import Train

WORDING = Wording(form="label", instruction=False)


def counted(model) -> dict[str, int]:
    core = model.model
    parts = {"tower": core.vision_tower, "projector": core.multi_modal_projector, "language": core.language_model}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def test_parameters_of_a_known_size_are_those_that_transformers_makes() -> None:
    size = KNOWN["4b"]
    width, inner, layers, side, patch = size.vision
    config = Gemma3Config(
        text_config={"hidden_size": size.width, "intermediate_size": size.inner, "num_hidden_layers": size.layers},
        vision_config={
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "image_size": side,
            "patch_size": patch,
            "num_attention_heads": 16,
            "vision_use_head": False,
        },
        mm_tokens_per_image=size.image_tokens,
    )
    with torch.device("meta"):
        found = counted(Gemma3ForConditionalGeneration(config))
    assert found == {"tower": size.tower, "projector": size.projector, "language": size.language + size.words}
    assert sum(found.values()) == pytest.approx(4.3e9, rel=0.01)


@pytest.fixture
def small(tmp_path):
    """A tiny Gemma 3 in a folder, and a recipe about it."""
    gemma3.Model(width=64, layers=4, patch=4).build(["Which side? left right"], [], WORDING, 0).save(tmp_path / "model")
    return open_recipe("medgemma-cxr", {"model.path": str(tmp_path / "model")})


def test_a_folder_tells_its_own_size(small) -> None:
    model = (
        small.model.load(small.model.path, WORDING) if False else gemma3.Model().open(small.model.path, WORDING).model
    )
    size = size_of(small)
    found = counted(model)
    assert found == {"tower": size.tower, "projector": size.projector, "language": size.language + size.words}


def test_activations_are_what_autograd_keeps() -> None:
    """Counted on a model that the formula has never seen."""
    shape = {"width": 96, "layers": 2, "patch": 4}
    listener = gemma3.Model(**shape, weights="bfloat16", sliding=4096).build(["Which side? left"], [], WORDING, 0)
    listener.model.to(torch.bfloat16)
    from auscult.models.adapters import prepare

    prepare(listener, gemma3.Model(lora=Lora(rank=4, dropout=0.0)), "base")
    film = Image.of(torch.zeros(32, 32, 3, dtype=torch.uint8).numpy())
    prompt = listener.prompt(Sample("s", (Turn("user", (film, "Which side? " * 40)),), ("left",)))
    reply = tuple([65] * 48)
    said = Rollout(prompt.ids, reply, None, "", "demonstration", "demonstration", Parsed("left"))
    own = {tensor.untyped_storage().data_ptr() for tensor in listener.model.parameters()}
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and storage.data_ptr() not in kept:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backward(listener, [Lesson(prompt, said, 1.0)] * 3, Objective(name="imitate"), Train(precision="bfloat16"))
    length, words = len(prompt.ids), len(listener.tokenizer)
    size = Size(96, 192, 2, 4, 2, 24, words, 16, (96, 192, 2, 32, 4))
    expected = bytes_kept(size, length + 3 * 48, length + 3 * (length + 48)) + 8 * words * 3 * 48
    assert sum(kept.values()) == pytest.approx(expected, rel=0.15)


def test_the_recipe_fits_where_it_says_and_every_setting_counts() -> None:
    recipe = open_recipe("medgemma-cxr", {}, ["full"])
    (found,) = footprints(recipe)
    assert found.parts["language model"] == pytest.approx(3.2e9 * 0.5625, rel=0.01)
    assert found.parts["adapters"] == pytest.approx(4 * 29.8e6, rel=0.01)
    assert found.verdict(80) == "yes"
    assert found.verdict(4) == "no"
    assert {gpu: found.verdict(gpu) for gpu in (found.total / GB * 1.1,)} == {found.total / GB * 1.1: "perhaps"}
    (more,) = footprints(recipe, Asked(images=2))
    assert more.total > found.total
    for key, value in (
        ("model.weights", "bfloat16"),
        ("model.lora.rank", "64"),
        ("grpo.max_tokens", "512"),
        ("grpo.kl", "0.1"),
        ("train.reply_batch", "16"),
        ("model.language", "train"),
    ):
        overrides = {key: value, **({"model.weights": "auto"} if key == "model.language" else {})}
        other = {"train.prompt_batch": "4"} if key == "train.reply_batch" else {}
        (changed,) = footprints(open_recipe("medgemma-cxr", {**overrides, **other}, ["full"]))
        assert changed.total > found.total, key


def test_what_would_need_less_is_named_with_the_greatest_saving_first() -> None:
    recipe = open_recipe("medgemma-cxr", {"model.weights": "bfloat16"}, ["full"])
    (found,) = footprints(recipe)
    settings = dict(smaller(recipe, "grpo"))
    totals = [changed.total for changed in settings.values()]
    assert "--model.weights nf4" in settings
    assert totals == sorted(totals)
    assert totals[-1] < found.total


def test_the_command_prints_the_parts_and_the_verdict(capsys) -> None:
    assert main(["doctor", "--recipe", "medgemma-cxr", "--preset", "full", "--gpu", "24", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (stage,) = told["stages"]
    assert stage["fits"].keys() == {"24"}
    assert stage["between"][0] < stage["total"] < stage["between"][1]
    assert main(["doctor", "--recipe", "medgemma-cxr", "--preset", "full", "--gpu", "8"]) == 0
    told = capsys.readouterr().out
    assert "activations" in told
    assert "8 GB: " in told
    assert "no GPU was asked" in told
    assert "of questions with 1 image and 256 tokens of text (--images N, --words N)" in told, (
        "what it takes for granted"
    )
    assert main(["doctor", "--recipe", "medgemma-cxr", "--images", "2", "--words", "900"]) == 0
    assert "of questions with 2 images and 900 tokens of text" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--recipe quickstart", "only the sizes of Gemma 3"),
        ("--recipe medgemma-cxr --model /nowhere/model", "is not known"),
        ("--recipe medgemma-cxr --gpu many", "--gpu"),
        ("--gpu 24", "--recipe"),
        ("--recipe medgemma-cxr --grpo.grup 3", "grup"),
    ],
)
def test_what_cannot_be_told_is_a_sentence(words: str, said: str, capsys) -> None:
    assert main(["doctor", *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_an_unknown_config_is_named(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="is no Gemma 3's"):
        size_of(open_recipe("medgemma-cxr", {"model.path": str(tmp_path)}))
