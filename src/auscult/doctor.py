"""What this machine can do: every optional part is tried by importing it, because a package that is there may still
not load."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What."""
    good: bool
    """Whether it is as it should be."""
    found: str
    """What was found."""
    advice: str = ""
    """What to do when it is not good."""
    optional: bool = False
    """Whether auscult works without it."""


def examine() -> list[Check]:
    """All checks, cheap ones first."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    checks = [
        Check("python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or later"),
        Check("cores", True, str(os.cpu_count())),
        Check("memory", memory >= 3, f"{memory:.0f} GiB", "quickstart needs 3 GiB", optional=True),
        Check("disk", free >= 1, f"{free:.0f} GiB free here", "runs need about 1 GiB; use --out on another disk"),
    ]
    for name, advice, optional in (
        ("torch", "pip install torch", False),
        ("transformers", "pip install transformers", False),
        ("soundfile", "pip install soundfile", False),
        ("soxr", "pip install soxr", False),
        ("av", "pip install 'auscult[av]' to read m4a, mp4 and webm", True),
        ("bitsandbytes", "pip install 'auscult[nf4]' for weights in 4 bits and AdamW in 8", True),
        ("timm", "pip install timm to show images to Gemma 3n", True),
    ):
        checks.append(_package(name, advice, optional))
    checks.append(_attempt("gpu", _gpu, "training runs on the CPU; install a CUDA build of torch to use a GPU"))
    return checks


def _package(name: str, advice: str, optional: bool) -> Check:
    logging.disable(logging.WARNING)  # bitsandbytes would complain of a part that nobody here asks for
    try:
        module = importlib.import_module(name)
    except Exception as problem:  # noqa: BLE001 - a broken package fails in any way it likes, and that is the finding
        return Check(name, False, f"does not load ({problem})", advice, optional)
    finally:
        logging.disable(logging.NOTSET)
    return Check(name, True, str(getattr(module, "__version__", "there")), optional=optional)


def _attempt(name: str, look: Callable[[], str | None], advice: str) -> Check:
    try:
        found = look()
    except Exception as problem:  # noqa: BLE001 - a broken driver fails in any way it likes, and that is the finding
        return Check(name, False, f"cannot be used ({problem})", advice, optional=True)
    return Check(name, found is not None, found or "none", advice, optional=True)


def _gpu() -> str | None:
    import torch  # loads for seconds; the other checks do not need it

    if not torch.cuda.is_available():
        return None
    return ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
