"""The page without a browser: whole, the same each time, and silent about nothing that is missing."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auscult.core.errors import RunError
from auscult.report.page import write_page

Edit = Callable[[Path, Callable[[Any], None]], None]


def page_of(run: Path) -> str:
    return write_page(run).read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    first = write_page(run).read_bytes()
    os.utime(run / "config.yaml", (0, 0))
    assert write_page(run).read_bytes() == first


def test_the_page_is_replaced_whole_and_leaves_nothing_beside_it(run: Path, edit: Edit) -> None:
    before = write_page(run).read_bytes()
    assert {path.name for path in run.iterdir() if "report" in path.name} == {"report.html"}
    edit(run / "results_sft.json", lambda row: row.pop("n"))
    with pytest.raises(RunError):
        write_page(run)
    assert (run / "report.html").read_bytes() == before


def test_a_page_that_cannot_be_written_says_so_and_cleans_up(run: Path) -> None:
    (run / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html cannot be written"):
        write_page(run)
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_nothing_is_fetched_from_anywhere(run: Path) -> None:
    page = page_of(run)
    assert re.findall(r'(?:src|href|data|action)="(?!data:audio/wav;base64,|#run")', page) == []
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_every_missing_part_is_said(run: Path) -> None:
    for part in ("sft", "grpo", "rollouts"):
        shutil.rmtree(run / part)
    for file in run.glob("*.json"):
        file.unlink()
    page = page_of(run)
    for part in ("Accuracy", "Accuracy and its baselines", "A paired comparison", "Accuracy by task",
                 "Replies without an answer", "Sampled rollouts"):  # fmt: skip
        assert f"{part}: not measured." in page
    assert "Nothing was trained in this run." in page
    (run / "grpo").mkdir()
    assert "Curves of GRPO: not measured." in page_of(run)
    assert page.count("not recorded") == 6


def test_an_expected_curve_or_baseline_that_was_not_measured_is_said(run: Path, edit: Edit) -> None:
    whole = page_of(run).count("not measured")
    edit(run / "grpo" / "metrics.jsonl", lambda rows: [row.pop("heldout/accuracy", None) for row in rows])
    edit(run / "results_grpo.json", lambda row: row["baselines"].pop("silence"))
    edit(run / "results_sft.json", lambda row: row["by"]["task"].pop("count"))
    page = page_of(run)
    assert page.count("not measured") == whole + 3
    assert page.count("--train.check_every 50") == 1
    assert page.count('<h4 dir="auto">Held-out accuracy</h4>') == 1


def test_a_policy_gradient_loss_is_folded_away_and_no_title_is_a_raw_key(run: Path) -> None:
    sft, grpo = page_of(run).split("<bdi>GRPO</bdi></h3>")
    assert ">Loss<" in sft
    assert ">Loss<" not in grpo
    assert grpo.index("<details>") < grpo.index("Surrogate loss, near 0 by construction") < grpo.index("<code>loss<")
    titles = re.findall(r"<h4[^>]*>([^<]+)<", sft + grpo)
    assert [title for title in titles if "/" in title or "_" in title or title.islower()] == []


def test_guessing_stands_beside_the_accuracy_of_each_task(run: Path) -> None:
    page = page_of(run)
    row = re.search(r"<tr><th[^>]*>pitch.*?</tr>", page, re.DOTALL)
    assert row
    assert ">Chance 20.0%<" in row[0]
    assert ">Majority 22.5%<" in row[0]
    assert row[0].count('class="guess" x1="22.50%"') == 3
    assert "commonest answer of its kind of question" in page


def test_clips_that_were_cut_are_told_where_they_counted(run: Path, edit: Edit) -> None:
    assert "heard as it is" not in page_of(run)
    edit(run / "results_sft.json", lambda row: row.update(media={"clips": 240, "trimmed_clips": 2}))
    edit(run / "grpo" / "metrics.jsonl", lambda rows: [row.update({"media/silent_clips": 1}) for row in rows[:3]])
    page = page_of(run)
    assert "After SFT: of 240 clips 2 were cut to the longest that the model hears" in page
    assert "heard as it is: 3 held nothing but silence." in page


def test_a_clip_that_several_questions_are_about_is_embedded_once(run: Path, edit: Edit) -> None:
    def share(rows: list[dict[str, Any]]) -> None:
        rows[7]["media"] = rows[12]["media"] = rows[2]["media"]

    edit(run / "rollouts" / "showcase.jsonl", share)
    page = page_of(run)
    assert page.count("<audio") == page.count("data:audio/wav;base64,") == 18
    cards = [re.findall(r"Rollout scenes/heldout/0*(\d+)", card) for card in page.split('<div class="card heard')]
    assert ["2", "7", "12"] in cards
    assert sum(map(len, cards)) == 20


def test_frames_of_which_no_file_is_kept_are_said_and_not_mixed_up(run: Path, edit: Edit) -> None:
    frames = [{"kind": "frames", "file": None, "seconds": 3.0}]
    edit(run / "rollouts" / "showcase.jsonl", lambda rows: [row.update(media=frames) for row in rows[:2]])
    page = page_of(run)
    assert "2 of 20 clips cannot be heard" in page
    assert page.count('<div class="card heard">') == 20


def test_the_page_of_one_evaluated_model_speaks_of_nothing_else(run: Path, edit: Edit) -> None:
    for name in ("results_start.json", "results_sft.json", "results_comparison.json"):
        (run / name).unlink()
    for name in ("sft", "grpo"):
        shutil.rmtree(run / name)
    edit(run / "results_grpo.json", lambda row: row.update(label="model"))
    page = page_of(run)
    assert "<bdi>Model</bdi>" in page
    assert "questions: 82.1%." in page
    assert "paired comparison" not in page


def test_clips_that_cannot_be_heard_are_named_on_the_card_and_counted_on_top(run: Path, edit: Edit) -> None:
    outside = run.parent / "secret.wav"
    shutil.copy(next((run / "media").iterdir()), outside)
    (run / "media" / f"{0:064x}.wav").unlink()
    (run / "media" / f"{1:064x}.wav").write_bytes(b"RIFF0000WAVEjunk")
    (run / "media" / f"{4:064x}.wav").unlink()
    (run / "media" / f"{4:064x}.wav").symlink_to(outside)

    def change(rows: list[dict[str, Any]]) -> None:
        rows[2]["media"][0]["file"] = "../secret.wav"
        rows[3]["media"][0] = {"kind": "frames", "file": "config.yaml", "seconds": None}

    edit(run / "rollouts" / "showcase.jsonl", change)
    page = page_of(run)
    assert "5 of 20 clips cannot be heard" in page
    assert page.count("<audio") == 15
    assert page.count(f"{0:064x}.wav</code> is missing") == 1
    assert page.count(f"{0:064x}.wav</code> of scenes/heldout/00000 is missing") == 1
    assert "cannot be decoded" in page
    assert page.count("lies outside of the run folder") == 4
    assert "config.yaml</code> is no frames that a browser shows" in page


def test_ungraded_is_not_zero(run: Path, edit: Edit) -> None:
    edit(run / "rollouts" / "showcase.jsonl", lambda rows: rows[0].update(parts={"judge": None}, total=None))
    assert page_of(run).count("not graded") == 2


def test_a_measurement_nobody_foresaw_is_drawn_too(run: Path, edit: Edit) -> None:
    edit(run / "sft" / "metrics.jsonl", lambda rows: [row.update({"cache/hits": 3}) for row in rows])
    page = page_of(run)
    assert "4 more measured quantities of SFT" in page
    assert "Cache hits" in page
    assert "<code>cache/hits</code>" in page


def test_half_a_surrogate_pair_is_shown_by_its_escape(run: Path, edit: Edit) -> None:
    edit(run / "rollouts" / "showcase.jsonl", lambda rows: rows[0].update(reply="torn \ud83d emoji"))
    assert "torn \\ud83d emoji" in page_of(run)


def put(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def manifest(number: int, decision: str) -> dict[str, Any]:
    prompts = {"unsolved": 10, "hard": 20, "middle": 30, "easy": 25, "solved": 15, "unanswered": 0}
    before, after = ({"accuracy": share, "n": 200, "interval": [0.3, 0.6]} for share in (0.45, 0.4))
    return {
        "iteration": number, "decision": decision, "prompts": prompts,
        "replies": {"right": 800, "wrong": 780, "empty": 20, "failed": 0},
        "kept": {"hard": {"prompts": 20, "replies": 50, "weight": 50.0}},
        "heldout": {"before": before, "after": after, "difference": -0.05, "interval": [-0.09, -0.01]},
    }  # fmt: skip


def test_iterations_of_self_training_show_their_rates_and_what_came_of_them(run: Path) -> None:
    for number, decision in ((1, "kept"), (2, "rolled back"), (10, "nothing to learn")):
        row = manifest(number, decision) | ({"heldout": None, "kept": {}} if number == 10 else {})
        put(run / "rest" / f"iteration-{number}" / "manifest.json", row)
    put(run / "rest" / "metrics.jsonl", {"step": 1, "pass/hard": 0.2})
    put(run / "rest" / "iteration-1" / "metrics.jsonl", {"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.0})
    page = page_of(run)
    order = [
        "<bdi>SFT<",
        "<bdi>ReST<",
        "Iteration 1: kept",
        "Iteration 2: rolled back",
        "Iteration 10: nothing to learn",
    ]
    places = [page.index(words) for words in [*order, "<bdi>ReST, iteration 1<", "<bdi>GRPO<"]]
    assert places == sorted(places)
    assert "800 right, 780 wrong, 20 empty; 50 imitated" in page
    assert "45.0%, then 40.0%: \N{MINUS SIGN}5.0 points" in page
    assert page.count(">to 25%</text>") == 3
    assert "no rate" not in page


def test_a_manifest_that_cannot_be_is_an_error_that_names_it(run: Path) -> None:
    row = manifest(1, "kept")
    row["prompts"]["hard"] = -1
    put(run / "rest" / "iteration-1" / "manifest.json", row)
    with pytest.raises(RunError, match=r"iteration-1/manifest\.json.*hard"):
        write_page(run)


def test_the_standard_error_is_that_of_the_interval_beside_it(run: Path, edit: Edit) -> None:
    def shown() -> str:
        page = write_page(run).read_text(encoding="utf-8")
        return page[page.index("Standard error, clustered by group") :][:400]

    assert shown().count("3.4%") == 3
    assert "120 groups, CR2" in shown()
    for label in ("start", "sft", "grpo"):
        edit(run / f"results_{label}.json", lambda row: row.pop("cr2_se"))
    assert shown().count("3.1%") == 3, "as an earlier version wrote it"
    assert "120 groups, CR0" in shown()
