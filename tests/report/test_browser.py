"""The page in a real browser: it opens from disk, plays, fits a phone, and runs nothing that data brought along."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from auscult.report.page import write_page

Edit = Callable[[Path, Callable[[Any], None]], None]

SCRIPT = "<script>window.hacked = 1; alert(1)</script>"
BREAKOUT = (
    '</audio></pre></style><img src=x onerror="window.hacked = 1"> \' onclick=\'window.hacked = 1\' " onload="hack()'
)


@contextmanager
def opened(
    browser: Browser, file: Path, *, width: int = 1200, scheme: Any = "light"
) -> Iterator[tuple[Page, list[str]]]:
    """The page, and a list that fills with everything that should not happen: messages, dialogs, failures, requests."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    page, events = context.new_page(), list[str]()
    page.on("console", lambda message: events.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: events.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (events.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("requestfailed", lambda request: events.append(f"failed: {request.url[:80]}"))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or events.append(request.url[:80]))
    page.goto(file.as_uri())
    yield page, events
    context.close()


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_it_opens_from_disk_and_every_clip_can_be_played(browser: Browser, run: Path) -> None:
    with opened(browser, write_page(run)) as (page, events):
        ready = "() => [...document.querySelectorAll('audio')].every(a => a.readyState >= 1 && a.duration > 0)"
        page.wait_for_function(ready, timeout=20_000)
        durations = page.evaluate("[...document.querySelectorAll('audio')].map(a => Math.round(a.duration))")
        assert durations == [1 + index % 3 for index in range(20)]
        page.evaluate(
            "Promise.all([...document.querySelectorAll('audio')].slice(0, 1).map(a => (a.muted = true, a.play())))"
        )
        page.wait_for_function("() => document.querySelector('audio').currentTime > 0", timeout=20_000)
        assert events == []


def test_sections_headings_and_tables_can_be_navigated(browser: Browser, run: Path) -> None:
    with opened(browser, write_page(run)) as (page, _):
        sections = page.locator("h2").all_inner_texts()
        assert sections == [
            "Accuracy",
            "Where it is right",
            "How it learned",
            "Sampled rollouts",
            "What was run",
        ]
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
        assert levels[0] == 1
        assert all(deeper <= level + 1 for level, deeper in itertools.pairwise(levels))
        assert page.locator("th:not([scope])").count() == 0
        assert page.locator("svg[role=img]:not([aria-label]), audio:not([aria-label]), img:not([alt])").count() == 0
        assert page.locator("svg:not([role=img]):not([aria-hidden=true]):not(svg svg)").count() == 0
        assert page.locator("article").count() == 20
        page.get_by_text("The complete config.yaml").click()
        assert "recipe: quickstart" in page.locator("details.config pre").inner_text()


@pytest.mark.parametrize("width", [320, 390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_never_scrolls_sideways(browser: Browser, run: Path, edit: Edit, width: int, scheme: str) -> None:
    long = "a" * 300
    edit(
        run / "rollouts" / "showcase.jsonl",
        lambda rows: rows[0].update(id=long, question=long, reply=long, choices=[long]),
    )
    with opened(browser, write_page(run), width=width, scheme=scheme) as (page, events):
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert overflow(page) <= 0
        assert events == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_its_ground(browser: Browser, run: Path, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for the text colours on page and card."""
    with opened(browser, write_page(run), scheme=scheme) as (page, _):
        names = ("page", "card", "ink", "soft", "link", "right", "wrong")
        colours = page.evaluate(
            "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue('--' + n).trim())",
            names,
        )
    luminance = dict(zip(names, map(relative_luminance, colours), strict=True))
    for ground in ("page", "card"):
        for text in ("ink", "soft", "link", "right", "wrong"):
            dark, light = sorted([luminance[ground], luminance[text]])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, text)


def relative_luminance(colour: str) -> float:
    """WCAG's definition, from `#rgb` or `#rrggbb`."""
    digits = colour.lstrip("#")
    full = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    linear = [
        (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
        for c in (int(full[i : i + 2], 16) / 255 for i in (0, 2, 4))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def poison(value: Any) -> Any:
    """Every text in a JSON value, and every key that is data, with markup at its end."""
    if isinstance(value, str):
        return value + SCRIPT + BREAKOUT
    return [poison(item) for item in value] if isinstance(value, list) else value


def poisoned_run(run: Path, edit: Edit) -> Path:
    evil = SCRIPT + BREAKOUT

    def showcase(rows: list[dict[str, Any]]) -> None:
        for row in rows[:10]:
            row.update({key: poison(value) for key, value in row.items() if key not in ("media", "parts", "tags")})
            row.update(parts={evil: 1.0, "judge": None}, tags={evil: evil})
        rows[0]["media"] = [{"kind": evil, "file": f"media/{evil}".replace("/", "_"), "seconds": 1.0}]

    def results(row: dict[str, Any]) -> None:
        row.update({key: poison(row[key]) for key in ("label", "form", "scorer")})
        row.update(unparsed={evil: 3}, by={evil: {evil: row["by"]["task"]["count"]}, **row["by"]})
        row["baselines"].update({evil: 0.5, evil + "2": row["baselines"]["silence"]})

    edit(run / "rollouts" / "showcase.jsonl", showcase)
    edit(run / "results_grpo.json", results)
    edit(run / "results_comparison.json", lambda rows: rows[0].update(before=evil, after=evil))
    edit(
        run / "sft" / "metrics.jsonl",
        lambda rows: rows[0].update({evil: 1.0, f"reward/{evil}/mean": 1.0, f"{evil}x": evil}),
    )
    edit(run / "environment.json", lambda row: row.update({"command": evil, evil: evil, "versions": {evil: evil}}))
    (run / "config.yaml").write_text(evil, encoding="utf-8")
    return run.rename(run.with_name("run" + SCRIPT.replace("/", "") + "<img src=x onerror=hack()>"))


def test_markup_in_the_data_stays_text(browser: Browser, run: Path, edit: Edit) -> None:
    hostile = poisoned_run(run, edit)
    with opened(browser, write_page(hostile), width=390) as (page, events):
        page.wait_for_function("() => document.readyState === 'complete'")
        assert page.locator("script, img, iframe, object, link").count() == 0
        names = page.evaluate("[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())")
        assert [name for name in names if name.startswith("on")] == []
        assert page.evaluate("window.hacked") is None
        assert page.locator("article").count() == 20
        assert SCRIPT in page.locator("article pre").first.inner_text()
        assert SCRIPT in page.locator("details.config pre").text_content()  # type: ignore[operator]
        assert overflow(page) <= 0
        assert events == []


def test_if_markup_got_through_it_still_could_not_run(browser: Browser, run: Path, tmp_path: Path) -> None:
    """The second lock, tried with the first one picked: the policy of the page stops an injected script and image."""
    page_text = write_page(run).read_text(encoding="utf-8")
    assert "<main>" in page_text
    picked = tmp_path / "picked.html"
    picked.write_text(
        page_text.replace("<main>", f"<main>{SCRIPT}<img src=x onerror='window.hacked = 1'>"), encoding="utf-8"
    )
    with opened(browser, picked) as (page, events):
        page.wait_for_function("() => document.readyState === 'complete'")
        assert page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in event for event in events), json.dumps(events)
