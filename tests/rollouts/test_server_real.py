"""The server engine against `transformers serve` as it is, with a tiny Qwen2-Audio that hears what it is sent.

The server comes with `pip install 'transformers[serving]'`."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from auscult.core.endpoint import EndpointError
from auscult.core.types import Sampling
from auscult.models.hub import qwen2_audio
from auscult.models.listener import Listener
from auscult.models.wording import Wording
from auscult.rollouts.local import LocalEngine
from auscult.rollouts.options import Server
from auscult.rollouts.server import ServerEngine

pytestmark = pytest.mark.long

GREEDY = Sampling(temperature=0.0, max_tokens=12)
DRAWN = Sampling(temperature=1.0, max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny Qwen2-Audio whose generation config lets a server draw."""
    folder = tmp_path_factory.mktemp("served") / "model"
    texts = ["How many sounds do you hear?", "low tone, click, noise", "1 2 3 one two three"] * 10
    listener = qwen2_audio.tiny(texts, (), Wording(form="label", instruction=False, choices=False), width=64)
    listener.save(folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_sample": True, "top_k": 0}))
    return folder


@pytest.fixture(scope="module")
def listener(folder) -> Listener:
    return qwen2_audio.load(folder, Wording(form="label", instruction=False, choices=False))


@pytest.fixture
def prompts(listener, heard):
    return [listener.prompt(heard(n, seconds=0.4 + 0.3 * n)) for n in range(5)]


class Served:
    """`transformers serve` as a process of its own; it keeps its port over restarts."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.model: tuple[str, ...] = (str(folder),)

    def start(self) -> None:
        program = "from transformers.cli.transformers import main; main()"
        host = ("--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu", "--log-level", "error")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self.log.write_bytes(b"")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, "serve", *self.model, *host],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        until = time.monotonic() + 180
        while (found := re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log.read_text())) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.1)
        self.port = int(found[1])

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def served(folder, tmp_path_factory) -> Iterator[Served]:
    server = Served(folder, tmp_path_factory.mktemp("log") / "serve.log")
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def engine(listener, served, tmp_path) -> Callable[..., ServerEngine]:
    def make(journal: str = "journal", **changed) -> ServerEngine:
        given = {"url": f"http://127.0.0.1:{served.port}/v1", "model": str(served.folder), "logprobs": "off"}
        return ServerEngine(
            listener, Server(**{**given, "concurrency": 4, "timeout": 60.0, **changed}), tmp_path / journal
        )

    return make


@pytest.mark.parametrize("media", ["input_audio", "data_url"])
def test_greedy_replies_are_those_of_the_local_engine_so_the_audio_was_heard(engine, listener, prompts, media):
    here = LocalEngine(listener).roll(prompts, 1, GREEDY, 0)
    there = engine(media=media).roll(prompts, 1, GREEDY, 0)
    assert [r.text for (r,) in there] == [r.text for (r,) in here]
    assert [r.policy for (r,) in there] == [r.policy for (r,) in here]
    assert len({r.text for (r,) in here}) > 1, "the clips must make a difference to say anything"


def test_the_server_reads_exactly_the_prompt_that_the_learner_computes(engine, prompts):
    counted = engine()
    counted.roll(prompts, 2, DRAWN, 0)  # a warning of another prompt length would fail this test
    assert counted.counts["other_prompt_length"] == 0
    assert counted.counts["replies"] == 10


def test_groups_are_drawn_and_their_log_probs_are_left_to_the_learner(engine, prompts):
    asked = engine(logprobs="raw")
    with pytest.warns(UserWarning, match="the learner computes its own"):
        rolled = asked.roll(prompts, 4, DRAWN, 0)
    assert [len(rollouts) for rollouts in rolled] == [4] * 5
    assert all(rollout.logps is None for rollouts in rolled for rollout in rollouts)
    assert sum(len({r.text for r in rollouts}) for rollouts in rolled) > 10


def test_a_server_killed_midway_and_started_again_loses_and_doubles_nothing(engine, served, prompts, tmp_path):
    patient = engine(retries=400, backoff=0.05, longest_wait=0.3, concurrency=3)
    result: list[object] = []
    sampling = replace(DRAWN, max_tokens=100)
    asking = threading.Thread(target=lambda: result.append(patient.roll(prompts, 6, sampling, 7)))
    asking.start()
    while (kept := sum(len(p.read_text().splitlines()) for p in (tmp_path / "journal").glob("*.jsonl"))) < 5:
        assert asking.is_alive()
        time.sleep(0.01)
    served.kill()
    served.start()
    asking.join(timeout=120)
    assert kept < 30
    assert patient.counts["repeated"] > 0
    (rolled,) = result
    assert [len(rollouts) for rollouts in rolled] == [6] * 5
    (path,) = (tmp_path / "journal").glob("*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["key"] for row in rows}) == len(rows) == 30
    assert [(row["sample"], row["text"]) for row in sorted(rows, key=lambda r: (r["sample"], r["number"]))] == [
        (p.sample.id, r.text) for p, rollouts in zip(prompts, rolled, strict=True) for r in rollouts
    ]
    assert engine().roll(prompts, 6, sampling, 7) == rolled


def test_a_checkpoint_that_does_not_sample_is_named(engine, served, prompts):
    path = served.folder / "generation_config.json"
    drawing = path.read_text()
    try:
        served.kill()
        path.write_text(json.dumps({k: v for k, v in json.loads(drawing).items() if k not in ("do_sample", "top_k")}))
        served.start()
        with pytest.raises(EndpointError, match='"do_sample": true'):
            engine(identical_groups=4).roll(prompts, 2, DRAWN, 0)
    finally:
        served.kill()
        path.write_text(drawing)
        served.start()


def test_another_model_than_the_server_has_is_refused(engine, prompts):
    with pytest.raises(EndpointError, match="pinned to"):
        engine(model="another", concurrency=1).roll(prompts, 1, GREEDY, 0)


def test_nothing_is_left_running(served):
    served.kill()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{served.port}/health", trust_env=False)


def test_a_recipe_trains_on_rollouts_that_the_server_draws(tmp_path):
    """ReST and GRPO through the command line: each policy is handed over, and every rollout names the one that drew it;
    the server is killed in the middle, and the same command goes on behind it."""
    server = Served(tmp_path, tmp_path / "serve.log")
    server.model = ()  # it serves what requests name
    letters = tmp_path / "letters.py"
    letters.write_text("def letters(sample, rollout):\n    return len(set(rollout.text)) / 20\n")
    # Every reply counts as right: what is tried is the way, not what it teaches.
    every = "rewards: {form: 1.0}, correct: form, threshold: 0.0, filter: all"
    settings = [
        *("--data.heldout", "8", "--data.seconds", "2", "--evaluate.max_tokens", "8", "--evaluate.showcase", "2"),
        *("--model", "{family: qwen2_audio, language: train, audio: train, projector: train}"),
        *("--sft.steps", "2", "--sft.prompts", "4"),
        *(
            "--rest",
            "{algorithm: rest, steps: 1, prompts: 4, group: 2, max_tokens: 8, after_drop: go_on, " + every + "}",
        ),
        *("--grpo.rewards", f"{{'{letters}:letters': 1.0}}"),
        *("--grpo.steps", "2", "--grpo.prompts", "3", "--grpo.group", "2", "--grpo.max_tokens", "8"),
        *("--train.agreement", "0.05", "--train.empty_steps", "100"),
    ]
    command = [sys.executable, "-m", "auscult", "run", "quickstart", "--out", str(tmp_path / "run"), *settings]

    def run(timeout: float) -> subprocess.CompletedProcess[str]:
        options = "model: ours, hot_load: checkpoint, concurrency: 2, retries: 1, logprobs: 'off'"
        told = f"{{url: 'http://127.0.0.1:{server.port}/v1', {options}}}"
        return subprocess.run(
            [*command, "--server", told], capture_output=True, text=True, timeout=timeout, check=False
        )

    try:
        server.start()
        killer = threading.Thread(target=_kill_when, args=(server, tmp_path / "run" / "grpo" / "replies"))
        killer.start()
        first = run(300)
        killer.join()
        assert first.returncode == 2, first.stderr
        assert "Traceback" not in first.stderr
        server.start()
        second = run(300)
    finally:
        server.kill()
    assert second.returncode == 0, second.stderr
    files = sorted((tmp_path / "run" / "grpo" / "rollouts").glob("*.jsonl"))
    rows = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    policies = [{rollout["policy"] for rollout in row["rollouts"]} for row in rows]
    assert all(len(row["rollouts"]) == 2 for row in rows)
    assert len(rows) == 6
    assert all(len(one) == 1 for one in policies)
    assert len(set().union(*policies)) == 2, "each step has its own policy"
    assert list((tmp_path / "run" / "rest").rglob("rollouts/*.jsonl"))


def _kill_when(server: Served, journals: Path) -> None:
    """Kills the server as soon as the first reply to GRPO is written down."""
    until = time.monotonic() + 240
    while not any(path.stat().st_size for path in journals.glob("*.jsonl")) and time.monotonic() < until:
        time.sleep(0.05)
    server.kill()
