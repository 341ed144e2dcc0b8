"""Which groups are held out. A group (clip, patient, speaker, video) stands on one side of a split, whole.

Each group has its own place in a seeded order, so the split depends neither on the order of the rows nor on how many
rows a group has, and a group that is added later moves few of the others.

Nor may one recording stand on both sides under two names: files of the same bytes are refused, whatever reads them.
What was re-encoded is found by `auscult data leaks`.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress

from auscult.core.errors import DataError, MediaError
from auscult.core.seeds import derive
from auscult.core.types import Frames, Sample
from auscult.media.audio import content_hash
from auscult.media.files import opened

PIECE = 1 << 12
"""Bytes from the middle of files that are compared before all of them are."""
SHOWN = 5
"""How many groups an error names."""


def split_groups(
    groups: Sequence[str], share: float, seed: int, strata: Sequence[str] | None = None, *, where: str = "the data"
) -> frozenset[str]:
    """The held-out groups: about `share` of them, of each stratum where `strata` (one for each row) is given.

    A stratum of several groups has at least one on each side; strata of a single group are treated as one together. A
    group with rows in several strata counts for its commonest. Raises DataError, which begins with `where`, when there
    are fewer than two groups.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}: set a number between 0 and 1")
    if len(set(groups)) < 2:
        raise DataError(
            f"{where}: nothing can be held out, because the {len(groups)} rows are all of one group "
            f"({', '.join(set(groups)) or 'none'}), and a group stands on one side whole; add recordings of another "
            "group, or correct what says which recordings belong together"
        )
    members: defaultdict[str, list[str]] = defaultdict(list)
    for group, stratum in _commonest(groups, strata or [""] * len(groups)).items():
        members[stratum].append(group)
    single = [group for names in members.values() if len(names) == 1 for group in names]
    held: set[str] = set()
    for names in [names for names in members.values() if len(names) > 1] + [single]:
        least, most = (1, len(names) - 1) if len(names) > 1 else (0, 0)
        count = min(max(round(share * len(names)), least), most)
        held.update(sorted(names, key=lambda group: (derive(seed, "split", group), group))[:count])
    return frozenset(held)


def assert_disjoint(train: Iterable[Sample], heldout: Iterable[Sample]) -> None:
    """Raises DataError that names the groups, or recordings under different groups, which are on both sides."""
    for what, trained, held in zip(("groups", "recordings"), _keys(train), _keys(heldout), strict=True):
        both = sorted(trained & held)
        if both:
            more = f" and {len(both) - SHOWN} more" if len(both) > SHOWN else ""
            raise DataError(
                f"{len(both)} {what} are both in training and held out: {', '.join(both[:SHOWN])}{more}; "
                "remove their rows from one side, or give them one group and split with heldout_share"
            )


def refuse_twins(train: Iterable[str], heldout: Iterable[str], advice: str) -> None:
    """Raises DataError that names the training and held-out files of the same bytes; it ends with the `advice`. Files
    that cannot be read are left to whoever opens them; look at headers first, for failed downloads are all alike."""
    found = twins(train, heldout)
    if found:
        named = ", ".join(f"{held} (held out) is {trained}" for trained, held in found[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise DataError(
            f"{len(found)} files are both in training and held out, under two names: {named}{more}; {advice}"
        )


def twins(train: Iterable[str], heldout: Iterable[str]) -> list[tuple[str, str]]:
    """A training file for each held-out one that has the same bytes. Only what agrees in size, and then in a piece of
    its middle, is read whole."""
    sides = [sorted(set(train)), sorted(set(heldout))]
    for key in (os.path.getsize, _middle):
        alike = [_by(key, side) for side in sides]
        common = alike[0].keys() & alike[1].keys()
        sides = [[file for name, files in found.items() if name in common for file in files] for found in alike]
    trained, held = (_by(content_hash, side) for side in sides)
    return sorted((trained[name][0], file) for name, files in held.items() if name in trained for file in files)


def _by(key: Callable[[str], Hashable], files: Iterable[str]) -> dict[Hashable, list[str]]:
    found: defaultdict[Hashable, list[str]] = defaultdict(list)
    for file in files:
        with suppress(OSError, ValueError, MediaError):  # ValueError: a NUL in the name
            found[key(file)].append(file)
    return found


def _middle(file: str) -> tuple[int, bytes]:
    with opened(file, file) as inside:
        size = inside.seek(0, os.SEEK_END)
        inside.seek(size // 2)
        return size, inside.read(PIECE)


def group_of(sample: Sample) -> str:
    """What must not cross a split: the group, else the recording (it may be asked about often), else the id."""
    recordings = sorted(_recordings([sample]))
    return sample.group or (recordings[0] if recordings else sample.id)


def files_of(samples: Iterable[Sample]) -> Iterator[str]:
    """The files of recordings and images that the samples name."""
    media = (part for sample in samples for part in sample.media if not isinstance(part, Frames))
    return (part.path for part in media if part.path)


def _keys(samples: Iterable[Sample]) -> tuple[set[str], set[str]]:
    """The groups and the recordings of samples, which are gone through once and not kept."""
    groups, recordings = set[str](), set[str]()
    for sample in samples:
        groups.add(group_of(sample))
        recordings |= _recordings([sample])
    return groups, recordings


def _recordings(samples: Iterable[Sample]) -> set[str]:
    """Recordings and images by file, sections of one counting as one, or by content when they are in memory."""
    media = [part for sample in samples for part in sample.media]
    names = [
        part.sha256 if isinstance(part, Frames) or not part.path else os.path.realpath(part.path) for part in media
    ]
    return {name for name in names if name}


def _commonest(groups: Sequence[str], strata: Sequence[str]) -> dict[str, str]:
    """The stratum of each group, by the number of its rows, then by name."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group, stratum in zip(groups, strata, strict=True):
        counts[group][stratum] += 1
    return {group: min(found, key=lambda name: (-found[name], name)) for group, found in counts.items()}
