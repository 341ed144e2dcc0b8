"""The terminal says what the page says."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from auscult.report.page import write_page
from auscult.report.table import print_table

Edit = Callable[[Path, Callable[[Any], None]], None]


def printed(run: Path, width: int = 100) -> str:
    out = io.StringIO()
    print_table(run, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_every_number_of_the_terminal_stands_on_the_page(run: Path) -> None:
    numbers = set(re.findall(r"[+\d][\d.]*%?", printed(run)))
    page = write_page(run).read_text(encoding="utf-8")
    assert {"82.1%", "+25.0", "92.5%", "21.7%", "22.5%"} <= numbers
    assert {number for number in numbers if number not in page} == set()


def test_labels_are_text_and_never_markup(run: Path, edit: Edit) -> None:
    edit(run / "results_sft.json", lambda row: row.update(label="[red]mine[/red]"))
    edit(run / "results_sft.json", lambda row: row["by"].update({"[link=x]": {"[/]": row["by"]["task"]["count"]}}))
    out = printed(run, width=160)
    assert out.count("[red]mine[/red]") == 4  # the sentence and the heads of three tables
    assert "By [link=x]" in out
    assert "[/] (n = 80)" in out


def test_missing_parts_are_said(run: Path, edit: Edit) -> None:
    (run / "results_comparison.json").unlink()
    edit(run / "results_sft.json", lambda row: row["baselines"].pop("silence"))
    for name in ("start", "sft", "grpo"):
        edit(run / f"results_{name}.json", lambda row: row.pop("by"))
    out = printed(run)
    assert "A paired comparison: not measured." in out
    assert "Accuracy by task: not measured." in out
    assert re.search(r"Silence +19.2% +not measured +19.2%", out)
    shutil.rmtree(run / "rollouts")
    for name in ("start", "sft", "grpo"):
        (run / f"results_{name}.json").unlink()
    assert "Accuracy: not measured." in printed(run)


def test_a_run_whose_replies_nobody_can_read_says_so(run: Path, edit: Edit) -> None:
    """The last model's: a model made from nothing has no readable replies at the start."""
    edit(run / "results_start.json", lambda row: row.update(unparsed={"no_answer": row["n"]}))
    assert "readable" not in printed(run)
    edit(run / "results_grpo.json", lambda row: row.update(unparsed={"no_answer": 200, "unclosed_thinking": 40}))
    said = "No reply had a readable answer: 200 x no_answer, 40 x unclosed_thinking; look at samples_grpo.jsonl."
    assert printed(run, width=140).rstrip().endswith(said)
    assert said in write_page(run).read_text(encoding="utf-8")
    edit(run / "results_grpo.json", lambda row: row.update(unparsed={"no_answer": 200, "unclosed_thinking": 39}))
    assert "readable" not in printed(run)
