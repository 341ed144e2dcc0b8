"""What may not be trained on, as it was published: the rows of any benchmark's gold file, for the leak guard.

A file that `auscult data check` reads whole needs no more. Any other one is put to every benchmark, and the one that
reads all of its rows is it (`MMAR-meta.jsonl`, VQA-RAD's list, ReXVQA's object); where several do, the user says which:
`mmar:FILE`. That also names a file which is read without it.
"""

from __future__ import annotations

from pathlib import Path

from auscult.core.errors import ConfigError, DataError
from auscult.data import check
from auscult.data.index import SMALL
from auscult.data.source import Row
from auscult.data.sources import studies
from auscult.evaluate import records
from auscult.evaluate.benchmark import PLUGIN, Benchmark, did_you_mean, find
from auscult.evaluate.records import Records


def rows_of(name: str, media: Path | None = None) -> tuple[list[Row], tuple[str, ...]]:
    """The rows of a file or folder, or of `BENCHMARK:FILE`, and sentences about what was left out.

    `media` is the folder of the recordings or images, by default the file's. Raises DataError for what cannot be read,
    ConfigError for a benchmark without its file.
    """
    kind, path = _named(name)
    if kind:
        return _rows(kind, records.read(path), media), ()
    if path.is_file() and path.stat().st_size <= SMALL and studies.fits(path) and (known := _only(path, media)):
        return known, ()
    try:
        found, notes = check.read(path, media)
    except DataError:
        if path.is_file() and (known := _recognised(path, media)):
            return known, ()
        raise
    if notes and path.is_file() and (known := _recognised(path, media)):
        return known, ()
    return found, notes


def _named(name: str) -> tuple[type[Benchmark] | None, Path]:
    """The benchmark and the file of `mmar:FILE`; no benchmark of any other name."""
    benchmark, colon, file = name.partition(":")
    if Path(name).exists():
        return None, Path(name)
    if benchmark not in PLUGIN.names():
        near = did_you_mean(benchmark, PLUGIN.names()) if colon else ""
        raise DataError(f"there is no file or folder {name}{near}; check the path")
    if not file:
        raise ConfigError(f"{name} is a benchmark; name its file too, {name}:FILE ({find(name).source})")
    return find(benchmark), Path(file)


def _only(path: Path, media: Path | None) -> list[Row]:
    """`_recognised`, none too where several benchmarks can read it: your own questions about images are nobody's."""
    try:
        return _recognised(path, media)
    except DataError:
        return []


def _recognised(path: Path, media: Path | None) -> list[Row]:
    """All rows of a gold file by the only benchmark that can read it; none where no benchmark can."""
    try:
        file = records.read(path)
    except DataError:
        return []
    found: dict[str, list[Row]] = {}
    for name in PLUGIN.names():
        try:
            found[name] = _rows(find(name), file, media)
        except DataError:  # not of this benchmark
            continue
    if len(found) > 1:
        raise DataError(f"{path} may be of {' or '.join(found)}; say which, for example {next(iter(found))}:{path}")
    return next(iter(found.values()), [])


def _rows(kind: type[Benchmark], file: Records, media: Path | None) -> list[Row]:
    samples = kind(gold=str(file.path), media=str(media or "")).samples_of(file, judged=True)
    return [Row(f"{file.path}: {sample.id}", sample) for sample in samples]
