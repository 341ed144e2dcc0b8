"""MMAU: 10,000 questions about speech, sounds and music (Sakshi et al., arXiv 2410.19168).

`mmau-test-mini.json` has 1,000 questions with answers; those of the 9,000 of `mmau-test.json` are kept back, so they
can be asked and submitted but not scored here. The file was revised on 2025-05-15 under the name v05.15.25, which
changed 307 of the 1,000 questions, and mended until 2025-08-09: scores on different files do not compare. The labels
below give the date of each published revision (git history of github.com/Sakshi113/MMAU; the oldest has no `id`).

Kept as published: in 13 rows `category` is a list, 27 rows repeat an option, and in the first three files of v05.15.25
some 146 answers are none of the options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from auscult.core.types import Sample
from auscult.data import rows
from auscult.evaluate import benchmark
from auscult.evaluate.benchmark import Breakdown, asked, stem, text, texts, withheld

_OLD = "before v05.15.25"
_NEW = "v05.15.25"


@dataclass(frozen=True, kw_only=True)
class Benchmark(benchmark.Benchmark):
    """MMAU test-mini; `media` is the folder that holds `test-mini-audios/`."""

    title: ClassVar[str] = "MMAU test-mini"
    source: ClassVar[str] = "https://github.com/Sakshi113/MMAU"
    official: ClassVar[str] = "python evaluation.py --input INPUT_JSON_PATH"
    size: ClassVar[int | None] = 1000
    breakdowns: ClassVar[tuple[Breakdown, ...]] = (
        Breakdown("Task-wise", "task", ("sound", "music", "speech")),
        Breakdown("Difficulty-wise", "difficulty", ("easy", "hard", "medium")),
        Breakdown("Sub-category-wise", "sub-category"),
    )
    versions: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "bef649e4bdeb436779a929ccdb9caa3f5144899bd087fc05e23065268ba888cc": f"{_OLD} (2024-10-23)",
            "a5006730ccb3fbf1fc72016774413b9b4a596bb00ce8f37796d9d30979b46192": f"{_OLD} (2024-10-25)",
            "1b6d31d0b70c2944a064a5de0147435427af0bcd3167eff175daa8bd5321e9d3": f"{_OLD} (2024-10-29)",
            "850c2794664d53c1f7e7e2bcf35744b9ab4e60debad2156d67efd6956220affa": f"{_OLD} (2024-12-09)",
            "ed2fd6b6c24ebec1a5a496de5d767e7ebfe79556044d8f0d8bd00ad0cf02d623": f"{_OLD} (2025-01-28)",
            "e8cc09223b497191781756212cb616315690aaa6ea7ac359db1b65d97d1e2433": f"{_OLD} (2025-03-25)",
            "d35ec10bc3097fc605661b0eed00a487da74a6e7d9e23736567312c632347400": f"{_NEW} (2025-05-15)",
            "9da96f00e43890adfbac3628b7b0dab3a32a6d6ec2d0a800b892ee261d35b818": f"{_NEW} (2025-05-16)",
            "ea9f3f53085a2dfcf9ea7f5b2fca76a6634cd212af084bbb4cd8bf22c8903537": f"{_NEW} (2025-05-16, second)",
            "cafecebbb4e48b9eb83fd88916911a853245379812e08f118984510340b2dc5b": f"{_NEW} (2025-05-18)",
            "cc59d9e3fad1a675f311f341b53b05079b94e735e5bc8992ac881ebeda2976f5": f"{_NEW} (2025-05-19)",
            "157f1968a686c9e7ffb3669e13296349af72afe78af19c049e5d459ccb59d402": f"{_NEW} (2025-05-22)",
            "e0042de8b99492539b0a17997b6c12fff90a6d42a47ad5fd8801c80dcb52b405": f"{_NEW} (2025-05-24)",
            "0bbabee60dcbd76815948394ac2dd31c41d18ab1215fe6fd6f93e0e510f78d7a": f"{_NEW} (2025-05-30)",
            "5c63fe8f2de12e848be146e48436567c2022fe84ea0012da560003c30a24b2b7": f"{_NEW} (2025-06-23)",
            "3940399a013d5f6d528ad4f5d1701cce29cdb5b19ccd4e6ab2800e0665dd6ac9": f"{_NEW} (2025-06-23, second)",
            "9f18fda99f8dbc2bc5ecd6323fb5063309f54969810b5c6f1caeb3b8d904cf1c": f"{_NEW} (2025-08-09)",
        }
    )

    def id_of(self, row: Mapping[str, Any], number: int) -> str | None:
        """The `id`, in files without one the recording's name, which is the same."""
        return super().id_of(row, number) or stem(row.get("audio_id"))

    def sample(self, row: Mapping[str, Any], where: str, name: str) -> Sample:
        """One recording, one question, its options."""
        audio = row.get("audio_id") or f"{name}.wav"
        tags = {key: row.get(key) for key in ("task", "difficulty", "category", "sub-category", "dataset")}
        return asked(
            name,
            [rows.audio(audio, where, self.folder())],
            text(row, "question", where),
            texts(row, "choices", where),
            withheld(row, where),
            audio,
            tags,
        )
