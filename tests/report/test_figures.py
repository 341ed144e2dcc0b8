"""The reader takes what is there, counts what is not a number, and refuses what contradicts itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auscult.core.errors import RunError
from auscult.report.figures import Comparison, Result, Share
from auscult.report.reading import figures_of
from auscult.report.words import between, claim, duration, error, evidence, headline, percent, points, unheard

Edit = Callable[[Path, Callable[[Any], None]], None]


def test_a_complete_run_is_read_in_time_order(run: Path) -> None:
    found = figures_of(run)
    assert [result.label for result in found.results] == ["start", "sft", "grpo"]
    assert found.results[2].total.correct == 197
    assert found.results[2].by["task"]["pitch"].accuracy == 0.85
    assert found.baselines_of("task", "pitch") == {"chance": Share(0.2), "majority": Share(0.225)}
    assert list(found.results[0].total.baselines) == ["chance", "majority", "shuffled", "silence"]
    assert [stage.name for stage in found.stages] == ["sft", "grpo"]
    assert len(found.stages[1].curves["heldout/accuracy"].points) == 7
    assert len(found.rollouts) == 20
    assert dict(found.environment)["Took"] == "12 min 22 s"
    assert dict(found.environment)["Hardware"] == "Intel Xeon Platinum 8481C, 2 cores, 7.8 GiB memory, no GPU"


def test_parts_that_are_not_there_are_empty(run: Path) -> None:
    for part in ("sft", "grpo", "rollouts"):
        shutil.rmtree(run / part)
    for file in run.glob("*.json"):
        file.unlink()
    found = figures_of(run)
    assert not found.results
    assert not found.comparisons
    assert not found.rollouts
    assert not found.stages
    assert set(dict(found.environment).values()) == {None}


def test_another_stage_that_left_metrics_is_not_forgotten(run: Path) -> None:
    (run / "distil").mkdir()
    shutil.copy(run / "sft" / "metrics.jsonl", run / "distil" / "metrics.jsonl")
    assert [stage.name for stage in figures_of(run).stages] == ["sft", "grpo", "distil"]


def test_values_that_are_no_numbers_are_counted_and_named(run: Path, edit: Edit) -> None:
    edit(run / "sft" / "metrics.jsonl", lambda rows: rows[3].update(loss=float("nan"), note="warm-up over"))
    edit(run / "sft" / "metrics.jsonl", lambda rows: rows[4].update(loss=None))
    stage = figures_of(run).stages[0]
    assert stage.curves["loss"].not_finite == 2
    assert len(stage.curves["loss"].points) == 158
    assert stage.not_numbers == ("note",)


@pytest.mark.parametrize(
    ("file", "how", "says"),
    [
        ("results_sft.json", lambda row: row.pop("label"), "results_sft.json: key 'label' is missing"),
        ("results_sft.json", lambda row: row.update(accuracy=57.1), "'accuracy' is 57.1, not a fraction"),
        ("results_sft.json", lambda row: row.update(accuracy=0.9), "correct / n is 137 / 240"),
        ("results_sft.json", lambda row: row.update(accuracy=True), "'accuracy' is True, not a number"),
        ("results_sft.json", lambda row: row.update(interval=[0.7, 0.2]), "'interval' is [0.7, 0.2]"),
        ("results_sft.json", lambda row: row.update(label="grpo"), "two results_*.json files have the label 'grpo'"),
        ("results_sft.json", lambda row: row["unparsed"].update(empty=-1), "in 'unparsed': key 'empty' is -1"),
        ("results_sft.json", lambda row: row["by"]["task"]["count"].pop("n"), "in 'count': key 'n' is missing"),
        ("results_comparison.json", lambda rows: rows[1].update(n=9), "item 2: key 'n' is 9, but the four counts"),
        ("results_comparison.json", lambda rows: rows[0].update(difference=-0.35), "(only_after - only_before) / n"),
        ("grpo/metrics.jsonl", lambda rows: rows[7].pop("step"), "metrics.jsonl, line 8: key 'step' is missing"),
        ("rollouts/showcase.jsonl", lambda rows: rows[2].update(reply=3), "showcase.jsonl, line 3: key 'reply' is 3"),
        ("rollouts/showcase.jsonl", lambda rows: rows[2].update(choices="abc"), "key 'choices' is 'abc', not a list"),
        ("rollouts/showcase.jsonl", lambda rows: rows[2]["media"][0].pop("file"), "media 1: key 'file' is missing"),
        ("environment.json", lambda row: row.update(seconds="long"), "environment.json: key 'seconds' is 'long'"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_file_and_key(
    run: Path, edit: Edit, file: str, how: Callable[[Any], None], says: str
) -> None:
    edit(run / file, how)
    with pytest.raises(RunError) as caught:
        figures_of(run)
    assert says in str(caught.value)


def test_a_difference_may_have_no_interval(run: Path, edit: Edit) -> None:
    edit(run / "results_comparison.json", lambda rows: rows[0].update(interval=None))
    first, second = figures_of(run).comparisons
    assert (first.interval, second.interval) == (None, (0.183, 0.317))


def test_a_line_that_a_kill_cut_off_is_left_out_and_a_broken_one_names_its_number(run: Path) -> None:
    whole = figures_of(run)
    with (run / "grpo" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 241, "lo')
    assert figures_of(run) == whole
    with (run / "grpo" / "metrics.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl.*line 248"):
        figures_of(run)


def test_only_a_newline_ends_a_row(run: Path, edit: Edit) -> None:
    """U+2028 stands unescaped in JSON strings of other writers; `str.splitlines` would cut the row there."""
    path = run / "rollouts" / "showcase.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Which digit", "Which\N{LINE SEPARATOR}digit"), encoding="utf-8")
    assert len(figures_of(run).rollouts) == 20


@pytest.mark.parametrize("content", [None, "notes.txt"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "elsewhere"
    if content:
        folder.mkdir()
        (folder / content).write_text("hello")
    with pytest.raises(RunError, match="give the folder that `auscult run` wrote"):
        figures_of(folder)


def test_an_open_question_has_no_verdict_of_ours(run: Path, edit: Edit) -> None:
    edit(run / "rollouts" / "showcase.jsonl", lambda rows: rows[0].update(choices=[]))
    verdicts = [shown.verdict for shown in figures_of(run).rollouts[:5]]
    assert verdicts == ["open", "right", "wrong", "right", "unparsed"]


def test_words() -> None:
    assert percent(0.8208) == "82.1%"
    assert percent(None) == "not measured"
    assert points(-0.05) == "\N{MINUS SIGN}5.0"
    assert between((0.772, 0.876)) == "77.2 to 87.6%"
    assert [duration(seconds) for seconds in (3.21, 59.97, 462, 7500)] == [
        "3.2 s",
        "60.0 s",
        "7 min 42 s",
        "2 h 05 min",
    ]
    assert headline(()) == "Accuracy: not measured."


def test_an_interval_that_includes_zero_is_said() -> None:
    pair = Comparison("sft", "grpo", 100, 0.02, (-0.04, 0.08), 0.62, 60, 8, 10, 22)
    assert "includes 0: no difference is shown" in evidence(pair)
    assert "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.620" in evidence(pair)
    few = Comparison("sft", "grpo", 132, 4 / 132, (0.007, 0.059), 0.125, 91, 0, 4, 37)
    assert "Too few answers changed" in evidence(few)
    assert claim(pair) == "After GRPO against after SFT"
    same = Comparison("sft", "grpo", 9, 0.0, None, 1.0, 5, 0, 0, 4)
    assert evidence(same).startswith("95% interval not measured, McNemar")


def evaluated(label: str = "model", accuracy: float = 0.5, se: float | None = 0.03, groups: int = 12) -> Result:
    total = Share(accuracy, (0.4, 0.6), 100, round(100 * accuracy))
    return Result(label, 0, "think", "choice", total, se, groups, {}, {}, {})


def test_a_clustered_error_says_what_it_is_clustered_by() -> None:
    assert error(evaluated()) == ("3.0%", "12 groups, CR2")
    assert error(replace(evaluated(), correction="CR0")) == ("3.0%", "12 groups, CR0")
    assert error(evaluated(groups=100)) == ("3.0%", "every question its own group, CR2")
    assert error(evaluated(se=None, groups=1)) == ("none", "not enough groups for a clustered error")
    assert error(evaluated(se=None, accuracy=0.0)) == ("none", "all answers alike")


def test_one_evaluated_model_needs_no_when() -> None:
    assert headline([evaluated()]) == "Accuracy on 100 held-out questions: 50.0%."
    asked = replace(evaluated(), benchmark="MMAU test-mini")  # whoever brings a benchmark may have trained on it
    assert headline([asked]) == "Accuracy on 100 questions of MMAU test-mini: 50.0%."


def test_clips_that_were_not_heard_as_they_are_are_told() -> None:
    assert unheard({"clips": 1200, "trimmed_clips": 0, "chunked_clips": 0}) == ""
    assert unheard({"clips": 1200, "silent_clips": 3, "trimmed_clips": 1}) == (
        "of 1,200 clips 3 held nothing but silence, 1 was cut to the longest that the model hears"
    )
