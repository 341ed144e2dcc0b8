"""Recipes and command lines become typed, complete configurations, or a sentence that says what to write instead."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.config import Plugin, build, describe, parse_overrides, to_dict, with_presets
from auscult.core.errors import ConfigError
from auscult.core.yaml12 import dump_yaml, parse_yaml, read_yaml


@dataclass(frozen=True)
class Source:
    """The base of the plug-ins that `plugins` writes."""

    limit: int = 0
    """How many at most."""


@dataclass(frozen=True)
class Train:
    learning_rate: float = 3e-5
    """Peak of the schedule,
    per step."""
    steps: int = 100
    """Updates."""
    policy: Literal["error", "trim", "chunk"] = "error"
    betas: tuple[float, float] = (0.9, 0.99)
    targets: tuple[str, ...] = ("q", "v")
    scaled: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("steps must be at least 1")


@dataclass(frozen=True)
class Grpo:
    size: int = 8
    """Replies to a prompt."""


@dataclass(frozen=True)
class Recipe:
    name: str
    """What it is called."""
    seed: int = 0
    """Of everything drawn."""
    train: Train = Train()
    grpo: Grpo | None = field(default_factory=Grpo)
    kl: float | None = None
    root: str | None = None
    weights: Mapping[str, float] = field(default_factory=lambda: {"correct": 1.0, "form": 0.1})
    parts: tuple[Grpo, ...] = ()
    rewards: Mapping[str, float | Mapping[str, Any]] = field(default_factory=lambda: {"choice": 1.0})


@dataclass(frozen=True)
class Listening:
    data: Annotated[Source, Plugin("source", "plugged")]
    mixture: tuple[Annotated[Source, Plugin("source", "plugged")], ...] = ()


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package `plugged` of two plug-ins and one file that is none, the way `data/sources/` is one."""
    package = tmp_path / "plugged"
    package.mkdir()
    head = """from dataclasses import dataclass
from plugged import Base
@dataclass(frozen=True, kw_only=True)
class Source(Base):
"""
    (package / "__init__.py").write_text("Base: type\n")
    (package / "scenes.py").write_text(head + "    seconds: float = 2.0\n")
    (package / "digits.py").write_text(head + "    root: str\n    limit: int = 5\n")
    (package / "hollow.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugged"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.import_module("plugged"), "Base", Source, raising=False)


def refusal(cls: type, values: dict[str, Any], *arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build(cls, values, parse_overrides(arguments), where="recipes/toy.yaml")
    return str(caught.value)


def test_defaults_are_filled_in_and_written_out():
    made = build(Recipe, {"name": "toy"})
    assert made == Recipe("toy")
    assert to_dict(made) == {
        "name": "toy",
        "seed": 0,
        "train": {
            "learning_rate": 3e-5,
            "steps": 100,
            "policy": "error",
            "betas": [0.9, 0.99],
            "targets": ["q", "v"],
            "scaled": True,
        },
        "grpo": {"size": 8},
        "kl": None,
        "root": None,
        "weights": {"correct": 1.0, "form": 0.1},
        "parts": [],
        "rewards": {"choice": 1.0},
    }


def test_the_command_line_is_laid_over_the_recipe():
    values = {"name": "toy", "train": {"steps": 7, "learning_rate": 1}}
    arguments = ["--train.learning_rate", "1e-4", "--train.betas=[0.5, 0.6]", "--kl", "-1", "--train.policy", "trim"]
    made = build(Recipe, values, parse_overrides(arguments))
    assert made.train == Train(learning_rate=1e-4, steps=7, betas=(0.5, 0.6), policy="trim")
    assert isinstance(made.train.learning_rate, float)
    assert made.kl == -1.0
    assert values["train"] == {"steps": 7, "learning_rate": 1}, "the recipe itself must stay as it was"


def test_an_int_in_yaml_becomes_a_float_where_a_float_is_wanted():
    made = build(Recipe, {"name": "toy", "train": {"learning_rate": 1}})
    assert isinstance(made.train.learning_rate, float)


def test_sections_are_switched_off_and_on():
    assert build(Recipe, {"name": "toy"}, {"grpo": "null"}).grpo is None
    assert build(Recipe, {"name": "toy", "grpo": None}).grpo is None
    assert build(Recipe, {"name": "toy", "grpo": None}, {"grpo.size": "4"}).grpo == Grpo(4)
    assert build(Recipe, {"name": "toy", "grpo": {"size": 2}}, {"grpo": "{size: 3}"}).grpo == Grpo(3)


def test_one_weight_from_the_command_line_leaves_the_others():
    assert build(Recipe, {"name": "toy"}, {"weights.form": "0.5"}).weights == {"correct": 1.0, "form": 0.5}
    assert build(Recipe, {"name": "toy", "weights": {"exact": 1}}, {"weights.form": "1"}).weights == {
        "exact": 1,
        "form": 1,
    }
    assert build(Recipe, {"name": "toy", "weights": {"exact": 1}}).weights == {"exact": 1.0}


def test_what_is_handed_on_is_taken_as_yaml_has_it():
    values = {"name": "toy", "rewards": {"number": {"weight": 1, "kwargs": {"near": 0.1}}, "pkg.mod:f": 2}}
    made = build(Recipe, values, {"rewards.number.kwargs.near": "1e-3", "rewards.form": "1"})
    assert made.rewards == {"number": {"weight": 1, "kwargs": {"near": 1e-3}}, "pkg.mod:f": 2.0, "form": 1.0}
    assert build(Recipe, to_dict(made)) == made


def test_a_preset_is_laid_over_the_file_and_the_command_line_over_both():
    values = {
        "name": "toy",
        "seed": 1,
        "train": {"steps": 7, "learning_rate": 1},
        "presets": {"tiny": {"seed": 2, "train": {"steps": 2}, "grpo": None}, "full": None},
    }
    plain, tiny = with_presets(Recipe, values, []), with_presets(Recipe, values, ["tiny"])
    assert build(Recipe, plain) == build(Recipe, with_presets(Recipe, values, ["full"]))
    assert build(Recipe, plain) == Recipe("toy", 1, Train(1.0, 7))
    assert build(Recipe, tiny) == Recipe("toy", 2, Train(1.0, 2), None)
    assert build(Recipe, tiny, {"seed": "3"}).seed == 3
    values["presets"]["fast"] = {"train": {"learning_rate": 2}, "seed": 4}
    assert build(Recipe, with_presets(Recipe, values, ["tiny", "fast"])) == Recipe("toy", 4, Train(2.0, 2), None)
    assert build(Recipe, with_presets(Recipe, values, ["fast", "tiny"])) == Recipe("toy", 2, Train(2.0, 2), None)
    assert values["train"] == {"steps": 7, "learning_rate": 1}, "the file itself must stay as it was"


def test_a_preset_that_names_another_plug_in_replaces_the_section():
    values = {"data": {"source": "digits", "root": "x", "limit": 1}}
    presets = {"other": {"data": {"source": "scenes"}}, "same": {"data": {"limit": 2}}}
    laid = with_presets(Listening, {**values, "presets": presets}, ["other"])
    assert laid == {"data": {"source": "scenes"}}
    laid = with_presets(Listening, {**values, "presets": presets}, ["same"])
    assert laid == {"data": {"source": "digits", "root": "x", "limit": 2}}


def test_a_preset_replaces_a_mapping_that_is_no_section_whole():
    """As the command line does: its entries are values, of which a preset must be able to leave one out."""
    values = {"name": "toy", "rewards": {"choice": 1, "number": 2}, "presets": {"tiny": {"rewards": {"form": 1}}}}
    assert build(Recipe, with_presets(Recipe, values, ["tiny"])).rewards == {"form": 1.0}
    assert build(Recipe, with_presets(Recipe, values, [])).rewards == {"choice": 1.0, "number": 2.0}


@pytest.mark.parametrize(
    ("presets", "name", "said"),
    [
        (
            {"tiny": {}, "full": {}},
            "tinny",
            "toy.yaml: there is no preset 'tinny', did you mean 'tiny'?; there is tiny, full",
        ),
        (None, "tiny", "it has none, so leave --preset out"),
        ({"tiny": 3}, "tiny", "`presets.tiny` is 3, but must be `key: value` lines"),
        (["tiny"], "tiny", "`presets` is ['tiny'], but must be"),
    ],
)
def test_a_preset_that_is_none_is_a_sentence(presets: Any, name: str, said: str):
    with pytest.raises(ConfigError) as caught:
        with_presets(Recipe, {"name": "toy", "presets": presets}, [name], "toy.yaml")
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["2026", "a: b", "no", "'x'", "@home", "true", "{question}", "# hash"])
def test_text_from_the_command_line_is_taken_as_it_is(text: str):
    made = build(Recipe, {"name": "toy"}, {"name": text, "root": text})
    assert (made.name, made.root) == (text, text)


def test_null_from_the_command_line_is_none_only_where_none_may_stand():
    assert build(Recipe, {"name": "toy", "root": "x"}, {"root": "null"}).root is None
    assert build(Recipe, {}, {"name": "null"}).name == "null"


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        ("train.lerning_rate", "train.learning_rate"),
        ("trian.steps", "train.steps"),
        ("learning_rate", "train.learning_rate"),
        ("train.learning-rate", "train.learning_rate"),
        ("sed", "seed"),
        ("steps", "train.steps"),
    ],
)
def test_a_mistyped_flag_is_answered_with_the_nearest(typed: str, suggested: str):
    said = refusal(Recipe, {"name": "toy"}, f"--{typed}", "1")
    assert f"no setting `--{typed}`, did you mean `--{suggested}`?" in said


def test_a_mistyped_key_names_its_file_and_the_nearest():
    said = refusal(Recipe, {"name": "toy", "train": {"lerning_rate": 1}})
    assert said.startswith(
        "recipes/toy.yaml: there is no setting `train.lerning_rate`, did you mean `train.learning_rate`?"
    )
    assert "did you mean `train`?" in refusal(Recipe, {"name": "toy", "trian": {"steps": 1}})
    assert "did you mean" not in refusal(Recipe, {"name": "toy", "zzzz": 1})


@pytest.mark.parametrize(
    ("values", "arguments", "parts"),
    [
        ({}, [], ["recipes/toy.yaml: `name` is missing", "--name"]),
        ({"name": 3}, [], ["`name` is 3, but must be text", "quote it"]),
        ({"name": "x", "seed": True}, [], ["`seed` is true, but must be a whole number"]),
        ({"name": "x", "kl": True}, [], ["`kl` is true, but must be a number or null"]),
        ({"name": "x", "seed": 1.0}, [], ["`seed` is 1.0"]),
        ({"name": "x", "seed": {"deep": 1}}, [], ["`seed` is {deep: 1}, but must be a whole number"]),
        ({"name": "x", "seed": [None, True, "a"]}, [], ["`seed` is [null, true, 'a'], but must be a whole number"]),
        ({"name": "x", "seed": "1"}, [], ["`seed` is '1'"]),
        ({"name": "x", "kl": float("nan")}, [], ["`kl` is nan, but must be a number or null"]),
        ({"name": "x", "train": None}, [], ["`train` is null, but must be a section"]),
        ({"name": "x", "train": {"scaled": 1}}, [], ["`train.scaled` is 1, but must be true or false"]),
        ({"name": "x", "train": {"betas": [1]}}, [], ["`train.betas` has 1 entries, but must have 2"]),
        ({"name": "x", "train": {"targets": "qv"}}, [], ["`train.targets` is 'qv', but must be a list"]),
        ({"name": "x", "weights": {"form": "much"}}, [], ["`weights.form` is 'much'"]),
        (
            {"name": "x"},
            ["--weights", "[form]"],
            ["`weights` is ['form'], but must be `name: value` lines, each value a number; for example {correct: 1.0,"],
        ),
        ({"name": "x"}, ["--rewards", "choice"], ["`rewards` is 'choice', but", "lines; for example {choice: 1.0}"]),
        ({"name": "x", "parts": [{"size": 1}, {"sise": 1}]}, [], ["no setting `parts.1.sise`"]),
        ({"name": "x"}, ["--train.policy", "cut"], ["the command line", "'cut', but must be error | trim | chunk"]),
        ({"name": "x"}, ["--train.steps", "0"], ["the command line: `train`: steps must be at least 1"]),
        ({"name": "x", "train": {"steps": 0}}, ["--train.learning_rate", "1"], ["recipes/toy.yaml: `train`: steps"]),
        ({"name": "x"}, ["--train", "{steps: 0}"], ["the command line: `train`: steps"]),
        ({"name": "x"}, ["--train.steps", "many"], ["the command line: `train.steps` is 'many'"]),
        ({"name": "x"}, ["--train.steps", "[1"], ["the command line: --train.steps is not YAML"]),
        ({"name": "x"}, ["--seed.deep", "1"], ["no setting `--seed.deep`", "--seed"]),
        ({"name": "x", "seed": 3}, ["--seed.deep", "1"], ["--seed.deep cannot be set, for `seed` is a value"]),
        ({"name": "x"}, ["seed", "1"], ["`seed` stands alone"]),
        ({"name": "x"}, ["--seed"], ["--seed has no value"]),
        ({"name": "x"}, ["--seed", "--name", "y"], ["--seed has no value"]),
        ({"name": "x"}, ["--seed", "1", "--seed=2"], ["--seed is given twice"]),
        (
            {"name": "x"},
            ["--train.steps", "2", "--train", "null"],
            ["--train null leaves that section out, and --train.steps sets something in it; keep one of the two"],
        ),
    ],
)
def test_a_mistake_is_answered_with_its_key_and_what_would_do(
    values: dict[str, Any], arguments: list[str], parts: list[str]
):
    said = refusal(Recipe, values, *arguments)
    assert all(part in said for part in parts), said


def test_a_plug_in_is_chosen_by_name_and_kept_by_name():
    values = {
        "data": {"source": "scenes", "seconds": 3},
        "mixture": [{"source": "digits", "root": "a"}, {"source": "scenes"}],
    }
    made = build(Listening, values)
    assert type(made.data).__module__ == "plugged.scenes"
    assert [type(part).__module__ for part in made.mixture] == ["plugged.digits", "plugged.scenes"]
    assert to_dict(made)["data"] == {"source": "scenes", "limit": 0, "seconds": 3.0}
    assert build(Listening, to_dict(made)) == made
    assert build(Listening, values, {"data": "{source: digits, root: b}"}).data.root == "b"  # pyright: ignore
    assert build(Listening, {}, {"data.source": "scenes", "data.limit": "9"}).data.limit == 9


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({}, "`data.source` is missing; name one of digits, hollow, scenes"),
        ({"data": "scenes"}, "`data` is 'scenes', but must be a section {source: NAME, ...}"),
        ({"data": {"source": "scene"}}, "`data.source` is 'scene', did you mean `scenes`?"),
        ({"data": {"source": "scenes", "secnds": 1}}, "`data.secnds`, did you mean `data.seconds`?"),
        ({"data": {"source": "digits"}}, "`data.root` is missing"),
        ({"data": {"source": "hollow"}}, "plugged.hollow has no class `Source` of its own"),
    ],
)
def test_a_plug_in_that_cannot_be_is_refused(values: dict[str, Any], part: str):
    assert part in refusal(Listening, values)


@pytest.mark.parametrize(
    ("values", "arguments", "said"),
    [
        (
            {"source": "scenes"},
            ["--data.source", "digits"],
            "the command line: `data.root` is missing; give --data.root",
        ),
        ({"source": "scenes"}, ["--data", "{source: digits}"], "the command line: `data.root` is missing; give"),
        (
            {"source": "digits"},
            ["--data.limit", "3"],
            "recipes/toy.yaml: `data.root` is missing; set it there, or give",
        ),
        (
            {"source": "scenes", "seconds": 3},
            ["--data.source", "digits", "--data.root", "x"],
            "the command line: digits has no setting `data.seconds`, which recipes/toy.yaml sets; replace the whole",
        ),
        ({"source": "scenes", "secnds": 3}, ["--data.seconds", "1"], "recipes/toy.yaml: there is no setting `data.sec"),
    ],
)
def test_who_chose_a_plug_in_is_blamed_for_what_it_lacks(values: dict[str, Any], arguments: list[str], said: str):
    assert refusal(Listening, {"data": values}, *arguments).startswith(said)


@dataclass(frozen=True)
class Range:
    low: int = 0
    high: int = 9

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high: set a smaller low")


@dataclass(frozen=True)
class Ranges:
    range: Range = Range()


@pytest.mark.parametrize(
    ("low", "high", "blamed"),
    [
        ("file", "file", "recipes/toy.yaml: `range`"),
        ("typed", "typed", "the command line: `range`"),
        ("typed", None, "the command line: `range`"),
        ("file", "typed", "recipes/toy.yaml and the command line: `range`"),
    ],
)
def test_values_that_do_not_go_together_are_blamed_on_all_who_set_them(low: str, high: str | None, blamed: str):
    numbers = {"low": 20, "high": 10}
    origins = {"low": low, "high": high}
    values = {name: number for name, number in numbers.items() if origins[name] == "file"}
    typed = [f"--range.{name}={number}" for name, number in numbers.items() if origins[name] == "typed"]
    assert refusal(Ranges, {"range": values}, *typed).startswith(blamed)


def test_a_plug_in_that_does_not_load_is_named(tmp_path: Path):
    (tmp_path / "plugged" / "torn.py").write_text("import nowhere_at_all")
    (tmp_path / "plugged" / "script.py").write_text("raise SystemExit(3)")
    assert "plugged.torn does not load (ModuleNotFoundError" in refusal(Listening, {"data": {"source": "torn"}})
    assert "plugged.script does not load (SystemExit" in refusal(Listening, {"data": {"source": "script"}})


def test_a_plug_in_that_does_not_load_is_in_nobody_elses_way(tmp_path: Path):
    (tmp_path / "plugged" / "torn.py").write_text("def torn(")
    values = {"data": {"source": "scenes"}}
    assert build(Listening, values, {"data.seconds": "1"}).data.seconds == 1  # pyright: ignore
    assert [option.key for option in describe(Listening, values)][:2] == ["data.source", "data.limit"]
    assert "did you mean `--data.seconds`?" in refusal(Listening, values, "--data.secnds", "1")


@dataclass(frozen=True)
class Address:
    url: str
    port: int = 80


@dataclass(frozen=True)
class Stages:
    server: Address | None = None
    first: Annotated[Source, Plugin("source", "plugged")] | None = None


def test_nothing_is_required_of_a_section_that_is_off():
    shown = {option.key: option.value for option in describe(Stages)}
    assert shown == {"server": None, "server.url": None, "server.port": 80, "first": None, "first.source": None}
    for values in ({"server": {"port": 1}, "first": {"source": "digits"}}, {"server": {}, "first": {}}):
        on = {option.key: option.value for option in describe(Stages, values)}
        assert on["server.url"] is MISSING
        assert MISSING in (on["first.source"], on.get("first.root"))


def test_help_lists_what_the_command_line_chose_with_its_values():
    given = {"data": "{source: digits, root: 'x'}", "data.limit": "3"}
    options = {option.key: option.value for option in describe(Listening, {"data": {"source": "scenes"}}, given)}
    assert options == {"data.source": "digits", "data.limit": 3, "data.root": "x", "mixture": ()}
    found = describe(Recipe, {"grpo": {"size": 2}, "seed": 3}, {"train.steps": "7", "weights.form": "2", "kl": "null"})
    shown = {option.key: option.value for option in found}
    assert (shown["seed"], shown["train.steps"], shown["grpo.size"], shown["kl"]) == (3, 7, 2, None)
    assert shown["weights"] == {"correct": 1.0, "form": 2}


def test_help_lists_every_key_with_the_text_under_it():
    options = {option.key: option for option in describe(Recipe)}
    assert options["name"].value is MISSING
    assert options["train.learning_rate"].text == "Peak of the schedule, per step."
    assert (options["train.policy"].type, options["train.policy"].value) == ("error | trim | chunk", "error")
    assert options["grpo.size"].text == "Replies to a prompt."
    assert set(_leaves(to_dict(Recipe("x")))) <= set(options) | {"weights.correct", "weights.form", "rewards.choice"}
    plugged = [option.key for option in describe(Listening, {"data": {"source": "scenes"}})]
    assert plugged == ["data.source", "data.limit", "data.seconds", "mixture"]


def _leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    nested = [_leaves(v, f"{prefix}{k}.") if isinstance(v, dict) else [f"{prefix}{k}"] for k, v in values.items()]
    return [key for keys in nested for key in keys]


finite = st.floats(allow_nan=False, allow_infinity=False)
trains = st.builds(
    Train, finite, st.integers(1, 9**9), st.sampled_from(["error", "trim", "chunk"]), st.tuples(finite, finite),
    st.lists(st.text()).map(tuple), st.booleans(),
)  # fmt: skip
recipes = st.builds(
    Recipe, st.text(), st.integers(), trains, st.none() | st.builds(Grpo, st.integers()), st.none() | finite,
    st.none() | st.text(), st.dictionaries(st.text(), finite), st.lists(st.builds(Grpo)).map(tuple),
)  # fmt: skip


@settings(deadline=None)
@given(recipes)
def test_a_configuration_comes_back_equal_from_its_yaml(recipe: Recipe):
    assert build(Recipe, parse_yaml(dump_yaml(to_dict(recipe)), "text")) == recipe


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | finite | st.text(), lambda inner: st.lists(inner)))
def test_yaml_reads_back_what_it_wrote(value: Any):
    assert parse_yaml(dump_yaml({"key": value}), "text") == {"key": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0), ("-3", -3), ("010", 10), ("+1", 1), ("1_000", "1_000"),
        ("1:30", "1:30"), ("no", "no"), ("on", "on"), ("true", True), ("~", None), ("", None), ("0x1f", "0x1f"),
        ("2026-11-21", "2026-11-21"), ("-", [None]), (".inf", float("inf")), ("e4", "e4"), ("1e", "1e"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any):
    read = parse_yaml(text, "text")
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "part"),
    [("a: 1\na: 2", "line 2, column 1: the key `a` is given twice"), ("1: a", "`1` is not text"),
     ("- a", "`key: value`"),
     ("a: [", "line 1, column 5: while parsing a flow node, expected the node content, but found '<stream end>'; corr"),
     ("b: 1\na: {b: 1\nc: [", "line 3, column 2: while parsing a flow mapping that begins in line 2, expected ','"),
     ("a: b\x00", "character number 5 ('\\x00')"), ("!!python/object:os.system {}", "not YAML")],
)  # fmt: skip
def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path, text: str, part: str):
    path = tmp_path / "toy.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"toy\.yaml") as caught:
        read_yaml(path)
    assert part in str(caught.value)
    assert "unicode string" not in str(caught.value)


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_reading_a_recipe_loads_neither_numpy_nor_torch():
    script = "import sys, auscult.core.config; print(sorted({'numpy', 'torch', 'transformers'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
