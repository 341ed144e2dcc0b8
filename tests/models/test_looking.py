"""What a model is shown of a film: as the wording displays it, decoded once, ahead of its turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from auscult.core.errors import MediaError
from auscult.core.types import Image, Sample, Turn
from auscult.media.image import decode
from auscult.media.window import Display
from auscult.models.families import gemma3
from auscult.models.learning import Cache
from auscult.models.listener import Listener
from auscult.models.wording import Wording


@pytest.fixture
def films(tmp_path: Path) -> list[Image]:
    """Three films of 12 bits in 16, wider than high."""
    draw = np.random.default_rng(0)
    for number in range(3):
        Pillow.fromarray(draw.integers(0, 4096, (60, 90)).astype(np.uint16)).save(tmp_path / f"{number}.png")
    return [Image(str(tmp_path / f"{number}.png")) for number in range(3)]


def shows(**display: object) -> Listener:
    wording = Wording(display=Display(**display), instruction=False)  # type: ignore[arg-type]
    return gemma3.Model().build(["Which view? (A) AP (B) PA"], ["<think>", "</think>"], wording, 0)


def asked(*films: Image) -> Sample:
    return Sample("film", (Turn("user", (*films, "Which view?")),), ("AP",), choices=("AP", "PA"))


def test_each_film_is_decoded_once_however_often_it_is_asked_about(films: list[Image]) -> None:
    listener = shows()
    first = listener.prompts([asked(films[0], films[1]), asked(films[1], films[2])])
    again = listener.prompts([asked(films[0], films[1])])
    assert listener.pictures.counts["decoded"] == 3
    assert [part.key for part in first[0].features] == [part.key for part in again[0].features]
    assert first[0].features[1].key == first[1].features[0].key
    assert len({part.key for prompt in first for part in prompt.features}) == 3


def test_the_features_are_those_of_the_displayed_film(films: list[Image]) -> None:
    for display in ({}, {"window": "percentile"}, {"longest": 30}, {"square": True}):
        listener = shows(**display)
        (seen,) = listener.prompt(asked(films[0])).features
        (given,) = listener.features(Image.of(decode(films[0], listener.wording.display)))
        assert seen.key == given.key
        assert (seen.inputs["pixel_values"] == given.inputs["pixel_values"]).all()
    keys = {shows(**how).prompt(asked(films[0])).features[0].key for how in ({}, {"window": "percentile"})}
    assert len(keys) == 2


def test_the_memory_is_as_large_as_the_model_is_told(films: list[Image], tmp_path: Path) -> None:
    shows().save(tmp_path / "model")
    wording = Wording(display=Display(longest=30), instruction=False)
    listener = gemma3.Model(cache=Cache(pictures_mb=0.001)).load(tmp_path / "model", wording)  # 600 bytes a film
    for number in (0, 1, 0, 0):
        listener.prompt(asked(films[number]))
    assert listener.pictures.counts == {"decoded": 3, "forgotten": 2, "found": 1}


def test_a_torn_film_that_was_to_be_decoded_ahead_is_told_where_it_is_asked_for(films: list[Image]) -> None:
    torn = Path(str(films[2].path))
    torn.write_bytes(torn.read_bytes()[:-2000])
    with pytest.raises(MediaError, match=r"^sample film: .*2\.png cannot be decoded.*check FILE --decode"):
        shows().prompts([asked(films[0]), asked(films[1], films[2])])
