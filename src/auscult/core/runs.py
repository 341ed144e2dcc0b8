"""Run folders: what a stage leaves for the next one, whole or not at all.

`runs/NAME/{config.yaml, environment.json, metrics.jsonl, rollouts/, checkpoints/step-N/, ..., done}`. A run may be
killed at any instant and started again by the same command, therefore:

- a file or folder appears under its name only when it is complete (written aside, flushed to the disk, renamed);
- `done` is written last, and a folder that has it is finished;
- a folder belongs to one configuration: another one is refused, with the keys that differ;
- a folder has one writer at a time: the lock is the kernel's (`flock`), so it dies with its process;
- JSON lines are appended, and a kill can tear the last one. Readers drop the torn line and say so; `Run.open` mends the
  metrics, and a resumed trainer cuts them back to its checkpoint (`truncate_jsonl`).

JSON is strict: NaN and infinity are refused with the name of the key. Only `Run.log` takes them, because a diverging
loss must not kill the run before its reader sees it: the row then holds null, and names the key in `not_finite`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import platform
import shutil
import subprocess
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self, cast

import numpy as np

from auscult.core.errors import AuscultError, RunError
from auscult.core.yaml12 import dump_yaml, flow, read_yaml

ASIDE = ".tmp-"
"""Begins the name of what is not finished; nobody reads it."""
BEFORE = ".old-"
"""Begins the name of a folder that is just being replaced."""
FULL = 1 << 20
"""Free bytes below which a disk counts as full."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a user's share of it, and the longest file that is allowed."""
PACKAGES = (
    "auscult",
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "safetensors",
    "numpy",
    "soundfile",
    "soxr",
    "av",
)
"""Whose versions `environment.json` holds: those that can change a number."""


@contextmanager
def _writing(path: Path) -> Generator[None]:
    """Names the failure of whatever writes `path`: no right to, no room, something else in its place."""
    try:
        yield
    except OSError as problem:
        raise _unwritable(path, problem.strerror or str(problem)) from problem


def _unwritable(path: Path, why: str) -> RunError:
    return RunError(f"{path} cannot be written ({why}); make room there, or give --out another folder")


def write_bytes(path: Path | str, data: bytes | Iterable[bytes]) -> None:
    """Put `data`, or its pieces, under `path` at once: a reader sees the old content or all of the new, also after a
    power cut."""
    path = Path(path)
    aside = path.with_name(f"{ASIDE}{os.getpid()}-{threading.get_ident()}-{path.name}")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        _fsync(path.parent)


def write_text(path: Path | str, text: str | Iterable[str]) -> None:
    """`write_bytes` of UTF-8 text, or of its pieces."""
    write_bytes(path, text.encode() if isinstance(text, str) else (piece.encode() for piece in text))


def write_json(path: Path | str, value: Any) -> None:
    """`write_text` of indented strict JSON. Raises RunError that names the key of a value which JSON cannot hold."""
    write_text(path, json.dumps(_plain(value, str(path)), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: Path | str) -> Generator[Path]:
    """A new folder to fill, which becomes `path` when the block ends and vanishes when the block raises.

    An older folder of that name stays in place until then. What a killed process left over is removed, or put back if
    it was killed between the two renames.
    """
    path = Path(path)
    aside, before = path.with_name(ASIDE + path.name), path.with_name(BEFORE + path.name)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend(path.parent, only=(aside.name, before.name))
        aside.mkdir()
    try:
        yield aside
        for inside in (*aside.rglob("*"), aside):
            _fsync(inside)
    except BaseException as problem:  # whatever went wrong, an interrupt too, nothing half-made stays
        full = shutil.disk_usage(path.parent).free < FULL
        shutil.rmtree(aside, ignore_errors=True)
        if (
            isinstance(problem, Exception)
            and not isinstance(problem, AuscultError)
            and (why := _no_room(problem, full))
        ):
            raise _unwritable(path, why) from problem
        raise
    with _writing(path):
        if path.exists():
            path.rename(before)
        aside.rename(path)
        _fsync(path.parent)
        shutil.rmtree(before, ignore_errors=True)


def _no_room(problem: Exception, full: bool) -> str | None:
    """That the disk is full, or a limit met, in the system's words; libraries that write files have names of their own
    for it, and quote these words or not."""
    said = next((why for why in map(os.strerror, NO_ROOM) if why in str(problem)), None)
    return said or (os.strerror(errno.ENOSPC) if full else None)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mend(folder: Path, only: tuple[str, ...] = ()) -> None:
    """Remove what a killed process left aside in `folder`, and put back a folder that it had not yet replaced."""
    for leftover in sorted(folder.iterdir()):
        if only and leftover.name not in only:
            continue
        if leftover.name.startswith(BEFORE):
            replaced = folder / leftover.name.removeprefix(BEFORE)
            if not replaced.exists():
                leftover.rename(replaced)
                continue
        elif not leftover.name.startswith(ASIDE):
            continue
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


class Lines(NamedTuple):
    """What a file of JSON lines holds."""

    rows: list[dict[str, Any]]
    """The rows in order."""
    torn: str | None
    """The beginning of a last row that a kill cut off; None when the file is whole."""


def append_jsonl(path: Path | str, row: Mapping[str, Any]) -> None:
    """Append one row of strict JSON, in one write. Raises RunError when the file ends in a torn line."""
    path = Path(path)
    line = json.dumps(_plain(row, str(path)), ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    raise RunError(f"{path}: its last line is torn; cut it with truncate_jsonl before appending to it")
            file.write(line)


def read_jsonl(path: Path | str) -> Lines:
    """All rows of a file. A last line that a kill cut off is left out and handed back as `torn`.

    Raises RunError that names the line when a row is no JSON object anywhere else.
    """
    path = Path(path)
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except OSError as problem:
        raise RunError(f"{path}: cannot be read ({problem.strerror}); run the stage that writes it first") from problem
    rows = [_row(line, path, number) for number, line in enumerate(lines, start=1)]
    if not last:
        return Lines(rows, None)
    try:
        return Lines([*rows, _row(last, path, len(lines) + 1)], None)  # a whole row that only lacks its line end
    except RunError:
        return Lines(rows, last.decode(errors="replace"))


def truncate_jsonl(path: Path | str, keep: Callable[[dict[str, Any]], bool]) -> int:
    """Keep the rows for which `keep` says so; the number of lines dropped, a torn one included. No file is 0 rows.

    A trainer that resumes at step 40 says `keep=lambda row: row["step"] < 40`.
    """
    path = Path(path)
    if not path.exists():
        return 0
    rows, torn = read_jsonl(path)
    kept = [row for row in rows if keep(row)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    if text.encode() != path.read_bytes():
        write_text(path, text)
    return len(rows) - len(kept) + (torn is not None)


def _row(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise RunError(f"{path}: line {number} is no JSON ({problem}); mend or delete the line") from problem
    if not isinstance(row, dict):
        raise RunError(f"{path}: line {number} is no JSON object; mend or delete the line")
    return cast("dict[str, Any]", row)


def _plain(value: Any, where: str) -> Any:
    """`value` in JSON's own types; `where` is the path to it, for the error."""
    value = _scalar(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise RunError(f"{where} is {value}, which JSON cannot hold; store None where a value could not be computed")
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_text(key, where): _plain(inner, f"{where}: {key}") for key, inner in items}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{where}[{i}]") for i, inner in enumerate(cast("list[Any]", value))]
    raise RunError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold; turn it into text, numbers or lists first"
    )


def _scalar(value: Any) -> Any:
    return cast(Any, value).item() if isinstance(value, np.generic) else value


def _text(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise RunError(f"{where} has the key {key!r}, but JSON's keys are text; write {str(key)!r}")
    return key


@dataclass(slots=True)
class Run:
    """An open run folder, locked until `close` (or the end of its `with` block, or of its process)."""

    path: Path
    """The folder."""
    config: dict[str, Any]
    """The complete configuration, plain YAML values."""
    resumed: bool
    """Whether the folder was there before."""
    finished: bool
    """Whether `done` stands in it: then there is nothing left to do."""
    torn: str | None
    """The torn last metrics row that opening cut off, for the log; None when there was none."""
    _lock: IO[str] | None
    """Held by the one process that writes; None in one that looks on."""

    @classmethod
    def open(cls, path: Path | str, config: Mapping[str, Any], command: str, *, overwrite: bool = False) -> Run:
        """Create the folder `path`, or continue the run in it.

        `config` is complete (`to_dict`); `command` is what the user typed. `overwrite` empties a run folder first.
        Raises RunError when another process has the folder, when it was made with another configuration, is no run, or
        cannot be written.
        """
        with _writing(Path(path)):
            return cls._opened(Path(path), config, command, overwrite)

    @classmethod
    def _opened(cls, path: Path, config: Mapping[str, Any], command: str, overwrite: bool) -> Run:
        if path.is_dir() and not _is_run(path):
            raise RunError(f"{path} holds files but no run; give --out a new folder")
        path.mkdir(parents=True, exist_ok=True)
        lock = _locked(path)
        try:
            if overwrite:
                _empty(path)
            for folder in (path, *(inner for inner in path.iterdir() if inner.is_dir())):
                _mend(folder)
            resumed = (path / "config.yaml").exists()
            if resumed:
                _same(path, config)
            else:
                write_text(path / "config.yaml", dump_yaml(config))
            finished, torn = (path / "done").exists(), None
            if not finished:
                _note_environment(path / "environment.json", command)
                metrics = path / "metrics.jsonl"
                torn = read_jsonl(metrics).torn if metrics.exists() else None
                truncate_jsonl(metrics, keep=lambda row: True)
            return cls(path, dict(config), resumed, finished, torn, lock)
        except BaseException:  # the lock must not outlive a failed opening, whatever failed
            lock.close()
            raise

    @classmethod
    def beside(cls, path: Path | str, config: Mapping[str, Any], *, resumed: bool, finished: bool) -> Run:
        """The run in `path` for a process that takes part in it while another one writes: this one writes nothing."""
        return cls(Path(path), dict(config), resumed, finished, None, None)

    def log(self, step: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Append a row to `metrics.jsonl` and hand it back; None stands for what is not finite."""
        row: dict[str, Any] = {"step": step}
        lost: list[str] = []
        for key, value in values.items():
            number = _scalar(value)
            if isinstance(number, float) and not math.isfinite(number):
                lost.append(key)
                number = None
            row[key] = number
        if lost:
            row["not_finite"] = lost
        if self._lock is not None:
            append_jsonl(self.path / "metrics.jsonl", row)
        return row

    def finish(self) -> None:
        """Write `done`, after everything else."""
        if self._lock is not None:
            write_text(self.path / "done", f"{_now()}\n")
        self.finished = True

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_run(path: Path) -> bool:
    """A run folder has a configuration; one whose process died before it wrote that has only its lock and leftovers."""
    if (path / "config.yaml").exists() and (path / "lock").exists():
        return True
    return all(inner.name == "lock" or inner.name.startswith(ASIDE) for inner in path.iterdir())


def _locked(path: Path) -> IO[str]:
    lock = (path / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise RunError(
            f"{path} is in use by process {owner}; wait until it ends, or give --out another folder"
        ) from problem
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _empty(path: Path) -> None:
    """Delete a run, `done` first and the configuration last: a kill on the way leaves a run to continue, no riddle."""
    (path / "done").unlink(missing_ok=True)
    inside = [inner for inner in path.iterdir() if inner.name != "lock"]
    for inner in sorted(inside, key=lambda inner: inner.name == "config.yaml"):
        shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink()


def _same(path: Path, config: Mapping[str, Any]) -> None:
    there, here = _flat(read_yaml(path / "config.yaml")), _flat(config)
    differ = [key for key in {**there, **here} if key not in there or key not in here or there[key] != here[key]]
    if not differ:
        return

    def told(side: Mapping[str, Any], key: str) -> str:
        return flow(side[key]) if key in side else "not set"

    shown = [f"{key} is {told(there, key)} there and {told(here, key)} here" for key in differ[:5]]
    more = f", and {len(differ) - 5} more" if len(differ) > 5 else ""
    raise RunError(
        f"{path} was made with another configuration: {'; '.join(shown)}{more}. "
        f"Give --out another folder, or --overwrite to delete that run and begin again"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(cast("Mapping[str, Any]", value), f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value
    return flat


def environment(command: str) -> dict[str, Any]:
    """What numbers depend on besides the configuration: versions, git state and hardware. Loads no torch, so threads
    are those that it will take."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "command": command,
        "started": _now(),
        "platform": platform.platform(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "git": _git_state(),
        "hardware": {
            "cpu": _cpu_model(),
            "cores": cores,
            "threads": int(os.environ.get("OMP_NUM_THREADS") or cores or 1),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "gpu": (_said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "").splitlines(),
        },
    }


def _note_environment(path: Path, command: str) -> None:
    """Write `environment.json`; a run that continues adds when, and what has changed (the machine, the code)."""
    now = environment(command)
    if path.exists():
        first = json.loads(path.read_text(encoding="utf-8"))
        changed = {key: now[key] for key in now if key != "started" and now[key] != first.get(key)}
        now = {**first, "resumed": [*first.get("resumed", []), {"started": now["started"], "changed": changed}]}
    write_json(path, now)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit and whether tracked files differ from it; None when auscult does not run from its checkout."""
    git = ("git", "-C", str(Path(__file__).parent))
    commit = _said(*git, "rev-parse", "HEAD")
    if commit is None or _said(*git, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # no repository, or somebody else's around an installed copy
    return {"commit": commit, "dirty": bool(_said(*git, "status", "--porcelain", "--untracked-files=no"))}


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _said(*command: str) -> str | None:
    """What a program says on stdout; None when it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
