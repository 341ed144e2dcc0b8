"""The figures of a finished run as one object: what `--json` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def summary(out: Path) -> dict[str, Any]:
    """The figures of a finished run: results by label in order, comparisons, where the page is."""
    results = {
        found["label"]: found
        for found in (json.loads(p.read_text(encoding="utf-8")) for p in sorted(out.glob("results_*.json")))
        if "label" in found
    }
    compared, environment = out / "results_comparison.json", out / "environment.json"  # not there in a run just begun
    probe = next(
        (path for path in (out / "results_probe.json", out / "pretrain/results_probe.json") if path.exists()), None
    )
    return {
        "run": str(out),
        "report": str(out / "report.html"),
        "results": dict(sorted(results.items(), key=lambda item: item[1]["order"])),
        "comparison": json.loads(compared.read_text(encoding="utf-8")) if compared.exists() else [],
        "seconds": json.loads(environment.read_text(encoding="utf-8")).get("seconds") if environment.exists() else None,
        **({} if probe is None else {"probe": json.loads(probe.read_text(encoding="utf-8"))}),
    }
