"""The audit of rewards: it finds the hole in each toy, alone and in a mixture, and none where there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from auscult.cli import main
from auscult.core.errors import DataError
from auscult.core.forms import FORMS, form
from auscult.core.types import Sample, Turn
from auscult.rewards.audit import HONEST, MISTAKE, Audit, attempts, examine
from auscult.rewards.rubric import Rubric

PETS = ("cat", "dog", "cow")
REPORT = "The film shows a dog that barks twice in the yard while no cat or cow is near"
TOYS = Path(__file__).parent / "toy_rewards.py"


def asked(number: int) -> Sample:
    question = "Which animal does the film show in the yard?"
    answer = PETS[number % 3]
    return Sample(f"pets/{number}", (Turn("user", (question,)),), (answer,), PETS, "it barks", tags={"report": REPORT})


CHOOSING = [asked(number) for number in range(6)]
OPEN = [
    Sample(f"open/{word}", (Turn("user", ("What is heard?",)),), (word,), thought="a sound")
    for word in ("a dog barks", "rain falls on a roof", "an engine idles", "two people talk")
]


def audited(rewards: Mapping[str, Any], shape: str = "think", samples: list[Sample] = CHOOSING) -> Audit:
    return examine(Rubric.from_config(rewards), form(shape), samples)


def holes(audit: Audit, part: str) -> set[str]:
    return {hole.name for account in (*audit.parts, audit.total) if account.name == part for hole in account.holes}


PLANTED = (
    ("substring", "every option, without the form"),
    ("short", "an empty reply"),
    ("tags", "tags with nothing in them"),
    ("every_tag", "tags again and again"),
    ("long_thought", "25 words of filler in the thinking, then a mistake"),
    ("echo", "the prompt in the thinking, then a mistake"),
    ("letter", "every letter, without the form"),
    ("thought_only", "the right answer in the thinking, and nothing after it"),
    ("gullible", "a mistake with words to the judge, as the answer"),
)


@pytest.mark.parametrize(("toy", "cheat"), PLANTED)
def test_a_planted_hole_is_found(toy: str, cheat: str) -> None:
    alone = audited({f"{TOYS}:{toy}": 1.0})
    assert cheat in holes(alone, toy)
    assert cheat in holes(alone, "total")
    beside = audited({"choice": 1.0, toy: {"weight": 0.5, "function": f"{TOYS}:{toy}"}})
    assert cheat in holes(beside, toy)
    assert holes(beside, "choice") == set()
    assert cheat in holes(beside, "total")


@pytest.mark.parametrize(("toy", "cheat"), PLANTED)
def test_a_hole_of_a_part_is_named_where_the_total_covers_it(toy: str, cheat: str) -> None:
    audit = audited({"choice": 1.0, "form": 0.5, toy: {"weight": 0.01, "function": f"{TOYS}:{toy}"}})
    assert cheat in holes(audit, toy)
    if toy != "every_tag":  # whose pay has no end
        assert holes(audit, "total") == set()


def test_an_empty_reply_that_is_brief_where_honest_ones_are_long() -> None:
    options = {"weight": 0.2, "function": f"{TOYS}:short", "kwargs": {"limit": 20}}
    audit = audited({"choice": 1.0, "form": 0.1, "short": options})
    assert "an empty reply" in holes(audit, "total")
    assert "an empty reply" in holes(audit, "short")


SHIPPED: Mapping[str, Any] = {
    "choice": 1.0,
    "form": 0.5,
    "thinking": {"weight": 0.5, "kwargs": {"target": 8}},
    "brevity": 0.1,
    "decisive": 0.1,
    "repetition": 0.2,
    "overlong": {"weight": 0.2, "kwargs": {"limit": 256, "buffer": 64}},
    "evidence": {"weight": 0.2, "kwargs": {"source": ["report"]}},
    "balance": {"weight": 0.5, "kwargs": {"shares": {"cat": 3, "dog": 2, "cow": 1}}},
}


@pytest.mark.parametrize("shape", FORMS)
def test_the_shipped_rewards_have_no_hole_in_any_form(shape: str) -> None:
    audit = audited(SHIPPED, shape)
    assert [account.name for account in (*audit.parts, audit.total) if account.holes] == []


@pytest.mark.parametrize("shape", FORMS)
@pytest.mark.parametrize("main_part", ["exact", "wer", "cer"])
def test_open_questions_have_no_hole_either(main_part: str, shape: str) -> None:
    audit = audited({main_part: 1.0, "form": 0.1}, shape, OPEN)
    assert holes(audit, "total") == holes(audit, main_part) == set()


def test_a_list_of_answers_pays_under_token_f1_without_choices() -> None:
    audit = audited({"token_f1": 1.0}, samples=OPEN)
    assert "every option, as the answer" in holes(audit, "total")
    assert holes(audited({"token_f1": 1.0}), "total") == set()


def test_a_reward_that_does_not_know_right_from_wrong_is_one_hole() -> None:
    assert MISTAKE in holes(audited({"form": 1.0}), "total")


def test_a_penalty_is_judged_by_its_sign() -> None:
    punished = {"weight": -0.5, "function": f"{TOYS}:long_thought", "kwargs": {"target": 25}}
    assert holes(audited({"choice": 1.0, "thought": punished}), "thought") == set()
    assert holes(audited({"choice": 1.0, "thought": {**punished, "weight": 0.5}}), "thought")


def test_what_is_constant_and_what_is_ungraded_is_told() -> None:
    audit = audited({"choice": 1.0, "number": {"weight": 0.0, "kwargs": {}}}, samples=[*CHOOSING[:3], numbered()])
    choice, number = audit.parts
    assert (choice.constant, number.constant) == (False, False)
    assert number.ungraded == audit.total.ungraded > 0
    assert number.spared == (), "nobody is graded on questions without numbers, honest replies neither"
    assert audit.constant is not None
    assert audit.constant.samples == 1
    assert audited({"choice": 1.0, "form": 0.1, "wer": 0.0}, "label").parts[0].constant is False
    flat = audited({"choice": 1.0, "overlong": {"weight": 1, "kwargs": {"limit": 10**6, "buffer": 1}}})
    assert [part.name for part in flat.parts if part.constant] == ["overlong"]


def test_a_cheat_that_is_not_graded_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    shy = {"weight": 1.0, "function": f"{TOYS}:shy"}
    audit = audited({"shy": shy, "form": 0.1})
    (part, form_part), total = audit.parts, audit.total
    assert {"an empty reply", "the prompt, without the form"} <= set(part.spared) == set(total.spared)
    assert form_part.spared == ()
    assert audited({"choice": 1.0}).total.spared == ()
    rewards = f"{{shy: {{weight: 1.0, function: '{TOYS}:shy'}}}}"
    main(["rewards", "audit", "quickstart", "--limit", "2", "--grpo.rewards", rewards])
    assert "Not graded by shy, so a policy is not taught to leave them: an empty reply; " in capsys.readouterr().out


def yes_or_no(number: int) -> Sample:
    turns = (Turn("user", ("Does a dog bark?",)),)
    return Sample(
        f"yes/{number}", turns, ("no" if number == 7 else "yes",), ("no", "yes") if number % 2 else ("yes", "no")
    )


def test_the_best_constant_answer_is_told() -> None:
    majority = audited({"choice": 1.0}, samples=[yes_or_no(number) for number in range(20)]).constant
    assert majority is not None
    assert (majority.name, majority.honest, majority.samples) == ("always 'yes'", 1.0, 20)
    assert majority.mean == pytest.approx(0.95)
    names = ("ant", "bee", "cat", "dog", "elk")
    turns = (Turn("user", ("Which?",)),)
    second = [Sample(name, turns, (name,), ("none", name, "all")[: 2 + n % 2]) for n, name in enumerate(names)]
    first = Sample("first", turns, ("all",), ("all",), thought="not asked: there is nothing else to choose")
    placed = audited({"choice": 1.0}, "label", [*second, Sample("a", turns, ("all",), ("all", "none")), first]).constant
    assert placed is not None
    assert (placed.name, placed.samples) == ("always the option at place 2", 6)
    assert placed.mean == pytest.approx(5 / 6)
    dots = [Sample(f"dots/{n}", turns, ("...",), ("...", "dog") if n else ("dog", "...")) for n in range(3)]
    others = [asked(0), asked(3)]  # to which "..." is no answer
    written = audited({"choice": 1.0}, "label", [*dots, *others]).constant
    assert written is not None
    assert (written.name, written.mean, written.samples) == ("always the option at place 1", pytest.approx(4 / 5), 5)


def numbered() -> Sample:
    return Sample("n/1", (Turn("user", ("How many?",)),), ("3",), ("2", "3"))


def test_samples_that_nothing_can_be_written_for_are_told() -> None:
    bad = [
        Sample("none", CHOOSING[0].turns, (), PETS),
        Sample("alone", CHOOSING[0].turns, ("cat",), ("cat",)),
        Sample("tagged", CHOOSING[0].turns, ("a </think> b",)),
    ]
    audit = audited({"choice": 1.0}, samples=[*CHOOSING, *bad])
    assert audit.samples == len(CHOOSING)
    assert [line.partition(":")[0] for line in audit.unused] == ["none", "alone", "tagged"]
    with pytest.raises(DataError, match="no sample of 3"):
        audited({"choice": 1.0}, samples=bad)
    with pytest.raises(DataError, match="'number' grades no honest reply"):
        audited({"number": 1.0}, samples=CHOOSING)


@pytest.mark.parametrize("shape", FORMS)
def test_only_honest_replies_are_read_as_right(shape: str) -> None:
    for sample in (*CHOOSING, *OPEN):
        others = OPEN if sample in OPEN else CHOOSING
        read = {a.name: form(shape).parse(a.text, sample.choices) for a in attempts(sample, form(shape), others)}
        right = {name for name, parsed in read.items() if parsed.answer == sample.answers[0]}
        assert read[HONEST].well_formed
        assert read[MISTAKE].well_formed
        assert right - {"a right answer without the form"} == {HONEST}


SHIPPED_RECIPES = {
    "quickstart": [],
    "digits": ["--data.root", "{testdata}/fsdd"],
    "digits_rest": ["--data.root", "{testdata}/fsdd"],
    "sounds": ["--data.root", "{testdata}/esc10"],
    "medgemma-audio": ["--preset", "tiny"],
    "medgemma-cxr": ["--preset", "films"],
    "medgemma-cxr on real films": ["--preset", "tiny", "--data.root", "{testdata}"],
}
"""Recipes, what is said of some, and where their data are."""


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Where recipe medgemma-audio made its data."""
    folder = tmp_path_factory.mktemp("captioned") / "scenes"
    made = ["--prepare.folder", str(folder), "--prepare.train", "40", "--prepare.val", "2", "--prepare.test", "8"]
    where = ["--data.root", f"{folder}/captions/train.csv", "--data.heldout", f"{folder}/captions/test.csv"]
    where += ["--data.frames", f"[{folder}/frames/bal_train, {folder}/frames/eval]"]
    out = str(folder.parent / "run")
    assert main(["run", "medgemma-audio", "--preset", "tiny", "--stage", "prepare", "--out", out, *made, *where]) == 0
    return where


@pytest.mark.parametrize("recipe", SHIPPED_RECIPES)
def test_the_shipped_recipes_have_no_hole(
    recipe: str, testdata: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    name, words = recipe.partition(" ")[0], [word.format(testdata=testdata) for word in SHIPPED_RECIPES[recipe]]
    words += request.getfixturevalue("captioned") if name == "medgemma-audio" else []
    capsys.readouterr()
    assert main(["rewards", "audit", name, "--json", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stages"]
    for stage in found["stages"].values():
        assert 8 <= stage["samples"] <= 32
        assert stage["unused"] == []
        assert not [one for part in (stage["total"], *stage["parts"]) for one in part["earned"] if one["hole"]]


def test_every_recipe_is_audited_here() -> None:
    recipes = {path.stem for path in (Path(__file__).parents[2] / "src/auscult/recipes").glob("*.yaml")}
    assert recipes == {name.partition(" ")[0] for name in SHIPPED_RECIPES}


def test_a_hole_is_printed_with_a_reply_that_gains_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    rewards = f"{{choice: 1.0, sub: {{weight: 0.5, function: '{TOYS}:substring'}}, form: 0.0}}"
    assert main(["rewards", "audit", "quickstart", "--limit", "4", "--grpo.rewards", rewards]) == 2
    out = capsys.readouterr().out
    assert "HOLES in total: these earn too much" in out
    assert "HOLES in sub: these" in out
    assert "HOLES in choice" not in out
    assert re.search(r"Best constant answer: \d\.\d\d, where honest replies earn 1\.\d\d \(always ", out)
    assert re.search(r"  0\.50  every option, without the form; scenes-heldout-0-\d+: '\w+, \w+", out)


def test_parts_that_taught_nothing_in_a_run_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Path(__file__).parents[2] / "src/auscult/recipes/quickstart.yaml"
    (tmp_path / "grpo").mkdir()
    (tmp_path / "config.yaml").write_text(recipe.read_text())
    rows = [{"step": step, "reward/choice/flat_groups": 0.5, "reward/form/flat_groups": 1.0} for step in range(3)]
    (tmp_path / "grpo" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["rewards", "audit", str(tmp_path), "--limit", "2"]) == 0
    assert "No cheat pays. Different within no group of this run, so they taught nothing in it: form." in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit"], "RECIPE"),
        (["audti", "quickstart"], "audit"),
        (["audit", "quikstart"], "did you mean 'quickstart'"),
        (["audit", "quickstart", "--grpo", "null"], "has no stage with rewards"),
        (["audit", "quickstart", "--limit", "0"], "at least 1"),
        (["audit", "quickstart", "--limt", "3"], "limt"),
        (["audit", "quickstart", "--grpo.rewards", "{choise: 1.0}"], "did you mean 'choice'"),
    ],
)
def test_a_mistake_is_a_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewards", *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
