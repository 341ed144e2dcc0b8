"""The nouns. A sample becomes rollouts, rollouts get scores, scores become credits; a held-out sample becomes an
outcome.

All are frozen: a stage hands the next one new objects and never edits the old. Rates are in Hz and times in seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Rows = Literal["frames", "mel"]
"""What rows of features are: log-mel as we compute it, or anything else."""


@dataclass(frozen=True, slots=True)
class Audio:
    """A recording or a section of one: a file still to be decoded, or a waveform already in memory."""

    path: str | None = None
    """File to decode; None when `wave` holds the samples."""
    start: float | None = None
    """Where the section begins, seconds; None is the beginning."""
    end: float | None = None
    """Where the section ends, seconds; None is the end."""
    wave: Wave | None = field(default=None, compare=False, repr=False)
    """Mono samples [N] in memory; `sha256` stands for them in comparisons."""
    rate: int | None = None
    """Samples per second of `wave`; None for a file, whose header says."""
    sha256: str | None = None
    """Hash of the content, hex; None until the file has been read."""

    @classmethod
    def of(cls, wave: Wave, rate: int) -> Audio:
        """An in-memory recording from mono float32 samples [N] at `rate` Hz."""
        wave = np.ascontiguousarray(wave, dtype=np.float32)
        return cls(wave=wave, rate=rate, sha256=hashlib.sha256(wave.tobytes() + b"@%d" % rate).hexdigest())


@dataclass(frozen=True, slots=True)
class Frames:
    """Precomputed feature frames of a recording, for example VGGish at 1 Hz."""

    values: NDArray[np.float32] = field(compare=False, repr=False)
    """Features [T, D]."""
    rate: float
    """Frames per second."""
    sha256: str
    """Hash of the content, hex."""
    kind: Rows = "frames"
    """`mel` where they are log-mel as we compute it, so that a model of recordings hears them too."""

    @classmethod
    def of(cls, values: NDArray[np.float32], rate: float, kind: Rows = "frames") -> Frames:
        """Frames from features [T, D] at `rate` frames per second."""
        values = np.ascontiguousarray(values, dtype=np.float32)
        digest = hashlib.sha256(values.tobytes() + b"@%r" % rate).hexdigest()
        return cls(values=values, rate=rate, sha256=digest, kind=kind)


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: a file still to be opened, or pixels already in memory."""

    path: str | None = None
    """File to open; None when `pixels` holds the picture."""
    pixels: Pixels | None = field(default=None, compare=False, repr=False)
    """RGB [H, W, 3] in memory; `sha256` stands for them in comparisons."""
    sha256: str | None = None
    """Hash of the content, hex; None until the file has been read."""
    frame: int | None = None
    """Which of the pictures in the file, from 0; None where it holds one."""

    @classmethod
    def of(cls, pixels: Pixels) -> Image:
        """An in-memory picture from RGB pixels [H, W, 3]."""
        pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
        shape = b"@%dx%d" % pixels.shape[:2]
        return cls(pixels=pixels, sha256=hashlib.sha256(pixels.tobytes() + shape).hexdigest())


Media = Audio | Frames | Image


@dataclass(frozen=True, slots=True)
class Turn:
    """One speaker's turn; media stand where they are meant to be heard."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: tuple[str | Media, ...]
    """Text and media in order."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about media, with what is known of its answer."""

    id: str
    """Unique within its data set."""
    turns: tuple[Turn, ...]
    """The conversation up to the reply that is asked for."""
    answers: tuple[str, ...]
    """Accepted answers as text, the first one is the demonstration; empty when unknown."""
    choices: tuple[str, ...] = ()
    """Options as text, without letters; empty for an open question."""
    thought: str | None = None
    """Reasoning of a demonstration, when there is one."""
    group: str = ""
    """Clip, patient, speaker or video that must not cross a split and that errors are clustered by; empty means the
    id."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels to break results down by, for example `task`."""

    @property
    def media(self) -> tuple[Media, ...]:
        """All media in the order in which they are heard."""
        return tuple(part for turn in self.turns for part in turn.content if not isinstance(part, str))

    @property
    def question(self) -> str:
        """The text of the last turn, media left out."""
        return " ".join(part.strip() for part in self.turns[-1].content if isinstance(part, str)).strip()


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reply says once its form is read. `answer` is None exactly when `problem` names why."""

    answer: str | None
    """The answer as text (for a choice: the option's text), or None."""
    problem: str | None = None
    """Why there is no answer: `empty`, `unclosed_thinking`, `no_answer`, `several_answers`, `not_a_choice`."""
    thought: str | None = None
    """The reasoning, when the form has a place for it and the reply fills it."""
    well_formed: bool = False
    """The whole reply keeps to its form and nothing stands outside of it."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How replies are drawn."""

    temperature: float = 1.0
    """Divides the logits; 0 is greedy."""
    top_p: float = 1.0
    """The smallest set of tokens with this probability is drawn from; 1 draws from all."""
    max_tokens: int = 64
    """Longest reply, tokens; a reply cut there has stop = length."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One reply to one sample: sampled from a policy, or written down as a demonstration."""

    prompt_ids: tuple[int, ...]
    """Token ids of the prompt, media placeholders expanded."""
    reply_ids: tuple[int, ...]
    """Token ids of the reply, the end token included when it was reached."""
    logps: tuple[float, ...] | None
    """Log-probability of each reply token under the policy and temperature that sampled it; None for a
    demonstration."""
    text: str
    """The reply as text, special tokens left out."""
    stop: Literal["end", "length", "demonstration"]
    """Why it stopped."""
    policy: str
    """Fingerprint of the weights that sampled it; `demonstration` when nobody did."""
    parsed: Parsed
    """The reply as its form reads it: reward, evaluation and submission all use this one reading."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a rubric says of one rollout."""

    parts: Mapping[str, float | None]
    """Unweighted value of each part by name; None where it could not be computed."""
    total: float | None
    """Weighted sum; None when any part is None: ungraded is not zero."""


@dataclass(frozen=True, slots=True)
class Group:
    """A sample with its rollouts and their scores, in the same order."""

    sample: Sample
    """The prompt that all rollouts answer."""
    rollouts: tuple[Rollout, ...]
    """G replies."""
    scores: tuple[Score, ...]
    """G scores; empty for demonstrations, which nobody scores."""

    def __post_init__(self) -> None:
        if self.scores and len(self.scores) != len(self.rollouts):
            raise ValueError(f"group {self.sample.id}: {len(self.rollouts)} rollouts but {len(self.scores)} scores")


@dataclass(frozen=True, slots=True)
class Credit:
    """What one rollout teaches, and how strongly."""

    sample: Sample
    """The sample that was answered."""
    rollout: Rollout
    """The reply to learn from."""
    advantage: float
    """Strength and direction: 1 imitates, a negative number unlearns."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One evaluated row. Every row of a benchmark has one, also those without an answer."""

    id: str
    """The sample's id."""
    input: str
    """The question as text."""
    target: str
    """The gold answer."""
    reply: str
    """The raw reply."""
    parsed: Parsed
    """What was scored."""
    correct: bool
    """Whether it counts as right; an unparsed reply is wrong and says why in `parsed.problem`."""
    group: str
    """Cluster for standard errors."""
    tags: Mapping[str, str]
    """Labels to break results down by."""
    confidence: float | None = None
    """Probability of its answer among the options, 0 to 1; None where that was not measured or cannot be."""
