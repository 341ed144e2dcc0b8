"""A run folder is whole at every instant: whatever is killed, whoever else writes, what a reader finds is complete."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core import runs
from auscult.core.errors import RunError
from auscult.core.runs import Run, append_jsonl, atomic_folder, read_jsonl, truncate_jsonl, write_json, write_text
from auscult.core.yaml12 import read_yaml

CONFIG = {"seed": 0, "train": {"lr": 1e-4, "steps": 10, "betas": [0.9, 0.99]}, "grpo": None}


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that speaks on stdout, so that it can be killed where it stands."""
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill_at_first_word(process: subprocess.Popen[str]) -> None:
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)


def test_a_new_run_holds_its_configuration_and_environment(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with Run.open(tmp_path / "a" / "run", CONFIG, "auscult run toy") as run:
        assert (run.resumed, run.finished) == (False, False)
        assert read_yaml(run.path / "config.yaml") == CONFIG
        assert list(read_yaml(run.path / "config.yaml")) == list(CONFIG), "the order of keys is kept"
        environment = json.loads((run.path / "environment.json").read_text())
        run.finish()
    assert environment["command"] == "auscult run toy"
    assert environment["versions"]["numpy"] == np.__version__
    assert environment["hardware"]["cores"] >= 1
    assert environment["hardware"]["threads"] == 3
    assert environment["hardware"]["memory_gib"] > 0
    assert "resumed" not in environment
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


def test_the_same_command_continues_and_then_finds_it_finished(tmp_path: Path):
    Run.open(tmp_path / "run", CONFIG, "first").close()
    with Run.open(tmp_path / "run", CONFIG, "second") as run:
        assert (run.resumed, run.finished) == (True, False)
        run.finish()
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["command"] == "first"
    assert [again["changed"] for again in environment["resumed"]] == [{"command": "second"}]
    before = {path: path.read_bytes() for path in run.path.iterdir() if path.name != "lock"}
    with Run.open(tmp_path / "run", CONFIG, "third") as run:
        assert (run.resumed, run.finished) == (True, True)
    assert {path: path.read_bytes() for path in run.path.iterdir() if path.name != "lock"} == before


def test_another_configuration_is_refused_with_the_keys_that_differ(tmp_path: Path):
    Run.open(tmp_path / "run", CONFIG, "first").close()
    other = {**CONFIG, "train": {"lr": 2e-4, "steps": 10, "betas": [0.9, 0.95]}, "grpo": {"size": 8}}
    with pytest.raises(RunError) as caught:
        Run.open(tmp_path / "run", other, "second")
    said = str(caught.value)
    assert "train.lr is 0.0001 there and 0.0002 here" in said
    assert "train.betas" in said
    assert "grpo.size is not set there and 8 here" in said
    assert "train.steps" not in said
    assert "--out another" in said
    assert "--overwrite" in said
    Run.open(tmp_path / "run", CONFIG, "third").close()  # the refusal let go of the lock and changed nothing


def test_a_tuple_in_memory_is_the_list_in_the_file(tmp_path: Path):
    config = {"betas": [0.9, 0.99]}
    Run.open(tmp_path / "run", config, "first").close()
    Run.open(tmp_path / "run", {"betas": (0.9, 0.99)}, "second").close()


def test_overwrite_begins_again(tmp_path: Path):
    with Run.open(tmp_path / "run", CONFIG, "first") as run:
        run.log(0, {"loss": 1.0})
        (run.path / "checkpoints" / "step-1").mkdir(parents=True)
        run.finish()
    with Run.open(tmp_path / "run", {"seed": 1}, "second", overwrite=True) as run:
        assert (run.resumed, run.finished) == (False, False)
        assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "environment.json", "lock"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path, overwrite: bool):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="holds files but no run"):
        Run.open(tmp_path, CONFIG, "first", overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path):
    (tmp_path / "run").write_text("")
    for out in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(RunError, match=f"{out} cannot be written .*; .*give --out another folder"):
            Run.open(out, CONFIG, "first")


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool):
    """Who runs the tests may be root, whom no mode stops: so the system's refusal is planted."""
    if there:
        Run.open(tmp_path / "run", CONFIG, "first").close()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open" if there else "mkdir", refuse)
    with pytest.raises(RunError, match=r"run cannot be written \(Permission denied\); .*--out"):
        Run.open(tmp_path / "run", CONFIG, "second")


def test_a_full_disk_is_named_where_metrics_are_written(tmp_path: Path):
    with Run.open(tmp_path / "run", CONFIG, "first") as run:
        (run.path / "metrics.jsonl").symlink_to("/dev/full")
        with pytest.raises(RunError, match=r"metrics.jsonl cannot be written \(No space left on device\); make"):
            run.log(0, {"loss": 1.0})


def test_a_full_disk_is_named_whatever_a_library_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(RunError, match=r"model cannot be written \(No space left on device\)"):
        fill_with_an_error(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_may_not_write_on_is_told_in_a_sentence(tmp_path: Path):
    script = """
        import resource, sys
        import numpy as np
        from safetensors.numpy import save_file
        from auscult.core.errors import RunError
        from auscult.core.runs import atomic_folder
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        try:
            with atomic_folder(sys.argv[1]) as aside:
                save_file({"weights": np.zeros(1 << 20)}, aside / "model.safetensors")
        except RunError as problem:
            print(problem)
    """
    process = start(script, str(tmp_path / "model"))
    said, _ = process.communicate()
    assert said.strip().endswith(
        "model cannot be written (File too large); make room there, or give --out another folder"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_is_refused_until_the_first_is_killed(tmp_path: Path):
    script = """
        import sys, time
        from auscult.core.runs import Run
        run = Run.open(sys.argv[1], {"seed": 0}, "first")
        print("open", flush=True)
        time.sleep(60)
    """
    process = start(script, str(tmp_path / "run"))
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "open"
        with pytest.raises(RunError, match=f"in use by process {process.pid}"):
            Run.open(tmp_path / "run", {"seed": 0}, "second")
        os.kill(process.pid, signal.SIGKILL)
    Run.open(tmp_path / "run", {"seed": 0}, "third").close()


def test_a_run_killed_before_its_configuration_stood_is_begun(tmp_path: Path):
    (tmp_path / "lock").write_text("1")
    (tmp_path / ".tmp-1-1-config.yaml").write_text("seed: ")
    with Run.open(tmp_path, CONFIG, "again") as run:
        assert not run.resumed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "environment.json", "lock"]


def test_opening_mends_torn_metrics_and_says_so(tmp_path: Path):
    with Run.open(tmp_path / "run", CONFIG, "first") as run:
        run.log(0, {"loss": 1.0})
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 1, "lo')
    with Run.open(tmp_path / "run", CONFIG, "second") as run:
        assert run.torn == '{"step": 1, "lo'
        run.log(1, {"loss": 0.5})
        assert read_jsonl(run.path / "metrics.jsonl") == ([{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}], None)


def test_metrics_that_are_not_finite_are_none_and_named(tmp_path: Path):
    with Run.open(tmp_path / "run", CONFIG, "first") as run:
        row = run.log(3, {"loss": float("nan"), "norm": np.float32("inf"), "lr": np.float64(0.5), "phase": "sft"})
    assert row == {"step": 3, "loss": None, "norm": None, "lr": 0.5, "phase": "sft", "not_finite": ["loss", "norm"]}
    assert read_jsonl(tmp_path / "run" / "metrics.jsonl").rows == [row]


def test_who_reads_while_a_file_is_replaced_reads_the_old_one_to_its_end(tmp_path: Path):
    write_text(tmp_path / "page.html", "old")
    with (tmp_path / "page.html").open() as reader:
        write_text(tmp_path / "page.html", "new")
        assert reader.read() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"page.html": "new"}


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_text(tmp_path / "page.html", "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.os, "fsync", full)
    with pytest.raises(RunError, match=r"page.html cannot be written \(No space left on device\)"):
        write_text(tmp_path / "page.html", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"page.html": "old"}


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"a": {"b": [1.0, float("nan")]}}, r"a: b\[1\] is nan"),
        ({"a": np.float32("-inf")}, "a is -inf"),
        ({"a": {1: 2}}, "has the key 1"),
        ({"a": Path("x")}, "a is a PosixPath"),
        ({"a": np.zeros(2)}, "a is a ndarray"),
    ],
)
def test_what_json_cannot_hold_is_named(tmp_path: Path, value: Any, part: str):
    with pytest.raises(RunError, match=part):
        write_json(tmp_path / "x.json", value)
    assert list(tmp_path.iterdir()) == []


def test_json_is_plain_and_readable(tmp_path: Path):
    write_json(tmp_path / "x.json", {"n": np.int64(3), "ok": np.bool_(True), "x": (1, None), "text": "caf\u00e9"})
    assert json.loads((tmp_path / "x.json").read_text()) == {"n": 3, "ok": True, "x": [1, None], "text": "caf\u00e9"}
    assert "caf\u00e9" in (tmp_path / "x.json").read_text()


def fill_with_an_error(target: Path) -> None:
    with atomic_folder(target):
        raise RuntimeError("unexpected pos 64 vs 0")


def fill_half(target: Path) -> None:
    with atomic_folder(target) as folder:
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    target = tmp_path / "checkpoints" / "step-1"
    with atomic_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_text("1")
        assert not target.exists()
    with pytest.raises(KeyboardInterrupt):
        fill_half(target)
    assert [path.name for path in target.parent.iterdir()] == ["step-1"]
    assert (target / "sub" / "weights").read_text() == "1"
    with atomic_folder(target) as folder:
        (folder / "weights").write_text("3")
    assert [path.name for path in target.parent.iterdir()] == ["step-1"]
    assert [path.name for path in target.iterdir()] == ["weights"]


def test_a_folder_killed_while_it_is_filled_leaves_the_old_one(tmp_path: Path):
    script = """
        import sys, time
        from auscult.core.runs import atomic_folder
        with atomic_folder(sys.argv[1]) as folder:
            (folder / "weights").write_text("half")
            print("filling", flush=True)
            time.sleep(60)
    """
    target = tmp_path / "step-1"
    with atomic_folder(target) as folder:
        (folder / "weights").write_text("old")
    kill_at_first_word(start(script, str(target)))
    assert (target / "weights").read_text() == "old"
    with atomic_folder(target) as folder:
        (folder / "weights").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert (target / "weights").read_text() == "new"


def test_a_kill_between_the_two_renames_is_mended_at_the_next_opening(tmp_path: Path):
    Run.open(tmp_path / "run", CONFIG, "first").close()
    checkpoints = tmp_path / "run" / "checkpoints"
    for name in (".old-step-1", ".tmp-step-1", ".old-step-2", "step-2"):
        (checkpoints / name).mkdir(parents=True)
        (checkpoints / name / "weights").write_text(name)
    Run.open(tmp_path / "run", CONFIG, "second").close()
    found = {path.parent.name: path.read_text() for path in checkpoints.rglob("weights")}
    assert found == {"step-1": ".old-step-1", "step-2": "step-2"}


ROWS = st.lists(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.booleans()), max_size=6)


@settings(deadline=None)
@given(rows=ROWS, data=st.data())
def test_lines_cut_anywhere_lose_only_the_torn_one(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], data: Any
):
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    path.touch()
    for row in rows:
        append_jsonl(path, row)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    complete = whole[:cut].count(b"\n")
    found, torn = read_jsonl(path)
    # A row that only lacks its line end is complete: an object's last character is its closing brace.
    at_end = cut < len(whole) and whole[cut : cut + 1] == b"\n"
    assert found == rows[: complete + at_end]
    assert (torn is None) == (at_end or whole[:cut].endswith(b"\n") or not cut)
    assert truncate_jsonl(path, keep=lambda row: True) == (torn is not None)
    append_jsonl(path, {"next": 1})
    assert read_jsonl(path) == ([*found, {"next": 1}], None)


def test_metrics_are_cut_back_to_a_checkpoint(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    assert truncate_jsonl(path, keep=lambda row: False) == 0
    for step in range(5):
        append_jsonl(path, {"step": step})
    with path.open("a") as file:
        file.write('{"st')
    assert truncate_jsonl(path, keep=lambda row: row["step"] < 3) == 3
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n{"step": 2}\n'


def test_nothing_is_appended_to_a_torn_line(tmp_path: Path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"b"')
    with pytest.raises(RunError, match="torn"):
        append_jsonl(tmp_path / "x.jsonl", {"c": 1})
    assert (tmp_path / "x.jsonl").read_text() == '{"a": 1}\n{"b"'


@pytest.mark.parametrize(("text", "line"), [('{"a": 1}\n{"b\n{"c": 1}\n', 2), ("[1]\n", 1), ('{"a": 1}\n\n', 2)])
def test_a_bad_line_that_no_kill_explains_is_named(tmp_path: Path, text: str, line: int):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(RunError, match=rf"x\.jsonl: line {line} is no JSON"):
        read_jsonl(tmp_path / "x.jsonl")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(RunError, match=r"none\.jsonl: cannot be read"):
        read_jsonl(tmp_path / "none.jsonl")


def test_a_killed_appender_leaves_whole_rows(tmp_path: Path):
    script = """
        import itertools, sys
        from auscult.core.runs import append_jsonl
        for step in itertools.count():
            append_jsonl(sys.argv[1], {"step": step, "text": "x" * 3000})
            if step == 200:
                print("many", flush=True)
    """
    kill_at_first_word(start(script, str(tmp_path / "metrics.jsonl")))
    rows, _ = read_jsonl(tmp_path / "metrics.jsonl")
    assert len(rows) > 200
    assert [row["step"] for row in rows] == list(range(len(rows)))
