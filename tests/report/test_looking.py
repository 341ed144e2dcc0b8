"""The page of a model that looks: every view of a film in its order, what the text alone gives, and how sure it is."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from rich.console import Console

from auscult.core.errors import RunError
from auscult.core.types import Image, Parsed, Sample, Turn
from auscult.evaluate.calibration import Sureness, calibration
from auscult.media.window import Display
from auscult.report.page import write_page
from auscult.report.table import print_table
from auscult.showcase import Shown, write_showcase

Edit = Callable[[Path, Callable[[Any], None]], None]
SURE = [*[Sureness(0.9, right) for right in (True, False, False, False)], *[Sureness(0.45, True)] * 2]


@pytest.fixture
def looked(run: Path, edit: Edit) -> Path:
    """A run whose last model looked at films of two views."""
    films = tuple(Image.of(np.full((12, 12, 3), grey, np.uint8)) for grey in (40, 200))
    sample = Sample(
        "study-1",
        (Turn("user", ("View 1 (PA):", films[0], "View 2 (LATERAL):", films[1], "Is there an effusion?")),),
        ("yes",),
        ("yes", "no"),
        tags={"view": "PA, LATERAL"},
    )
    parts = {"choice": 1.0, "evidence": 0.25, "token_f1": None}
    write_showcase(run, [Shown(sample, "the prompt", "B - no", Parsed("no"), parts, None)], Display())
    for label in ("start", "sft", "grpo"):
        edit(run / f"results_{label}.json", lambda row: row["baselines"].update(text_only=row["baselines"]["silence"]))
        edit(run / f"results_{label}.json", lambda row: row["baselines"].pop("silence"))
    told = calibration([*SURE, Sureness(None, False, "no_answer")])
    edit(run / "results_grpo.json", lambda row: row.update(calibration=told))
    edit(run / "results_grpo.json", lambda row: row["by"].update(view={"PA, LATERAL": row["by"]["task"]["digit"]}))
    return run


def test_both_views_stand_beside_the_reply_in_their_order(looked: Path) -> None:
    page = write_page(looked).read_text(encoding="utf-8")
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="Image (\d) of study-1"', page)
    greys = [int(np.asarray(Pillow.open(BytesIO(base64.b64decode(data)))).max()) for data, _ in found]
    assert ([number for _, number in found], greys) == (["1", "2"], [40, 200])
    reward = page[page.index("<dt>Reward</dt>") :]
    assert [word in reward[:600] for word in ("evidence", "0.25", "not graded")] == [True] * 3
    assert "PA, LATERAL" in page


def test_text_alone_takes_the_place_of_silence(looked: Path, run: Path) -> None:
    page = write_page(looked).read_text(encoding="utf-8")
    assert "Text only" in page
    assert "<bdi>Silence</bdi>" not in page
    assert "the prompt has no place for them" in page
    console = Console(record=True, width=160)
    print_table(looked, console)
    told = console.export_text()
    assert re.search(r"Text only +19.2%", told)
    assert "Silence" not in told
    assert "After GRPO: Expected calibration error 61.7%: 6 answers in 10 bins." in told


def test_a_baseline_whose_replies_cannot_be_read_is_said_to_prove_nothing(looked: Path, edit: Edit) -> None:
    """As the text alone has it of a model that was never asked without a film: 0 %, and all of it unread."""
    own = {"no_answer": 4}

    def said(unread: dict[str, int]) -> tuple[str, str]:
        edit(looked / "results_grpo.json", lambda row: row.update(unparsed=own))
        edit(looked / "results_grpo.json", lambda row: row["baselines"]["text_only"].update(unparsed=unread))
        console = Console(record=True, width=1000)
        print_table(looked, console)
        return console.export_text(), write_page(looked).read_text(encoding="utf-8")

    n = 240
    sentence = (
        f"After GRPO, text only: {n} of {n} replies had no readable answer ({n - 1} x not_a_choice, 1 x empty) and "
        "count as wrong; what is gained over such a baseline proves nothing."
    )
    for told in said({"not_a_choice": n - 1, "empty": 1}):
        assert told.count(sentence) == 1
        assert told.count("proves nothing") == 1, "the baselines that can be read are let be"
    for told in said({"not_a_choice": n // 10 + 4}):
        assert "proves nothing" not in told, "a tenth beyond the model's own"
    for told in said({"not_a_choice": n // 10 + 5}):
        assert "proves nothing" in told


def test_the_reliability_picture_has_a_dot_for_each_bin(looked: Path) -> None:
    page = write_page(looked).read_text(encoding="utf-8")
    picture = page[page.index("How sure it is") :]
    picture = picture[: picture.index("</figure>")]
    assert "Without a confidence: 1 x no_answer." in picture
    assert re.findall(r'class="dot s2" cx="([\d.]+)%"', picture) == ["45.00", "90.00"]
    assert "4 answers 90.0% sure, 25.0% right" in picture
    assert page.count("Reliability.") == 1


def test_bins_that_do_not_add_up_are_named(looked: Path, edit: Edit) -> None:
    edit(looked / "results_grpo.json", lambda row: row["calibration"].update(n=5))
    with pytest.raises(RunError, match=r"results_grpo\.json, in 'calibration': key 'n' is 5, but the bins hold 6"):
        write_page(looked)
