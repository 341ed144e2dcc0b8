"""Rollouts on disk: one JSON line a group, exact to the bit, so that a killed step goes on with what it had already
sampled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from auscult.core.runs import read_jsonl, write_text
from auscult.core.types import Group, Parsed, Rollout, Sample, Score


def write_groups(path: Path, groups: Sequence[Group]) -> None:
    """All groups of a step, whole or not at all. The prompt's ids stand once a group; media stay where their samples
    are."""
    write_text(path, "".join(json.dumps(_row(group), ensure_ascii=False) + "\n" for group in groups))


def read_groups(path: Path, samples: Sequence[Sample], policy: str) -> list[Group] | None:
    """The groups that a killed step left for these samples and this policy; None when there are none or they are
    another's."""
    if not path.is_file():
        return None
    rows = read_jsonl(path).rows
    if [row["id"] for row in rows] != [sample.id for sample in samples]:
        return None
    groups = [_group(row, sample) for row, sample in zip(rows, samples, strict=True)]
    if any(rollout.policy != policy for group in groups for rollout in group.rollouts):
        return None
    return groups


def _row(group: Group) -> dict[str, Any]:
    return {
        "id": group.sample.id,
        "prompt_ids": group.rollouts[0].prompt_ids,
        "rollouts": [{k: v for k, v in asdict(rollout).items() if k != "prompt_ids"} for rollout in group.rollouts],
        "scores": [{"parts": dict(score.parts), "total": score.total} for score in group.scores],
    }


def _group(row: dict[str, Any], sample: Sample) -> Group:
    rollouts = tuple(
        Rollout(
            prompt_ids=tuple(row["prompt_ids"]),
            reply_ids=tuple(r["reply_ids"]),
            logps=None if r["logps"] is None else tuple(r["logps"]),
            text=r["text"],
            stop=r["stop"],
            policy=r["policy"],
            parsed=Parsed(**r["parsed"]),
        )
        for r in row["rollouts"]
    )
    return Group(sample, rollouts, tuple(Score(score["parts"], score["total"]) for score in row["scores"]))
