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
    compared = out / "results_comparison.json"  # not there yet when the run was stopped
    return {
        "run": str(out),
        "report": str(out / "report.html"),
        "results": dict(sorted(results.items(), key=lambda item: item[1]["order"])),
        "comparison": json.loads(compared.read_text()) if compared.exists() else [],
        "seconds": json.loads((out / "environment.json").read_text()).get("seconds"),
    }
