"""Time of the CIDEr-D reward for one candidate of a group, beside a scorer that keeps nothing between candidates.

The reward is called as a rubric calls it, raw text in and score out, tokens included; the references of a sample are
new for its first candidate and known for the others. The plain scorer is the formula written down, and gets tokens.
Where pycocoevalcap is installed, its own scorer is timed too, on tokens as well (it counts document frequencies in the
batch, so its numbers are others). Reward and plain scorer must agree. Times are of the processor, so that other
programs on the machine count little.

    python benchmarks/captions.py [--group 8] [--samples 200]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from auscult.core.seeds import rng
from auscult.core.types import Parsed, Rollout, Sample
from auscult.rewards.captioning.frequencies import Frequencies
from auscult.rewards.captioning.tokens import tokenize
from auscult.rewards.rubric import Rubric

WORDS = (
    "a a a the and while as then with of in on man woman child dog bird engine rain water door wind crowd music speaks "
    "barks sings idles falls splashes creaks blows cheers plays loudly softly nearby distance background followed by"
)
Corpus = list[tuple[list[str], list[str]]]
"""For each sample its candidates and its references."""


def corpus(samples: int, group: int, references: int) -> Corpus:
    """Captions of 6 to 14 words with a comma and a full stop."""
    draw = rng(0, "captions", references)
    words = WORDS.split()

    def caption() -> str:
        found = [str(word) for word in draw.choice(words, size=draw.integers(6, 15))]
        return f"{' '.join(found[:3])}, {' '.join(found[3:])}."

    return [([caption() for _ in range(group)], [caption() for _ in range(references)]) for _ in range(samples)]


def plain(candidate: Sequence[str], references: Sequence[Sequence[str]], frequencies: Frequencies) -> float:
    """CIDEr-D of one candidate, all of it computed anew."""

    def vectors(tokens: Sequence[str]) -> list[dict[tuple[str, ...], float]]:
        found: list[dict[tuple[str, ...], float]] = []
        for n in range(1, 5):
            counts = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
            found.append(
                {g: c * math.log(frequencies.documents / frequencies.counts.get(g, 1)) for g, c in counts.items()}
            )
        return found

    total = 0.0
    mine = vectors(candidate)
    for reference in references:
        damping = math.exp(-((len(candidate) - len(reference)) ** 2) / 72)
        for one, other in zip(mine, vectors(reference), strict=True):
            lengths = math.hypot(*one.values()) * math.hypot(*other.values())
            dot = sum(min(weight, other[gram]) * other[gram] for gram, weight in one.items() if gram in other)
            total += damping * dot / lengths if lengths else 0.0
    return 10 * total / (4 * len(references))


def official() -> Callable[[list[str], list[str]], object] | None:
    """pycocoevalcap's scorer for one sample; None where it is not installed."""
    try:
        from pycocoevalcap.cider.cider import Cider  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    scorer = Cider()
    return lambda candidates, references: scorer.compute_score(
        dict.fromkeys(range(len(candidates)), references), {i: [text] for i, text in enumerate(candidates)}
    )


def microseconds(score: Callable[[int], object], samples: int, group: int) -> float:
    """Time for one candidate when samples are scored one after the other, the median of five parts of them."""
    times: list[float] = []
    for part in range(5):
        began = time.process_time()
        for sample in range(part, samples, 5):
            score(sample)
        times.append((time.process_time() - began) / len(range(part, samples, 5)) / group * 1e6)
    return round(median(times), 1)


def rollout(text: str) -> Rollout:
    return Rollout((), (), None, text, "end", "benchmark", Parsed(text))


def row(samples: int, group: int, references: int, folder: Path) -> dict[str, float]:
    """Times for one number of references, and how many times the reward's the others are."""
    captions = corpus(samples, group, references)
    tokens = [([tokenize(one) for one in own], [tokenize(one) for one in gold]) for own, gold in captions]
    spaced = [([" ".join(one) for one in own], [" ".join(one) for one in gold]) for own, gold in tokens]
    frequencies = Frequencies.of(gold for _, gold in tokens)
    frequencies.write(folder / f"df{references}.json")
    rubric = Rubric.from_config({"cider": {"weight": 1.0, "kwargs": {"df": str(folder / f"df{references}.json")}}})
    groups = [
        (Sample(str(i), (), tuple(gold)), [rollout(one) for one in own]) for i, (own, gold) in enumerate(captions)
    ]
    rubric.score(*groups[0])  # reads the frequencies

    def rewarded(i: int) -> list[float]:
        return [score.total or 0.0 for score in rubric.score(*groups[i])]

    def computed(i: int) -> list[float]:
        return [plain(one, tokens[i][1], frequencies) for one in tokens[i][0]]

    times = {
        "reward_us": microseconds(rewarded, samples, group),
        "plain_us": microseconds(computed, samples, group),
    }
    for i in range(samples):
        assert all(abs(one - other) < 1e-9 for one, other in zip(rewarded(i), computed(i), strict=True))
    if (score := official()) is not None:
        times["pycocoevalcap_us"] = microseconds(lambda i: score(*spaced[i]), samples, group)
    ratios = {name.replace("_us", "_ratio"): round(took / times["reward_us"], 2) for name, took in times.items()}
    ratios.pop("reward_ratio")
    return {"references": references, **times, **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description="time of the CIDEr-D reward for one candidate, microseconds")
    parser.add_argument("--group", type=int, default=8, help="candidates of one sample (default: 8)")
    parser.add_argument("--samples", type=int, default=200, help="samples (default: 200)")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        rows = [row(options.samples, options.group, references, Path(folder)) for references in range(1, 6)]
    print(json.dumps({"benchmark": "captions", "group": options.group, "rows": rows}))


if __name__ == "__main__":
    main()
