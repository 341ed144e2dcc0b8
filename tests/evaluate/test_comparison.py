"""Two runs on the same questions: what pairs, what is refused, and what a comparison promises."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.cli import main
from auscult.core.errors import ConfigError, DataError
from auscult.core.types import Outcome, Parsed
from auscult.evaluate.comparison import CELLS, compare, corrected, difference
from auscult.evaluate.judged import Rating, write_ratings
from auscult.evaluate.labels import NONE, labels_of
from auscult.evaluate.outcomes import write_outcomes
from auscult.evaluate.statistics import holm, mcnemar_exact, paired_bootstrap, rows_for_gain


def row(number: int, correct: bool, *, clip: int | None = None, **tags: str) -> Outcome:
    answer = "dog" if correct else "cat"
    group = f"clip{number if clip is None else clip}"
    return Outcome(f"q{number:03}", "What barks?", "dog", answer, Parsed(answer), correct, group, tags)


def run(marks: str, **tags: str) -> list[Outcome]:
    """One row a character, `+` for right; two rows a clip; the tag `task` is `odd` for every second row."""
    return [
        row(number, mark == "+", clip=number // 2, task="odd" if number % 2 else "even", **tags)
        for number, mark in enumerate(marks)
    ]


def test_the_table_says_which_rows_and_how_many():
    found = compare(run("++--+-"), run("+-+-+-"))
    assert found.rows == {
        "both_right": ("q000", "q004"),
        "only_a": ("q001",),
        "only_b": ("q002",),
        "both_wrong": ("q003", "q005"),
    }
    assert found.total.cells == {cell: len(found.rows[cell]) for cell in CELLS.values()}
    assert (found.total.n, found.total.clusters) == (6, 3)
    assert found.total.accuracy == (0.5, 0.5)
    assert (found.total.difference, found.total.p, found.total.mcnemar_p) == (0, 1, 1)
    assert found.discordance == pytest.approx(2 / 6)


def test_every_label_adds_up_to_all_rows_and_is_corrected_together():
    a, b = run("+-+-+-+-+-" * 4), run("+++-++++--" * 4)
    a = [replace(one, tags={**one.tags, **({"half": "first"} if one.id < "q020" else {})}) for one in a]
    found = compare(a, b)
    assert {(part.tag, part.value) for part in found.parts} == {
        ("task", "odd"),
        ("task", "even"),
        ("half", "first"),
        ("half", NONE),
    }
    for tag in ("task", "half"):
        assert sum(part.n for part in found.parts if part.tag == tag) == 40
        gained = sum(part.difference * part.n for part in found.parts if part.tag == tag)
        assert gained == pytest.approx(found.total.difference * 40)
    assert [part.p_holm for part in found.parts] == holm([part.p for part in found.parts])


def test_labels_that_sort_nothing_are_named_not_shown():
    a = [row(number, True, task="only", caption=f"text {number}", kind=str(number % 2)) for number in range(8)]
    found = compare(a, a)
    assert {part.tag for part in found.parts} == {"kind"}
    assert found.left_out == {"task": 1, "caption": 8}
    assert set(labels_of(a, ["caption"]).rows) == {"caption"}
    with pytest.raises(ConfigError, match="did you mean 'caption'"):
        labels_of(a, ["captoin"])


def test_runs_that_do_not_differ_have_no_interval_instead_of_a_sure_zero():
    found = compare(run("+-+-"), run("+-+-"))
    assert found.total.interval is None
    assert found.design_effect is None
    assert found.rows_needed > 0


def test_what_does_not_pair_is_counted_and_named():
    a, b = run("++++++"), run("++++")
    with pytest.raises(DataError, match=r"2 only in A \('q004', 'q005'\).*the 4 that both have with --common"):
        compare(a, b)
    found = compare(a, b, common=True)
    assert (found.total.n, found.unpaired) == (4, (2, 0))
    with pytest.raises(DataError, match="share no id"):
        compare(a, [replace(one, id=f"x{one.id}") for one in a], common=True)
    with pytest.raises(DataError, match=r"1 ids occur more than once in B \('q000'\)"):
        compare(a, [*a, a[0]])


def test_another_gold_answer_is_another_benchmark():
    a = run("++++")
    with pytest.raises(DataError, match=r"1 rows have another gold answer in B than in A \('q001'\).*same gold file"):
        compare(a, [replace(one, target="cow") if one.id == "q001" else one for one in a])
    assert compare(a, [replace(one, input="What  barks?") for one in a]).reworded == 0
    assert compare(a, [replace(one, input="What is barking?") for one in a]).reworded == 4


outcomes = st.tuples(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.integers(0, 4), st.sampled_from("xyz")), min_size=2, max_size=14
    ),
    st.randoms(use_true_random=False),
)


@settings(deadline=None, max_examples=40)
@given(outcomes)
def test_swapped_runs_turn_the_signs_and_the_order_of_rows_is_no_matter(drawn):
    rows, random = drawn
    a = [row(i, one, clip=clip, task=task) for i, (one, _, clip, task) in enumerate(rows)]
    b = [row(i, other, clip=clip, task=task) for i, (_, other, clip, task) in enumerate(rows)]
    found = compare(a, b, seed=3)
    turned = compare(b, a, seed=3)
    for part, mirrored in zip((found.total, *found.parts), (turned.total, *turned.parts), strict=True):
        assert mirrored.difference == -part.difference
        assert (mirrored.p, mirrored.mcnemar_p, mirrored.p_holm) == (part.p, part.mcnemar_p, part.p_holm)
        assert mirrored.intervals == part.intervals[::-1]
        assert mirrored.interval == (part.interval and (-part.interval[1], -part.interval[0]))
        assert mirrored.cells["only_a"] == part.cells["only_b"]
    assert (found.design_effect, found.rows_needed) == (turned.design_effect, turned.rows_needed)
    random.shuffle(a)
    random.shuffle(b)
    again = compare(a, b, seed=3)
    assert (again.total, again.rows) == (found.total, found.rows)
    assert {(part.tag, part.value): part for part in again.parts} == {(p.tag, p.value): p for p in found.parts}


def test_the_clusters_of_all_rows_are_those_of_every_part():
    """A label that one clip alone has: its ten rows are one draw, not ten."""
    a = [row(number, False, clip=number // 10, clipname=str(number // 10)) for number in range(60)]
    found = compare(a, [replace(one, correct=one.id < "q010") for one in a])
    gained = next(part for part in found.parts if part.value == "0")
    assert (gained.difference, gained.clusters, gained.p) == (1, 1, 1)
    assert gained.mcnemar_p == mcnemar_exact(0, 10) < 0.01
    assert gained.interval is None
    assert found.design_effect == pytest.approx(10, rel=0.25)
    assert found.rows_needed == rows_for_gain(0.02, 1 / 6, found.design_effect) > 5 * rows_for_gain(0.02, 1 / 6)


def test_the_interval_is_the_clustered_one_and_the_seed_is_its_own():
    generator = np.random.default_rng(0)
    swayed = generator.random(40)
    b = [row(n, bool(generator.random() < swayed[n // 5]), clip=n // 5) for n in range(200)]
    a = [replace(one, correct=bool(generator.random() < 0.5)) for one in b]
    low, high = compare(a, b).total.interval or (0, 0)
    assert compare(a, b).total.interval == (low, high)
    assert compare(a, b, seed=1).total.interval != (low, high)
    names = [one.id for one in a]
    alone = paired_bootstrap([one.correct for one in a], [one.correct for one in b], names, seed=0).interval
    assert high - low > 1.3 * (alone[1] - alone[0])


def test_several_runs_against_one_are_corrected_for_being_several():
    a = run("-" * 20 + "+" * 20)
    found = [compare(a, run("-" * drop + "+" * (40 - drop))).total for drop in (10, 14, 20)]
    assert [part.p_holm for part in corrected(found)] == holm([part.p for part in found])


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Three samples files of the same 40 questions, ever better."""
    paths = [tmp_path / f"samples_{name}.jsonl" for name in ("first", "second", "third")]
    for path, right in zip(paths, (10, 20, 35), strict=True):
        write_outcomes(path, run("+" * right + "-" * (40 - right)))
    return list(map(str, paths))


def test_the_command_tells_every_comparison_and_every_row(runs: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["compare", *runs, "--json", "--gain", "5"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(one["a"], one["b"]) for one in told["comparisons"]] == [(runs[0], runs[1]), (runs[0], runs[2])]
    second = told["comparisons"][1]
    assert (second["total"]["difference"], second["gain"]) == (0.625, 0.05)
    assert second["rows"]["only_b"] == [f"q{number:03}" for number in range(10, 35)]
    ps = [one["total"]["p"] for one in told["comparisons"]]
    assert [one["total"]["p_holm"] for one in told["comparisons"]] == holm(ps)
    assert main(["compare", *runs[:2], "--rows", "only_b"]) == 0
    assert capsys.readouterr().out.split() == [f"q{number:03}" for number in range(10, 20)]
    assert main(["compare", *runs[:2]]) == 0
    shown = capsys.readouterr().out
    assert "+25.0 points" in shown
    assert "By task" in shown
    assert main(["compare", *runs[:2]]) == 0
    assert capsys.readouterr().out == shown


def test_what_a_run_says_of_its_own_models_is_the_total_of_a_comparison():
    before, after = run("+-+-+-++--+-"), run("+++-++++--++")[::-1]
    told, total = difference(before, after, 7), compare(before, after).total
    assert (told["n"], told["difference"], told["p"], told["mcnemar_p"]) == (12, 0.25, total.p, total.mcnemar_p)
    assert [told[key] for key in ("both_right", "only_before", "only_after", "both_wrong")] == list(
        total.cells.values()
    )
    assert told["interval"] == pytest.approx(total.interval, abs=0.05)  # of another draw
    assert difference(before, before, 7)["interval"] is None  # nothing is so sure that it has no width
    low, high = difference(run("----"), run("++-+"), 7)["interval"]
    assert (low, high) == (-1, 1)  # two clips: Student's t would reach beyond what a difference can be
    with pytest.raises(DataError, match="another gold answer"):
        difference(before, [replace(one, target="cow") for one in after], 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{0}"], "at least two runs are needed, and 1 given"),
        (["{0}", "{1}", "{2}", "--rows", "only_a"], "two runs are needed, and 3 given"),
        (["{0}", "{1}", "--rows", "only_a", "--json"], "--json has the ids of all cells"),
        (["{0}", "{list}"], "list.jsonl: no evaluated rows, which stand one a line: predictions"),
        (["{0}", "{1}", "--gain", "0"], "--gain is 0 points"),
        (["{0}", "{1}", "--rows", "only_c"], "invalid choice"),
        (["{0}", "nowhere.jsonl"], "there is no nowhere.jsonl"),
        (["{0}", "{1}", "--label", "x"], "chooses within a run folder"),
        (["{0}", "{folder}", "--label", "forth"], "did you mean 'fourth'"),
        (["{0}", "{folder}"], "none is the last; choose one with --label"),
        (["{0}", "{torn}"], "torn.jsonl:40: the last line is cut off"),
        (
            ["{0}", "{other}"],
            "other.jsonl:1: a prediction, not scored yet; name its benchmark: --benchmark NAME --gold FILE",
        ),
        (["{0}", "{broken}"], "results_first.json is no JSON"),
        (["{0}", "{1}", "--comon"], "did you mean '--common'"),
    ],
)
def test_mistakes_are_sentences(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("fourth", "fifth"):
        write_outcomes(folder / f"samples_{name}.jsonl", run("+-"))
    (tmp_path / "torn.jsonl").write_text(Path(runs[1]).read_text(encoding="utf-8")[:-40], encoding="utf-8")
    (tmp_path / "other.jsonl").write_text('{"id": "q000", "model_output": "dog"}\n', encoding="utf-8")
    (tmp_path / "list.jsonl").write_text('[{"id": "q000", "model_output": "dog"}]', encoding="utf-8")
    names = {name: str(tmp_path / f"{name}.jsonl") for name in ("torn", "other", "list")}
    shutil.copytree(folder, tmp_path / "broken")
    (tmp_path / "broken" / "results_first.json").write_text("{")
    write_outcomes(tmp_path / "broken" / "samples_first.jsonl", run("+-"))
    assert (
        main(
            ["compare", *(word.format(*runs, folder=folder, broken=tmp_path / "broken", **names) for word in arguments)]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_predictions_are_scored_and_compared(testdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    gold = testdata / "text" / "mmau-test-mini.json"
    published = json.loads(gold.read_text(encoding="utf-8"))
    files = {
        "first.jsonl": [{"id": row["id"], "model_output": row["choices"][0]} for row in published],
        "gold.jsonl": [{"id": row["id"], "model_prediction": row["answer"]} for row in published],
    }
    for name, rows in files.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    names = [str(tmp_path / name) for name in files]
    assert main(["compare", *names, "--benchmark", "mmau", "--gold", str(gold), "--scorer", "exact", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["comparisons"]
    assert found["total"]["accuracy"] == [0.395, 1.0]  # "always the first option": SCORING's 39.5 %
    assert found["total"]["cells"] == {"both_right": 395, "only_a": 0, "only_b": 605, "both_wrong": 0}
    assert {part["tag"] for part in found["parts"]} >= {"task", "difficulty", "sub-category"}
    assert sum(part["n"] for part in found["parts"] if part["tag"] == "task") == 1000


def said_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `auscult compare`."""
    code = main(["compare", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_runs_of_different_rules_are_not_subtracted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    strict, kind, old = (tmp_path / f"samples_{name}.jsonl" for name in ("strict", "kind", "old"))
    write_outcomes(strict, run("+---" * 10), rule="string_match")
    write_outcomes(kind, run("++--" * 10))
    old.write_text(re.sub(r', "scorer": "choice"', "", kind.read_text(encoding="utf-8")), encoding="utf-8")
    code, out, err = said_of(capsys, strict, kind)
    assert (code, out) == (2, "")
    assert f"{strict} is right by string_match, {kind} by choice, so their difference would be the rules' too" in err
    code, out, _ = said_of(capsys, strict, kind, "--across-rules")
    assert code == 0
    assert f"A  {strict}, right by string_match\nB  {kind}, right by choice\n" in out
    assert "the difference is the rules' too." in out
    assert said_of(capsys, kind, kind)[0] == 0
    code, out, _ = said_of(capsys, strict, old)
    assert code == 0
    assert f"B  {old}, rule unknown" in out
    assert main(["errors", str(strict)]) == 0
    assert "right by string_match" in capsys.readouterr().out


def test_rows_of_two_evaluations_in_one_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    parts = [tmp_path / name for name in ("one.jsonl", "other.jsonl", "both.jsonl")]
    write_outcomes(parts[0], run("+-"), rule="string_match")
    write_outcomes(parts[1], [replace(one, id=f"x{one.id}") for one in run("+-")])
    parts[2].write_text("".join(part.read_text(encoding="utf-8") for part in parts[:2]), encoding="utf-8")
    code, _, err = said_of(capsys, parts[2], parts[2])
    assert code == 2
    assert "`scorer` is 'string_match' in line 1 and 'choice' in line 3; keep rows of one evaluation" in err


def test_questions_that_a_file_of_ids_chose_have_a_difference_and_no_p(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """B was asked what A got wrong, so it cannot but gain."""
    first, again, third = (tmp_path / f"samples_{name}.jsonl" for name in ("first", "again", "third"))
    rows = run("+-" * 20)
    asked = [replace(one, correct=number < 7) for number, one in enumerate(one for one in rows if not one.correct)]
    write_outcomes(first, rows)
    write_outcomes(again, asked, only="ab" * 32)
    write_outcomes(third, [replace(one, correct=True) for one in asked], only="ab" * 32)
    code, out, _ = said_of(capsys, first, again, "--common")
    assert code == 0
    assert "+35.0 points, of a selection." in out
    assert "a file of ids chose what B was asked (--only)" in out
    assert " p by" not in out
    assert "80% power" not in out
    told = json.loads(said_of(capsys, first, again, "--common", "--json")[1])
    [found] = told["comparisons"]
    for part in (found["total"], *found["parts"]):
        assert (part["p"], part["mcnemar_p"], part["p_holm"], part["interval"]) == (None, None, None, None)
    assert [one["only"] for one in told["runs"]] == [None, "ab" * 32]
    [alike] = json.loads(said_of(capsys, again, third, "--json")[1])["comparisons"]
    assert alike["total"]["p"] < 0.05, "both were asked the same questions"


def test_missing_answers_are_counted_among_the_rows_that_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def silent(one: Outcome) -> Outcome:
        return replace(one, parsed=Parsed(None, "no_prediction"), correct=False)

    whole, part = tmp_path / "samples_whole.jsonl", tmp_path / "samples_part.jsonl"
    rows = run("+-" * 10)
    write_outcomes(whole, [*rows[:8], *map(silent, rows[8:])])
    write_outcomes(part, [*map(silent, rows[:3]), *rows[3:10]])
    _, out, _ = said_of(capsys, whole, part, "--common")
    assert "No answer 2 of 10 3 of 10" in [" ".join(line.split()) for line in out.splitlines()]
    [found] = json.loads(said_of(capsys, whole, part, "--common", "--json")[1])["comparisons"]
    assert found["unread"] == [{"no_prediction": 2}, {"no_prediction": 3}]


def test_a_run_that_a_judge_graded_says_that_its_grades_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def graded(number: int, grade: float | None) -> Rating:
        right = None if grade is None else grade > 0
        return Rating(str(number), "?", "a", "a", Parsed("a"), right, str(number), {}, grade, (grade,), (), (), None)

    path = tmp_path / "samples_mmar-rubrics.jsonl"
    write_ratings(path, [graded(number, grade) for number, grade in enumerate((0.5, 0.25, 0.0, 0.25))], "rubrics")
    code, out, _ = said_of(capsys, path, path)
    assert code == 0
    assert f"A  {path}, right by string_match" in out
    note = "is graded by rubrics: counted here is whether answers are right by string_match, not that score (25.00)"
    assert out.count(note) == 2
    assert main(["errors", str(path)]) == 0
    assert note in capsys.readouterr().out
    write_ratings(path, [graded(0, 1.0), graded(1, None)], "binary")
    code, _, err = said_of(capsys, path, path)
    assert code == 2
    assert f"{path}:2: its judgement failed; the `auscult score` that wrote the file asks the judge again" in err
    assert "by scoring predictions" not in err


def test_predictions_are_compared_with_all_that_score_says_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [
        {
            "id": str(n),
            "audio_id": f"{n}.wav",
            "question": f"Which of {n}?",
            "choices": ["a", "b"],
            "answer": "ab"[n % 2],
        }
        for n in range(10)
    ]
    gold, given = tmp_path / "gold.json", tmp_path / "given.jsonl"
    gold.write_text(json.dumps([*rows, rows[3]]))
    lines = [json.dumps({**row, "model_output": "a"}) for row in rows[:9]]
    lines[0] = json.dumps({**rows[0], "question": "Another?", "model_output": "a"})
    torn = '{"id": "9", "mod'
    given.write_text("\n".join([*lines, lines[1], json.dumps({"id": "77", "model_output": "a"}), torn, ""]))
    other = "Rows that carry another question or answer than the gold file, so made for another version of it"
    twice = "Rows of the gold file whose question has occurred before, word for word: it counts once"
    expected = [
        f"Rows that are no JSON: 1, namely 9 ({given}:12).",
        f"Rows whose id has occurred before, with the same prediction: 1, namely 1 ({given}:10).",
        f"Rows for questions that the benchmark does not have: 1, namely 77 ({given}:11).",
        "Questions without a row: 1, namely 9.",
        f"{other}: 1, namely 0 ({given}:1).",
        f"{twice}: 1, namely 3 ({gold}[10]).",
        "The gold has 10 questions of 1,000: this is no score of the whole benchmark.",
        f"The gold is a file that is not known (sha256 {hashlib.sha256(gold.read_bytes()).hexdigest()[:12]}).",
    ]
    options = "--benchmark", "mmau", "--gold", str(gold)
    for verb in (["errors", str(given)], ["compare", str(given), str(given)]):
        assert main([*verb, *options]) == 0
        said = capsys.readouterr().out
        assert [note for note in expected if note not in said] == []
    assert main(["errors", str(given), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == expected
    assert main(["score", "mmau", str(given), "--gold", str(gold), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"]["gold_repeated"] == 1
