"""MMAR: 1,000 questions about speech, sounds, music and their mixtures in videos (Ma et al., arXiv 2505.13032).

What its reasoning is worth by MMAR-Rubrics, a judge says: `evaluate/rubrics.py`.

Rows are grouped by the video that their clip was cut from (the id without its time span): 911 videos. Kept as
published: four rows have an empty option, and the language of 320 clips is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from auscult.core.types import Sample
from auscult.data import rows
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown, asked, stem, text, texts, withheld

_SPAN = re.compile(r"(?:_\d+(?:-\d\d){1,2}){2}$")


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """MMAR; `media` is the folder that holds `audio/`."""

    title: ClassVar[str] = "MMAR"
    source: ClassVar[str] = "https://github.com/ddlBoJack/MMAR"
    official: ClassVar[str] = "python code/evaluation.py --input INPUT_JSONL_PATH"
    judges: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"rubrics": "python code/evaluation_rubrics.py --input INPUT_JSONL_PATH"}
    )
    size: ClassVar[int | None] = 1000
    breakdowns: ClassVar[tuple[Breakdown, ...]] = (
        Breakdown(
            "Modality-wise",
            "modality",
            (
                "sound",
                "music",
                "speech",
                "mix-sound-music",
                "mix-sound-speech",
                "mix-music-speech",
                "mix-sound-music-speech",
            ),
        ),
        Breakdown(
            "Category-wise", "category", ("Signal Layer", "Perception Layer", "Semantic Layer", "Cultural Layer")
        ),
        Breakdown("Sub-category-wise", "sub-category"),
    )
    versions: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "7240ecca11b252c782ef44d4d19f711dd9b8424656a2bc3f92c548e318d25cee": "2025-05-11 (MMAR-meta.json)",
            "1c9a343e7bebf1037482b935c54eacd43cc63df7b2c668724b5560caf1f84fad": "2026-02-16 (MMAR-meta.jsonl)",
        }
    )

    def id_of(self, row: Mapping[str, Any], number: int) -> str | None:
        """The `id`, else the recording's name, which is the same."""
        return super().id_of(row, number) or stem(row.get("audio_path"))

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """One clip, one question, its options."""
        tags = {key: row.get(key) for key in ("modality", "category", "sub-category", "language")}
        return asked(
            name,
            [rows.audio(row.get("audio_path") or f"audio/{name}.wav", where, self.folder())],
            text(row, "question", where),
            texts(row, "choices", where),
            withheld(row, where),
            _SPAN.sub("", name),
            tags,
        )
