"""The figures of a finished run as one object: what `--json` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def summary(out: Path) -> dict[str, Any]:
    """The figures of a finished run: results by label in order, comparisons, where the page is."""
    results = {
        found["label"]: found
        for found in (json.loads(p.read_text()) for p in sorted(out.glob("results_*.json")))
        if "label" in found
    }
    return {
        "run": str(out),
        "report": str(out / "report.html"),
        "results": dict(sorted(results.items(), key=lambda item: item[1]["order"])),
        "comparison": json.loads((out / "results_comparison.json").read_text()),
        "seconds": json.loads((out / "environment.json").read_text()).get("seconds"),
    }
