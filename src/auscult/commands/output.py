"""What commands print, and what libraries would."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def show(out: Path, figures: Mapping[str, Any], *, as_json: bool) -> None:
    """The figures of the finished run in `out`: one JSON object, or its table and where its page is."""
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    from rich.console import Console

    from auscult.report.table import print_table

    print_table(out, Console())
    print(f"\n{figures['report']}")


def several(count: int, what: str) -> str:
    """So many of them: `1 fault`, `3 faults`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def quiet() -> None:
    """Libraries are silent; what must be known is said by us."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from transformers.utils import logging as transformers

    transformers.set_verbosity_error()
    transformers.disable_progress_bar()
