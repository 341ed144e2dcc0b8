"""What another model thinks of a reply, from 0.0 (the lowest grade) to 1.0 (the highest).

    judge: {weight: 1.0, kwargs: {model: qwen3-32b, url: "http://gpu:8000/v1", prompt: reference}}

The judge sees the answer as the form read it, not the thought around it, unless its prompt asks for that (`prompt` may
be a text file; its places are named in `fields`). A reply without a readable answer gets 0.0 and is not sent. The
replies of a group are judged at the same time, equal ones once; all judgements are kept in `cache`. A judgement that
failed is None, never 0. Whoever trains on a judge trains against it: keep a reward that cannot be talked to beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from auscult.core.config import build
from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample

if TYPE_CHECKING:
    from auscult.rewards.judging.judge import Judge


def judge(
    sample: Sample,
    rollouts: Sequence[Rollout],
    *,
    model: str,
    prompt: str = "reference",
    scale: Sequence[int] | None = None,
    **connection: Any,
) -> list[float | None]:
    """A grade for each rollout of a group. `connection` are options of `judging.options.Judging`: url, key_env, cache,
    offline, retries, extra …; `scale` is [lowest, highest], and known for a prompt of ours.

    All are None when the prompt wants a reference answer and the sample has none. Raises ConfigError for options that
    cannot be, and EndpointError, BudgetError and JudgeError as a judge does.
    """
    from auscult.rewards.judging.grading import SCALES, Scale, grade

    asked = _judge(prompt, json.dumps({**connection, "model": model}, sort_keys=True))
    if scale is None and prompt not in SCALES:
        raise ConfigError(f"the judge's prompt {prompt} has no scale of its own; give scale: [lowest, highest]")
    steps = SCALES[prompt] if scale is None else Scale(*scale)
    if "reference" in asked.prompt.fields and not sample.answers:
        return [None] * len(rollouts)
    readable = [rollout for rollout in rollouts if rollout.parsed.answer is not None]
    graded = iter(grade(asked, steps, [(sample.id, fields(sample, rollout)) for rollout in readable]).grades)
    grades = [next(graded) if rollout.parsed.answer is not None else steps.lowest for rollout in rollouts]
    return [None if found is None else steps.share(found) for found in grades]


def fields(sample: Sample, rollout: Rollout) -> Mapping[str, Any]:
    """What a prompt may show of a reply."""
    return {
        "question": sample.question,
        "choices": list(sample.choices),
        "reference": sample.answers[0] if sample.answers else None,
        "references": list(sample.answers),
        "answer": rollout.parsed.answer,
        "thought": rollout.parsed.thought or "",
        "reply": rollout.text,
    }


@lru_cache(maxsize=8)
def _judge(prompt: str, options: str) -> Judge:
    """One judge a process for the same options, so that its cache is read once."""
    from auscult.rewards.judging.judge import Judge
    from auscult.rewards.judging.options import Judging
    from auscult.rewards.judging.prompt import read_prompt

    return Judge(build(Judging, json.loads(options), where="the judge's kwargs"), read_prompt(prompt))
