"""A run that described sounds, as the page and the terminal tell it."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from rich.console import Console

from auscult.core.errors import RunError
from auscult.report.page import write_page
from auscult.report.reading import figures_of
from auscult.report.table import print_table

Edit = Callable[[Path, Callable[[Any], None]], None]


def measures(cider: float, **more: Any) -> dict[str, Any]:
    scores = {f"bleu_{n}": round(0.7 / n, 3) for n in range(1, 5)}
    return {
        "n": 300, **scores, "rouge_l": 0.431, "cider_d": cider, "clustered_se": 0.021, "clusters": 280, "empty": 4,
        "intervals": {"rouge_l": [0.41, 0.452], "cider_d": [round(cider * 0.9, 4), round(cider * 1.1, 4)]},
        "unparsed": {"no_answer": 4}, **more,
    }  # fmt: skip


def result(label: str, order: int, cider: float) -> dict[str, Any]:
    beside = {"constant": measures(0.217, caption="a <b>tone</b> is heard", candidates=900)}
    if order:
        beside |= {"shuffled": measures(0.19), "silence": measures(0.05)}
    made = {"label": label, "order": order, "form": "label", "scorer": "captions", "media": {"clips": 300}}
    return {**made, **measures(cider), "baselines": beside}


def pair(before: str, after: str, difference: float, interval: list[float] | None) -> dict[str, Any]:
    found = {"metric": "cider_d", "n": 300, "difference": difference, "interval": interval}
    return {"before": before, "after": after, **found, "better": 180, "alike": 40, "worse": 80}


@pytest.fixture
def described(run: Path, edit: Edit) -> Path:
    """The run folder of the other tests with captions in place of answers."""
    for name, cider in (("start", 0.004), ("sft", 0.655), ("grpo", 0.812)):
        order = ("start", "sft", "grpo").index(name)

        def rewrite(row: dict[str, Any], name: str = name, order: int = order, cider: float = cider) -> None:
            row.clear()
            row.update(result(name, order, cider))

        edit(run / f"results_{name}.json", rewrite)
    pairs = [
        pair("start", "sft", 0.651, [0.6, 0.7]),
        pair("sft", "grpo", 0.157, [0.101, 0.213]),
        pair("grpo_constant", "grpo", 0.595, [0.5, 1.69]),
        pair("grpo_constant", "grpo_shuffled", -0.027, [-0.06, 0.006]),
    ]
    edit(run / "results_comparison.json", lambda rows: rows.__setitem__(slice(None), pairs))
    for stage in ("sft", "grpo"):
        edit(run / stage / "metrics.jsonl", lambda rows: [row.pop("heldout/accuracy", None) for row in rows])
        edit(run / stage / "metrics.jsonl", lambda rows: rows[-1].update({"heldout/cider_d": 0.6}))
    captions = ["a low tone", "one <i>low</i> tone"]
    shown = {"choices": [], "gold": captions[0], "references": captions, "reply": "a tone", "answer": "a tone"}
    edit(run / "rollouts" / "showcase.jsonl", lambda rows: [row.update(shown) for row in rows])
    frames = [{"kind": "frames", "file": None, "seconds": 10.0}]
    edit(run / "rollouts" / "showcase.jsonl", lambda rows: [row.update(media=frames) for row in rows[:7]])
    return run


def printed(run: Path) -> str:
    out = io.StringIO()
    print_table(run, Console(file=out, width=160, color_system=None))
    return out.getvalue()


def test_page_and_terminal_say_cider_and_nothing_of_accuracy(described: Path) -> None:
    page, out = html.unescape(write_page(described).read_text()), printed(described)
    for told in (page, out):
        assert "CIDEr-D on 300 held-out clips: 0.004 at the start, 0.655 after SFT, 0.812 after GRPO." in told
        for number in ("0.731 to 0.893", "0.217", "0.190", "0.050", "0.431", "+0.157", "+0.101 to +0.213"):
            assert number in told, number
        assert "After GRPO with another's media against the best constant caption" in told
        assert "180 are described better, 80 worse, 40 as well" in told
        assert told.count("The interval includes 0: no difference is shown.") == 1
        assert "ccuracy" not in told
    assert "4 of 300" in page
    assert "Held-out CIDEr-D" in page


def test_references_stand_beside_the_reply_and_stay_text(described: Path) -> None:
    page = write_page(described).read_text()
    assert page.count("one &lt;i&gt;low&lt;/i&gt; tone") == 20
    assert "a &lt;b&gt;tone&lt;/b&gt; is heard" in page
    assert page.count("<dt>Accepted</dt>") == 0


def test_features_have_no_player_and_are_counted_once(described: Path) -> None:
    page = write_page(described).read_text()
    assert page.count("<audio") == 13
    assert "7 of 20 clips cannot be heard" in page
    assert "7 are features, of which no recording is kept" in page
    assert page.count("Frames</bdi> of 10.0 seconds: no recording of it is kept") == 7
    assert "None" not in page


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("results_sft.json", {"cider_d": 10.4}, "'cider_d' is 10.4, not a score from 0 to 10"),
        ("results_sft.json", {"rouge_l": -0.2}, "'rouge_l' is -0.2, not a score from 0 to 1"),
        ("results_sft.json", {"clusters": None}, "'clusters'"),
        ("results_sft.json", {"intervals": {"cider_d": [0.7, 0.6]}}, "not [low, high] from 0 to 10"),
        ("results_comparison.json", {"worse": 81}, "the three counts add up to 301"),
    ],
)
def test_what_cannot_be_is_named(described: Path, edit: Edit, file: str, change: dict[str, Any], said: str) -> None:
    edit(described / file, lambda found: (found[0] if isinstance(found, list) else found).update(change))
    with pytest.raises(RunError) as raised:
        figures_of(described)
    assert file in str(raised.value)
    assert said in str(raised.value)


def test_a_score_that_was_not_measured_is_no_zero(described: Path, edit: Edit) -> None:
    edit(described / "results_grpo.json", lambda row: row.update(cider_d=None, intervals={"cider_d": None}))
    assert "not measured after GRPO" in printed(described)
    assert "not measured after GRPO" in write_page(described).read_text()


def test_an_iteration_of_self_training_tells_its_captions(described: Path) -> None:
    manifest = {
        "iteration": 1, "prompts": dict.fromkeys(("unsolved", "hard", "middle", "easy", "solved", "unanswered"), 1),
        "replies": {"right": 3}, "kept": {}, "decision": "kept",
        "heldout": {**pair("", "", 1.5, [1.2, 1.8]), "before": {"cider_d": 0.4}, "after": {"cider_d": 1.9}},
    }  # fmt: skip
    path = described / "rest" / "iteration-1" / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))
    (described / "rest" / "metrics.jsonl").write_text('{"step": 1, "heldout/cider_d": 1.9}\n')
    page = write_page(described).read_text()
    assert "Held-out CIDEr-D 0.400, then 1.900: +1.500 (95% interval +1.200 to +1.800)" in page


def test_the_drawing_fits_its_card(described: Path, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    try:
        page.goto(write_page(described).as_uri())
        assert page.locator("svg.chart .dot").count() > 3
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        page.close()


def test_a_baseline_whose_captions_cannot_be_read_is_said_to_prove_nothing(described: Path, edit: Edit) -> None:
    assert "proves nothing" not in printed(described)
    edit(described / "results_grpo.json", lambda row: row["baselines"]["silence"].update(unparsed={"no_answer": 290}))
    told = "After GRPO, silence: 290 of 300 replies had no readable answer (290 x no_answer) and count as wrong;"
    assert told in " ".join(printed(described).split())
    assert told in write_page(described).read_text(encoding="utf-8")
