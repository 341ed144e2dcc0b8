"""All that a report says about a run, as frozen figures: `reading` makes them, `words` and `charts` tell them.

Accuracies and their differences are fractions, scores of captions are as the official scorers have them. What was not
measured is None or empty, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BASELINES = ("chance", "majority", "shuffled", "silence", "text_only")
"""Baselines that reports speak of: two that need no model, and those that give the model other media or none; one of
the last two, by what the questions are about."""
METRICS = ("cider_d", "rouge_l", "bleu_1", "bleu_2", "bleu_3", "bleu_4")
"""What captions are scored by; the first is what is told first."""
STAGES = ("sft", "rest", "grpo")
"""Training stages in the order in which they run; others that left metrics follow."""
BANDS = ("unsolved", "hard", "middle", "easy", "solved", "unanswered")
"""How many of a prompt's replies were right, as an iteration's manifest calls it."""


@dataclass(frozen=True, slots=True)
class Share:
    """An accuracy, with what it rests on."""

    accuracy: float | None
    """Fraction right, 0 to 1; None when it was not measured."""
    interval: tuple[float, float] | None = None
    """95 % interval as fractions."""
    n: int | None = None
    """Rows; None for a baseline that is arithmetic."""
    correct: int | None = None
    """Rows that were right."""
    baselines: Mapping[str, Share] = field(default_factory=dict["str", "Share"])
    """What else was measured on the same questions, by name; names of `BASELINES` first."""
    unparsed: Mapping[str, int] = field(default_factory=dict[str, int])
    """Rows without an answer, by reason; empty where no model was asked."""


NOT_MEASURED = Share(None)


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of which the model is about equally sure."""

    n: int
    """Answers."""
    confidence: float
    """Mean probability that they were given, 0 to 1."""
    accuracy: float
    """Fraction of them that is right."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a model is as sure of its answers as it may be."""

    bins: int
    """Bins of equal width from 0 to 1, empty ones counted."""
    n: int
    """Answers with a confidence."""
    ece: float | None
    """Expected calibration error, a fraction; None where no answer has a confidence."""
    filled: tuple[Bin, ...]
    """The bins that are not empty, in order."""
    unmeasured: Mapping[str, int]
    """Answers without a confidence, by reason."""


@dataclass(frozen=True, slots=True)
class Result:
    """One evaluation of one set of weights."""

    label: str
    """Which weights, for example `sft`."""
    order: float
    """Position in time."""
    form: str
    """Form the answers had to keep to."""
    scorer: str
    """Rule that decided what is right."""
    total: Share
    """All rows."""
    clustered_se: float | None
    """Standard error of the accuracy with rows clustered by their group (clip, patient, speaker), as a fraction."""
    clusters: int | None
    """Number of groups."""
    unparsed: Mapping[str, int]
    """Rows without an answer, by reason."""
    by: Mapping[str, Mapping[str, Share]]
    """Breakdowns: tag, then value of the tag."""
    media: Mapping[str, int]
    """What happened to the clips, as counted: `clips`, `trimmed_clips` and more."""
    calibration: Calibration | None = None
    """How sure the model is of its answers; None where that was not measured."""
    benchmark: str = ""
    """Whose questions they were; empty for a recipe's own held-out ones."""
    correction: str = "CR2"
    """What `clustered_se` is by: CR2, as the interval is, or CR0 of results that an earlier version wrote."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How well a set of captions agrees with the references of their clips."""

    values: Mapping[str, float | None]
    """Scores by name, all of `METRICS`; None where one was not measured."""
    intervals: Mapping[str, tuple[float, float] | None]
    """95 % intervals of those that are means over clips."""
    unparsed: Mapping[str, int] = field(default_factory=dict[str, int])
    """Replies without a caption, by reason."""

    @property
    def headline(self) -> float | None:
        """CIDEr-D."""
        return self.values[METRICS[0]]

    @property
    def reach(self) -> tuple[float, float] | None:
        """Its interval."""
        return self.intervals.get(METRICS[0])


@dataclass(frozen=True, slots=True)
class Described:
    """One evaluation of one set of weights by the captions that it gave."""

    label: str
    """Which weights, for example `sft`."""
    order: float
    """Position in time."""
    form: str
    """Form the captions had to keep to."""
    n: int
    """Clips."""
    scores: Scores
    """Of all clips, those without a caption included."""
    clustered_se: float | None
    """Standard error of CIDEr-D with clips clustered by their group (video, recording)."""
    clusters: int
    """Number of groups."""
    unparsed: Mapping[str, int]
    """Clips without a caption, by reason."""
    baselines: Mapping[str, Scores]
    """What else the same clips were described by."""
    constant: str
    """The best constant caption."""
    media: Mapping[str, int]
    """What happened to the clips, as counted."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """Two sets of captions of the same clips, clip by clip."""

    before: str
    """Label of the earlier one."""
    after: str
    """Label of the later one."""
    n: int
    """Clips."""
    difference: float
    """CIDEr-D after minus CIDEr-D before."""
    interval: tuple[float, float] | None
    """95 % interval of the difference; None where all groups of clips changed alike."""
    better: int
    """Clips whose caption scores higher after."""
    alike: int
    """Clips whose caption scores the same."""
    worse: int
    """Clips whose caption scores lower."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations of the same questions, question by question."""

    before: str
    """Label of the earlier one."""
    after: str
    """Label of the later one."""
    n: int
    """Questions."""
    difference: float
    """Accuracy after minus accuracy before, as a fraction."""
    interval: tuple[float, float] | None
    """95 % interval of the difference; None where all groups of questions changed alike, as when none did."""
    mcnemar_p: float
    """Probability of so uneven a split of the changed answers if neither were better."""
    both_right: int
    """Right before and after."""
    only_before: int
    """Lost."""
    only_after: int
    """Gained."""
    both_wrong: int
    """Wrong before and after."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One logged quantity over steps."""

    name: str
    """Key in metrics.jsonl."""
    points: tuple[tuple[float, float], ...]
    """(step, value) in the order of the file, finite values only."""
    not_finite: int
    """Rows in which it was NaN, infinite or null."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one training stage logged."""

    name: str
    """Its folder."""
    curves: Mapping[str, Curve]
    """By key; empty when nothing was logged."""
    not_numbers: tuple[str, ...] = ()
    """Logged keys that are no quantity, such as a note."""

    @property
    def media(self) -> Mapping[str, int]:
        """What happened to the clips over all steps, as counted."""
        counted = {key.removeprefix("media/"): curve.points for key, curve in self.curves.items() if "media/" in key}
        return {what: round(sum(value for _, value in points)) for what, points in counted.items()}


@dataclass(frozen=True, slots=True)
class Iteration:
    """What one iteration of self-training sampled, kept and came to."""

    stage: str
    """Its stage's folder."""
    number: int
    """From 1."""
    prompts: Mapping[str, int]
    """Prompts by band, all of `BANDS`."""
    replies: Mapping[str, int]
    """Replies by what became of them."""
    imitated: int
    """Replies that were kept to learn from."""
    before: Share
    """Held-out accuracy before it."""
    after: Share
    """Held-out accuracy after it."""
    difference: float | None
    """After minus before, as a fraction, paired by question; None when nothing was trained."""
    interval: tuple[float, float] | None
    """95 % interval of the difference; None as in a comparison."""
    decision: str
    """Whether its model was kept or rolled back."""
    captions: tuple[float, float] | None = None
    """Held-out CIDEr-D before and after it, in place of accuracies; the difference is theirs then."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A media file that belongs to a rollout."""

    kind: str
    """`audio`, `image` or another word."""
    file: str | None
    """Path relative to the run folder, as written; None for frames, of which no file is kept."""
    seconds: float | None
    """Duration as written."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A sampled rollout to read and to hear."""

    id: str
    """The sample's id."""
    question: str
    """The question as text."""
    choices: tuple[str, ...]
    """Options as text; empty for an open question."""
    gold: str
    """The accepted answer."""
    media: tuple[Clip, ...]
    """What the model heard."""
    prompt: str
    """The prompt as rendered."""
    reply: str
    """The raw reply."""
    answer: str | None
    """The reply as its form reads it."""
    problem: str | None
    """Why there is no answer."""
    parts: Mapping[str, float | None]
    """Reward parts; None where one could not be computed."""
    total: float | None
    """Weighted reward; None when a part is None."""
    tags: Mapping[str, str]
    """Labels of the sample."""
    references: tuple[str, ...] = ()
    """What people wrote, where the reply is a caption; empty where it is an answer."""

    @property
    def verdict(self) -> str:
        """`right`, `wrong`, `unparsed`, or `open` where comparing texts would decide nothing."""
        if self.answer is None:
            return "unparsed"
        if self.gold not in self.choices:
            return "open"
        return "right" if self.answer == self.gold else "wrong"


@dataclass(frozen=True, slots=True)
class Figures:
    """All that a report says about a run."""

    name: str
    """The run folder's name."""
    environment: tuple[tuple[str, str | None], ...]
    """What was run, in words: (name, value); None where it was not recorded."""
    results: tuple[Result, ...]
    """Evaluations in time order."""
    comparisons: tuple[Comparison, ...]
    """Paired comparisons."""
    stages: tuple[Stage, ...]
    """Training stages in the order in which they run, those that nobody knows last."""
    iterations: tuple[Iteration, ...]
    """Iterations of self-training, in order."""
    rollouts: tuple[Shown, ...]
    """Sampled rollouts."""
    config: str | None
    """config.yaml as written."""
    described: tuple[Described, ...] = ()
    """Evaluations of captions in time order."""
    rivals: tuple[Rivals, ...] = ()
    """Paired comparisons of captions."""

    @property
    def breakdowns(self) -> Mapping[str, tuple[str, ...]]:
        """Tags that results are broken down by, with their values in order of appearance; `task` always comes first."""
        values: dict[str, dict[str, None]] = {"task": {}}
        for result in self.results:
            for tag, shares in result.by.items():
                values.setdefault(tag, {}).update(dict.fromkeys(shares))
        return {tag: tuple(names) for tag, names in values.items()}

    def rows_of(self, tag: str, value: str) -> tuple[int, ...]:
        """How many rows have `value` for `tag`: one number where all results agree."""
        shares = [result.by[tag][value] for result in self.results if value in result.by.get(tag, {})]
        return tuple(dict.fromkeys(share.n for share in shares if share.n is not None))

    def baselines_of(self, tag: str, value: str) -> Mapping[str, Share]:
        """Baselines of the rows that have `value` for `tag`; where results differ, those of the last one."""
        shares = [result.by[tag][value] for result in self.results if value in result.by.get(tag, {})]
        return {name: beside for share in shares for name, beside in share.baselines.items()}

    @property
    def baselines(self) -> tuple[str, ...]:
        """Baselines to speak of, measured or not: silence, or text alone where that was asked in its place."""
        measured = dict.fromkeys(name for result in self.results for name in result.total.baselines)
        unasked = "silence" if "text_only" in measured else "text_only"
        return tuple(name for name in dict.fromkeys([*BASELINES, *measured]) if name != unasked or name in measured)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons for missing answers over all results."""
        return tuple(dict.fromkeys(reason for result in self.evaluated for reason in result.unparsed))

    @property
    def evaluated(self) -> tuple[Result | Described, ...]:
        """Evaluations of either kind; a run has one kind."""
        return self.results or self.described
