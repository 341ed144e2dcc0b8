"""Films show what they say, and nothing but the picture tells the answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from auscult.core.seeds import rng
from auscult.core.types import Image, Pixels, Sample
from auscult.data.source import Split
from auscult.data.sources import studies
from auscult.data.sources.films import (
    LEVELS,
    QUESTIONS,
    SIDES,
    Film,
    Opacity,
    Source,
    compose,
    questions,
    render,
    write,
)
from auscult.media.image import decode

TASKS = tuple(QUESTIONS)


def seen(sample: Sample) -> Pixels:
    (image,) = sample.media
    assert isinstance(image, Image)
    assert image.pixels is not None
    return image.pixels


def test_the_same_address_is_the_same_film_and_each_part_of_it_counts() -> None:
    films = {
        (name, seed, index): Source().split(name, seed)[index]
        for name in ("train", "heldout")
        for seed in (0, 1)
        for index in (0, 5)
    }
    assert (
        len({seen(sample).tobytes() for sample in films.values()}) == len({sample.id for sample in films.values()}) == 8
    )
    again = Source().split("heldout", 1)[5]
    assert again == films["heldout", 1, 5]
    assert Source().split("train", 0).size is None
    with pytest.raises(IndexError):
        Source(heldout=3).split("heldout", 0)[3]


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_neither_the_task_nor_the_wording_tells_the_answer(name: Split) -> None:
    samples = Source(side=32, heldout=320).split(name, 3)
    asked = Counter((q.task, q.answer) for q in (samples.film(index)[1] for index in range(320)))
    for task in TASKS:
        answers = [one.answer for one in QUESTIONS[task]]
        assert {answer: asked[task, answer] for answer in answers} == dict.fromkeys(answers, 80 // len(answers))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), task=st.sampled_from(TASKS), place=st.integers(0, 3))
def test_the_film_answers_its_question(seed: int, task: str, place: int) -> None:
    question = QUESTIONS[task][place % len(QUESTIONS[task])]
    film = compose(question, rng(seed, "compose"))
    assert question in questions(film)
    assert len({(one.side, one.level) for one in film.opacities}) == len(film.opacities)


def test_what_is_not_asked_about_says_nothing() -> None:
    """How many opacities there are is as often so under either side; their sizes under any number."""
    samples = Source(tasks=("side",), side=32).split("train", 0)
    films = [samples.film(index) for index in range(900)]
    cells = Counter((question.answer, len(film.opacities)) for film, question, _ in films)
    expected = 900 / 6
    assert (
        sum((cells[side, count] - expected) ** 2 / expected for side in SIDES for count in (1, 2, 3)) < 20.5
    )  # p .001
    sizes = Counter(one.size for film, _, _ in films for one in film.opacities)
    assert abs(sizes["small"] / sizes.total() - 0.5) < 0.05


def test_an_opacity_is_bright_where_it_is_and_larger_when_it_is_large() -> None:
    """The same film with and without it: what differs is in its lung, at its level, and its area tells its size."""
    areas: dict[str, list[int]] = {"small": [], "large": []}
    for number in range(12):
        opacity = Opacity(SIDES[number % 2], number % 3, "large" if number % 4 < 2 else "small")
        bare = np.asarray(render(Film(()), rng(number, "draw"), 64), np.float64)
        shown = np.asarray(render(Film((opacity,)), rng(number, "draw"), 64), np.float64)
        difference = shown - bare  # an opacity is drawn last, so all else is the same
        down, across = np.unravel_index(int(difference.argmax()), difference.shape)
        assert difference.max() > 0.2 * np.ptp(bare)
        assert ("left" if across < 32 else "right") == opacity.side
        assert abs((down - 31.5) / 31.5 - LEVELS[opacity.level]) < 0.15
        areas[opacity.size].append(int((difference > 0.5 * difference.max()).sum()))
    assert np.mean(areas["large"]) > 1.6 * np.mean(areas["small"])


def test_a_share_of_training_is_asked_without_films_and_none_of_the_held_out() -> None:
    options = Source(side=32, heldout=100, withheld=0.3)
    train, held = options.split("train", 0), options.split("heldout", 0)
    blind = [number for number in range(100) if not train[number].media]
    assert 15 < len(blind) < 45
    assert {train[number].thought for number in blind} == {None}, "nobody can tell what was not seen"
    assert all(held[number].media and held[number].thought for number in range(100))
    whole = Source(side=32, heldout=100).split("train", 0)
    assert all((whole[number] == train[number]) == (number not in blind) for number in range(100))
    assert not any(Source(side=32, withheld=1.0).split("train", 0)[number].media for number in range(20))


def test_sixteen_bits_are_windowed_and_not_cut_off() -> None:
    """Every film uses all greys of 8 bits, whatever its exposure; cut off at 255 it would be white."""
    samples = Source().split("train", 0)
    for index in range(8):
        _, _, values = samples.film(index)
        shown = seen(samples[index])
        assert values.dtype == np.uint16
        assert values.min() > 255
        assert (shown.min(), shown.max(), shown.shape) == (0, 255, (64, 64, 3))
        assert len(np.unique(shown)) > 150


def test_written_films_are_read_by_studies_as_they_were(tmp_path: Path) -> None:
    films = Source(side=48).split("heldout", 0)
    root = write(tmp_path / "films", films, range(12))
    with Pillow.open(tmp_path / "films" / "films-heldout-0-3.png") as picture:
        assert picture.mode == "I;16"
    source = studies.Source(root=str(root), heldout_share=0.25)
    splits = [source.split("train", 0), source.split("heldout", 0)]
    read = {sample.id: sample for split in splits for sample in (split[n] for n in range(split.size))}
    for index in range(12):
        made = films[index]
        sample = read[made.id]
        assert (sample.answers, sample.choices, sample.question) == (made.answers, made.choices, made.question)
        (image,) = sample.media
        assert isinstance(image, Image)
        assert np.array_equal(decode(image), seen(made))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"tasks": ("sides",)}, "name each of"),
        ({"tasks": ()}, "name each of"),
        ({"side": 16}, "32"),
        ({"withheld": 1.5}, "share from 0 to 1"),
        ({"heldout": 0}, "1"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Source(**setting)
