"""Is this the same recording? Prints that survive what happens to a clip on its way into another data set.

The method is Haitsma and Kalker's ("A Highly Robust Audio Fingerprinting System", ISMIR 2002): a spectrogram in narrow
frames, and of every frame one bit a band, the sign of how the difference between two neighbouring bands changes with
time. Loudness, sampling rate and lossy coding leave these signs mostly alone, and a shift or a cut moves them as a
whole. Departures from the paper, because clips here may be as short as a spoken digit: frames of 128 ms instead of
370 ms, magnitudes instead of energies, and only the firmer half of a frame's 32 bits is compared.

    wave -> print -> which indexed prints share half-words at one shift? -> which bits agree there?
                  -> three seconds or more compared: proven; less: a suspect, and `wave_likeness` decides

The last step is there because the bits of one word said twice by one speaker agree up to 0.99, but their waves do not.

Not seen: a change of speed or pitch, a recording under another one, music played again, what sounds above 3.6 kHz. Of
78 recordings of the test data two are missed when they are overdriven four times, two when they fade from beginning to
end, and 11 under noise only 10 dB weaker. No print have silence, less than a syllable, and a tone that never changes:
`audio_print` returns None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auscult.core.types import Wave
from auscult.media.audio import silent

RATE = 8_000
"""Samples per second of what is printed: whatever a clip's rate was, its telephone band is there."""
_FRAME = 1_024
"""128 ms: narrower frames move with a shift by half a hop, wider ones blur a syllable."""
_HOP = 128
"""16 ms."""
_LAG = 4
"""Hops over which a change is measured."""
_BITS = 32
"""Signs of a frame, one for each two neighbouring bands."""
_FIRM = 16
"""Signs of a frame that are compared: those that a little noise cannot turn."""
_RANGE = (200.0, 3_600.0)
"""What the bands cover, Hz."""
_LOUD = 1e-5
"""Power of a frame, as a share of the loudest one's, below which it is silent: -50 dB."""
_CHANGE = 1e-3
"""Change of a band, as a share of all bands, below which its sign is rounding: a steady tone has no firm sign."""
_LEAST = 8
"""Frames that must be compared: with the frame's own length, 0.25 s of sound."""
_ENOUGH = 188
"""Frames whose agreement is proof however long the recordings are: 3 s, the block of the paper."""
PROOF = 0.75
"""Agreement from which long recordings are the same. Measured: copies 0.95 and more, others 0.64 and less."""
SUSPICION = 0.9
"""Agreement from which short ones may be: one speaker says a word so alike that 0.99 was met."""
SAME_WAVE = 0.95
"""Correlation of waves from which they are. Measured: copies 0.99 and more, one word of one speaker 0.91 and less."""
_BLOCK = 4_096
"""Frames of which the spectrum is taken at a time, so that an hour needs no more memory than a minute."""
_HALVES = 1 << 16
"""Values of half a word, which is what recordings are looked up by."""
_SHIFTS = 1 << 32
"""More than the frames that a recording can be shifted by."""
_TRIED = 32
"""Recordings that are compared with one that is looked for: those that share most halves of words at one shift."""
_FINER = 4
"""Steps in a sample in which waves are laid over each other."""
_TINY = 1e-12
_NO_WORDS = np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class AudioPrint:
    """What stays of a recording when its coding, rate and loudness change."""

    words: NDArray[np.uint32]
    """Signs [T] of the frames, one every 16 ms, a bit a band."""
    firm: NDArray[np.uint32]
    """The bits [T] that are to be compared; none in a frame without sound."""

    @property
    def frames(self) -> int:
        """How many frames have something to compare."""
        return int(np.count_nonzero(self.firm))


@dataclass(frozen=True, slots=True)
class Alike:
    """A recording that was found again."""

    place: int
    """Which of the indexed ones."""
    agreement: float
    """Share of the compared bits that are equal."""
    seconds: float
    """How much of both was compared, silence left out."""
    shift: float
    """How much later it is heard in the indexed one, seconds."""

    @property
    def proven(self) -> bool:
        """Whether enough was compared; if not, only `wave_likeness` tells."""
        return self.seconds >= _ENOUGH * _HOP / RATE


def audio_print(wave: Wave) -> AudioPrint | None:
    """The print of a recording [N] at `RATE`; None where there is nothing to tell it from others by."""
    if silent(wave):
        return None
    power = np.concatenate(list(_powers(np.pad(wave, _FRAME // 2))))
    if len(power) <= _LAG:
        return None
    level = np.sqrt(power)
    slope = level[:, :-1] - level[:, 1:]
    change = slope[_LAG:] - slope[:-_LAG]
    size = np.abs(change)
    loud = power.sum(axis=1)
    loud = np.maximum(loud[_LAG:], loud[:-_LAG])
    least = np.maximum(np.sort(size, axis=1)[:, -_FIRM], _CHANGE * level[_LAG:].sum(axis=1))
    firm = (size >= least[:, None]) & (loud > _LOUD * loud.max())[:, None]
    found = AudioPrint(_packed(change > 0), _packed(firm))
    return found if found.frames >= _LEAST else None


def _powers(wave: Wave) -> Iterator[NDArray[np.float32]]:
    """Power [T, bands] of the frames, some at a time."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, _FRAME)[::_HOP]
    for first in range(0, len(frames), _BLOCK):
        spectrum = np.fft.rfft(frames[first : first + _BLOCK] * _WINDOW)
        yield (np.abs(spectrum).astype(np.float32) ** 2) @ _FILTERS


def _filters() -> NDArray[np.float32]:
    """Bands [bins, 33], equally wide in octaves and at least a bin, their edges soft."""
    edges = np.geomspace(*_RANGE, _BITS + 2)
    bins = np.fft.rfftfreq(_FRAME, 1 / RATE)[:, None]
    middle, half = (edges[:-1] + edges[1:]) / 2, np.maximum(np.diff(edges) / 2, RATE / _FRAME)
    return np.clip(1.5 - np.abs(bins - middle) / half, 0, 1).astype(np.float32)


_FILTERS = _filters()
_WINDOW = np.hanning(_FRAME + 1)[:-1].astype(np.float32)


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Rows of 32 bits [T, 32] as words [T]."""
    return np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)


class AudioIndex:
    """Recordings to look others up in."""

    def __init__(self, prints: Sequence[AudioPrint]) -> None:
        self._prints = prints
        frames = [np.flatnonzero(one.firm) for one in prints]
        self._owner = np.repeat(np.arange(len(prints)), [len(some) for some in frames])
        self._frame = np.concatenate([*frames, np.empty(0, np.int64)])
        keys = _keys(np.concatenate([*(one.words[at] for one, at in zip(prints, frames, strict=True)), _NO_WORDS]))
        self._order = np.argsort(keys, kind="stable") % max(1, len(self._frame))
        self._first = np.searchsorted(np.sort(keys), np.arange(2 * _HALVES + 1))

    def find(self, one: AudioPrint) -> list[Alike]:
        """The indexed recordings that are the same as `one` or share a section with it: proven, or suspects."""
        found = [self._compared(one, place, shift) for place, shift in self._candidates(one)]
        return [alike for alike in found if alike is not None]

    def _candidates(self, one: AudioPrint) -> list[tuple[int, int]]:
        """Places, each with the shift in frames at which most halves of words are found again; the best ones first."""
        frames = np.flatnonzero(one.firm)
        keys = _keys(one.words[frames])
        first, count = self._first[keys], self._first[keys + 1] - self._first[keys]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        hit = self._order[np.repeat(first, count) + within]
        if not len(hit):
            return []
        shift = self._frame[hit] - np.repeat(np.tile(frames, 2), count)
        cells, votes = np.unique(self._owner[hit] * _SHIFTS + shift + _SHIFTS // 2, return_counts=True)
        beside = np.searchsorted(cells, cells + 1).clip(max=len(cells) - 1)
        votes = votes + np.where(cells[beside] == cells + 1, votes[beside], 0)  # a shift of half a hop splits them
        best: dict[int, int] = {}
        for cell in cells[np.argsort(-votes, kind="stable")][: 8 * _TRIED].tolist():
            best.setdefault(cell // _SHIFTS, cell % _SHIFTS - _SHIFTS // 2)
        return list(best.items())[:_TRIED]

    def _compared(self, one: AudioPrint, place: int, shift: int) -> Alike | None:
        other = self._prints[place]
        least = max(_LEAST, min(_ENOUGH, min(one.frames, other.frames) / 2))
        best: Alike | None = None
        for at in (shift, shift + 1):
            begin, end = max(0, -at), max(0, -at, min(len(one.words), len(other.words) - at))
            firm = one.firm[begin:end] & other.firm[begin + at : end + at]
            frames, bits = int(np.count_nonzero(firm)), int(np.bitwise_count(firm).sum())
            if frames < least:
                continue
            wrong = (one.words[begin:end] ^ other.words[begin + at : end + at]) & firm
            agreement = 1 - int(np.bitwise_count(wrong).sum()) / bits
            if best is None or agreement > best.agreement:
                best = Alike(place, agreement, frames * _HOP / RATE, at * _HOP / RATE)
        return best if best is not None and best.agreement >= (PROOF if best.proven else SUSPICION) else None


def wave_likeness(one: Wave, other: Wave, shift: float) -> float:
    """Highest absolute correlation of two recordings [N], [M] at `RATE` where they overlap, 0 to 1.

    `shift` is how much later the second one is heard, in seconds, known to within two hops; fractions of a sample,
    which lossy coders and resamplers leave behind, are searched too. The waves' square roots are correlated as well:
    what was clipped or faded is less alike itself.
    """
    return max(_correlation(one, other, shift), _correlation(_rooted(one), _rooted(other), shift))


def _rooted(wave: Wave) -> Wave:
    """The wave [N] with every value's root, which loud and quiet differ less in."""
    return np.copysign(np.sqrt(np.abs(wave)), wave)


def _correlation(one: Wave, other: Wave, shift: float) -> float:
    at, margin = round(shift * RATE), 2 * _HOP
    begin, end = max(0, -at), min(len(one), len(other) - at)
    if end <= begin:
        return 0.0
    mine = one[begin:end].astype(np.float64)
    theirs = np.pad(other, margin)[begin + at : end + at + 2 * margin].astype(np.float64)
    size = 1 << (len(mine) + len(theirs)).bit_length()
    cross = np.fft.rfft(mine, size).conj() * np.fft.rfft(theirs, size)
    product = np.abs(np.fft.irfft(cross, _FINER * size)[: _FINER * 2 * margin]) * _FINER
    total = np.concatenate([[0.0], np.cumsum(theirs**2)])
    energy = (total[len(mine) :] - total[: -len(mine)])[: 2 * margin] * (mine**2).sum()
    return float((product / np.sqrt(np.maximum(energy, _TINY)).repeat(_FINER)).max())


def _keys(words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Both halves of each word [T], told apart, as keys [2T]."""
    return np.concatenate([words & 0xFFFF, (words >> 16) + _HALVES]).astype(np.int64)
