"""In how many documents each n-gram occurs: what CIDEr-D's weights come from, counted once and kept in a file.

A document is all references of one clip or image. `auscult captions df TRAIN` counts the training references; the
reward reads the file, so that its scores do not depend on which samples share a batch. N-grams of a single document
are left out: CIDEr-D takes log max(1, df), for which they are as good as unseen, and they are most of the file.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, cast

from auscult.core.errors import ConfigError
from auscult.core.runs import write_text
from auscult.rewards.captioning.ngrams import Ngram, ngrams
from auscult.rewards.captioning.tokens import TOKENIZER

VERSION = 1
"""Of the file; another one is refused."""
_WRITE = "write it with: auscult captions df TRAIN --out FILE"


@dataclass(frozen=True, slots=True, eq=False)  # compared as objects, so that caches can be keyed by them
class Frequencies:
    """Document frequencies of one corpus."""

    documents: int
    """How many documents there are, N."""
    counts: Mapping[Ngram, int]
    """In how many of them an n-gram occurs; those of a single document may be left out."""
    source: str = ""
    """The file that was counted, for people."""
    sha256: str = ""
    """Hash of its content, hex."""
    rare: float = field(init=False)
    """The weight log N of an n-gram that occurs in one document or in none."""
    idf: Mapping[Ngram, float] = field(init=False, repr=False)
    """The weight log N - log df of every other n-gram."""

    def __post_init__(self) -> None:
        rare = math.log(self.documents)
        object.__setattr__(self, "rare", rare)
        object.__setattr__(self, "idf", {ngram: rare - math.log(count) for ngram, count in self.counts.items()})

    @classmethod
    def of(cls, documents: Iterable[Sequence[Sequence[str]]], source: str = "", sha256: str = "") -> Self:
        """Counts documents, each the tokenized references of one clip or image; at least one."""
        counts: Counter[Ngram] = Counter()
        total = 0
        for references in documents:
            total += 1
            counts.update({ngram for tokens in references for found in ngrams(tokens) for ngram in found})
        return cls(total, {ngram: count for ngram, count in counts.items() if count > 1}, source, sha256)

    def write(self, path: Path | str) -> None:
        """Write the file, whole or not at all."""
        head = {"version": VERSION, "tokenizer": TOKENIZER, "source": self.source, "sha256": self.sha256}
        counts = {" ".join(ngram): count for ngram, count in sorted(self.counts.items())}
        write_text(path, json.dumps({**head, "documents": self.documents, "counts": counts}, ensure_ascii=False) + "\n")


def read_frequencies(path: Path | str) -> Frequencies:
    """The file that `Frequencies.write` wrote, read once per process and content. Raises ConfigError when it is not
    there, is no such file, or was counted on other tokens."""
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError as problem:
        raise ConfigError(
            f"{path}: no document frequencies there ({problem.strerror}), which CIDEr-D's weights come from; {_WRITE}"
        ) from problem
    return _read(str(path), changed)


@lru_cache(maxsize=4)
def _read(path: str, changed: int) -> Frequencies:
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{path}: cannot be read as document frequencies ({problem}); {_WRITE}") from problem
    row = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    made = (row.get("version"), row.get("tokenizer"))
    if made != (VERSION, TOKENIZER):
        raise ConfigError(
            f"{path}: holds no document frequencies of version {VERSION} on {TOKENIZER} tokens, but {made}; {_WRITE}"
        )
    counts, documents = row.get("counts"), row.get("documents")
    if not isinstance(counts, dict) or not isinstance(documents, int) or documents < 2:
        raise ConfigError(f"{path}: `documents` or `counts` is missing or too small for weights; {_WRITE}")
    table = {tuple(key.split(" ")): count for key, count in cast("dict[str, int]", counts).items()}
    return Frequencies(documents, table, str(row.get("source")), str(row.get("sha256")))
