"""The server engine against a real server that loses, delays, cuts and mixes up what it answers."""

import asyncio
import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from auscult.core.endpoint import BudgetError, EndpointError
from auscult.core.errors import ConfigError, LostMediaError, MediaError, RunError
from auscult.core.journal import Journal
from auscult.core.seeds import rng
from auscult.core.types import Audio, Frames, Image, Sample, Sampling, Turn
from auscult.media.audio import decode
from auscult.models.families import graft
from auscult.models.wording import Wording
from auscult.rollouts.journal import replies
from auscult.rollouts.messages import wire
from auscult.rollouts.server import ServerEngine

DRAWN = Sampling(temperature=1.0, max_tokens=48)


@pytest.fixture
def prompts(listener, heard):
    return [listener.prompt(heard(n, seconds=0.2 + 0.1 * n)) for n in range(4)]


def wrong(prompts, rolled, said) -> list[str]:
    """What a set of rollouts does that it must not: a sentence for each."""
    found = []
    for prompt, rollouts in zip(prompts, rolled, strict=True):
        for rollout in rollouts:
            if rollout.prompt_ids != prompt.ids or said(prompt.sample) not in rollout.text:
                found.append(f"{prompt.sample.id} has a reply to another clip: {rollout.text}")
        if len({rollout.text for rollout in rollouts}) < len(rollouts):
            found.append(f"{prompt.sample.id} has a reply twice")
    return found


def journaled(folder: Path) -> list[dict]:
    return [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


# -- nothing lost, nothing doubled, in order -------------------------------------------------------------------------


def test_every_reply_is_to_its_own_prompts_media_and_no_two_are_one(listener, prompts, faulty, options, said, tmp_path):
    faulty.delay = 0.02
    rolled = ServerEngine(listener, options(concurrency=6), tmp_path).roll(prompts, 5, DRAWN, 0)
    assert [len(rollouts) for rollouts in rolled] == [5] * 4
    assert wrong(prompts, rolled, said) == []
    assert 1 < faulty.most_in_flight <= 6
    assert len(faulty.requests) == len({body["seed"] for body in faulty.requests}) == 20
    assert all("n" not in body for body in faulty.requests)


def test_two_replies_that_change_places_are_noticed(listener, prompts, faulty, options, said, tmp_path, monkeypatch):
    """The planted defect of the test above: the first replies of two prompts are filed under each other's keys."""
    engine = ServerEngine(listener, options(), tmp_path)
    keys = [r.key for r in engine._requests(prompts, 2, engine._call(DRAWN, 0), 0)]
    other = {keys[0]: keys[2], keys[2]: keys[0]}
    add = Journal.add
    monkeypatch.setattr(Journal, "add", lambda self, row: add(self, {**row, "key": other.get(row["key"], row["key"])}))
    rolled = engine.roll(prompts, 2, DRAWN, 0)
    assert len(wrong(prompts, rolled, said)) == 2


FAULTS = ("drop", "500", "503", "429", "429 date", "torn", "short", "twice", "other's", None)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=30), concurrency=st.integers(1, 8), seed=st.integers(0, 99))
def test_whatever_goes_wrong_nothing_is_lost_doubled_or_moved(
    listener, prompts, faulty, options, said, tmp_path_factory, faults, concurrency, seed
):
    folder = tmp_path_factory.mktemp("journal")
    faulty.faults = list(faults)
    engine = ServerEngine(listener, options(concurrency=concurrency, retries=40, backoff=1e-3), folder)
    rolled = engine.roll(prompts, 3, DRAWN, seed)
    assert wrong(prompts, rolled, said) == []
    rows = journaled(folder)
    assert [row["text"] for row in rows] == list({row["key"]: row["text"] for row in rows}.values())
    assert sorted(row["text"] for row in rows) == sorted(r.text for rollouts in rolled for r in rollouts)
    assert engine.counts["replies"] == 12
    assert engine.spent.requests == 12 + engine.counts["repeated"]
    asked = len(faulty.requests)
    assert ServerEngine(listener, options(), folder).roll(prompts, 3, DRAWN, seed) == rolled
    assert len(faulty.requests) == asked


def test_a_slow_answer_is_asked_for_again_and_counted_once(listener, prompts, faulty, options, said, tmp_path):
    faulty.faults = ["slow", "slow"]
    engine = ServerEngine(listener, options(timeout=1.5), tmp_path)
    rolled = engine.roll(prompts[:2], 2, DRAWN, 0)
    assert wrong(prompts[:2], rolled, said) == []
    assert engine.counts["repeated"] == 2
    assert len(journaled(tmp_path)) == 4


def test_waits_grow_are_spread_and_respect_the_servers_wish(listener, prompts, faulty, options, tmp_path):
    faulty.faults = ["500", "500", "500", "429"]
    faulty.retry_after = "1.0"
    ServerEngine(listener, options(backoff=0.1, longest_wait=9.0), tmp_path).roll(prompts[:1], 1, DRAWN, 0)
    waits = [after - before for before, after in pairwise(faulty.arrived)]
    least = (0.05, 0.1, 0.2, 1.0)  # the last would be at most 0.8 s without the server's wish
    assert all(wait >= bound for wait, bound in zip(waits, least, strict=True))
    assert [wait / waits[0] for wait in waits[1:3]] != pytest.approx([2, 4], rel=0.02)


def test_a_prompt_that_comes_twice_is_asked_for_other_replies(listener, prompts, faulty, options, said, tmp_path):
    rolled = ServerEngine(listener, options(), tmp_path).roll([prompts[0], prompts[1], prompts[0]], 2, DRAWN, 0)
    assert len({r.text for rollouts in rolled for r in rollouts}) == 6


def test_equal_questions_about_other_clips_are_other_requests(listener, heard, faulty, options, said, tmp_path):
    one, two = heard(1), replace(heard(2), id="clip-1")
    prompts = [listener.prompt(one), listener.prompt(two)]
    engine = ServerEngine(listener, options(), tmp_path)
    first = engine.roll(prompts[:1], 1, DRAWN, 0)
    second = engine.roll(prompts[1:], 1, DRAWN, 0)
    assert wrong(prompts, first + second, said) == []


def test_another_seed_sampling_or_policy_shares_no_reply(listener, prompts, faulty, options, tmp_path):
    engine = ServerEngine(listener, options(), tmp_path)
    engine.roll(prompts, 1, DRAWN, 0)
    engine.roll(prompts, 1, DRAWN, 1)
    engine.roll(prompts, 1, replace(DRAWN, top_p=0.9), 0)
    assert len(faulty.requests) == 12
    engine.roll(prompts, 2, DRAWN, 0)  # a larger group asks for the rest of it only
    assert len(faulty.requests) == 16


# -- kills -----------------------------------------------------------------------------------------------------------


CLIENT = """
import sys
from pathlib import Path
import numpy as np
from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Sampling, Turn
from auscult.models.families import graft
from auscult.models.wording import Wording
from auscult.rollouts.options import Server
from auscult.rollouts.server import ServerEngine

checkpoint, url, folder = sys.argv[1:]
listener = graft.Model().load(Path(checkpoint), Wording(instruction=False, choices=False))
waves = [rng(n, "test clip").standard_normal(4000).astype(np.float32) * 0.1 for n in range(10)]
samples = [Sample(f"clip-{n}", (Turn("user", (Audio.of(w, 16_000), "Which?")),), ("2",)) for n, w in enumerate(waves)]
options = Server(url=url, model="base", logprobs="off", concurrency=3, backoff=0.01, longest_wait=0.1, retries=400)
engine = ServerEngine(listener, options, Path(folder))
rolled = engine.roll([listener.prompt(s) for s in samples], 4, Sampling(max_tokens=48), 3)
print("\\n".join(r.text for rollouts in rolled for r in rollouts))
"""


def start_client(checkpoint: Path, url: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", CLIENT, str(checkpoint), url, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.long
def test_a_client_killed_midway_goes_on_with_what_it_has(checkpoint, faulty, tmp_path):
    faulty.delay = 0.05
    client = start_client(checkpoint, faulty.url, tmp_path)
    while len(faulty.requests) < 20:
        assert client.poll() is None
        time.sleep(0.01)
    client.send_signal(signal.SIGKILL)
    client.communicate()
    time.sleep(0.2)
    (path,) = tmp_path.glob("*.jsonl")
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert 12 <= len(kept) < 40
    with path.open("a") as file:
        file.write('{"key": "torn by the ki')
    before = len(faulty.requests)
    again = start_client(checkpoint, faulty.url, tmp_path)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert len(faulty.requests) == before + 40 - len(kept)
    uninterrupted = start_client(checkpoint, faulty.url, tmp_path / "whole")
    assert uninterrupted.communicate(timeout=120)[0] == said
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[: len(kept)] == kept
    assert len({row["key"] for row in rows}) == len(rows) == 40
    assert sorted(said.splitlines()) == sorted(row["text"] for row in rows)


def test_a_torn_line_is_counted_and_asked_for_again(listener, prompts, faulty, options, said, tmp_path):
    rolled = ServerEngine(listener, options(), tmp_path).roll(prompts, 2, DRAWN, 0)
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-40])
    engine = ServerEngine(listener, options(), tmp_path)
    assert engine.roll(prompts, 2, DRAWN, 0) == rolled
    assert engine.counts["torn"] == 1
    assert engine.counts["read_back"] == 7
    assert len(faulty.requests) == 9


def test_a_journal_keeps_the_first_of_two_and_refuses_another_policys(tmp_path):
    path = tmp_path / "call.jsonl"
    journal = replies(path, "p1")
    row = {"key": "k", "policy": "p1", "sample": "s", "number": 0, "text": "first"}
    journal.add(row)
    journal.add({**row, "text": "second"})
    journal.add({"key": "l", "policy": "p1", "sample": "s", "number": 1, "problem": "timeout"})
    assert journal.counts["doubled"] == 1
    assert journal.answer("k") == row
    back = replies(path, "p1")
    assert back.answer("k") == row
    assert back.answer("l") is None
    with pytest.raises(RunError, match="by policy p1, not by p2"):
        replies(path, "p2")


# -- failures are data -----------------------------------------------------------------------------------------------


def test_a_reply_that_fails_is_a_row_with_its_reason_and_never_an_empty_reply(
    listener, prompts, faulty, options, tmp_path
):
    faulty.faults = ["400"]
    engine = ServerEngine(listener, options(max_failed=0.2, concurrency=1), tmp_path)
    rolled = engine.roll(prompts, 2, DRAWN, 0)
    assert [len(rollouts) for rollouts in rolled] == [1, 2, 2, 2]
    assert all(rollout.text for rollouts in rolled for rollout in rollouts)
    assert engine.counts["failed/status_400"] == 1
    (failed,) = [row for row in journaled(tmp_path) if "problem" in row]
    assert (failed["sample"], failed["number"], failed["problem"]) == ("clip-0", 0, "status_400")
    again = ServerEngine(listener, options(), tmp_path)
    assert [len(rollouts) for rollouts in again.roll(prompts, 2, DRAWN, 0)] == [2] * 4
    assert len(faulty.requests) == 9


def test_too_many_failures_stop_the_call_and_say_what_is_kept(listener, prompts, faulty, options, tmp_path):
    faulty.faults = [None, None, None]
    faulty.always = "500"
    engine = ServerEngine(listener, options(retries=2, concurrency=1), tmp_path)
    with pytest.raises(EndpointError, match=r"1 of 8 replies failed \(1 status_500\).*3 replies are kept in .*jsonl"):
        engine.roll(prompts, 2, DRAWN, 0)
    assert len(faulty.requests) == 6
    faulty.always = None
    assert len(engine.roll(prompts, 2, DRAWN, 0)) == 4
    assert len(faulty.requests) == 11


def test_a_prompt_without_any_reply_is_named(listener, prompts, faulty, options, tmp_path):
    faulty.faults = ["400"]
    engine = ServerEngine(listener, options(max_failed=0.5, concurrency=1), tmp_path)
    with pytest.raises(EndpointError, match="sample clip-0: none of its replies arrived"):
        engine.roll(prompts, 1, DRAWN, 0)


@pytest.mark.parametrize(
    ("message", "choice", "reason"),
    [
        ({"reasoning_content": "hm"}, {}, "thought_taken_out"),
        ({"content": None}, {}, "no_content"),
        ({}, {"finish_reason": "content_filter"}, "finish_content_filter"),
        ({"content": "a <start_of_turn> b"}, {}, "other_text"),
        ({"content": ""}, {"finish_reason": "length"}, "no_tokens"),
    ],
)
def test_what_is_no_reply_is_not_taken_for_one(listener, prompts, faulty, options, tmp_path, message, choice, reason):
    faulty.message, faulty.choice = message, choice
    with pytest.raises(EndpointError, match=f"1 {reason}"):
        ServerEngine(listener, options(concurrency=1), tmp_path).roll(prompts, 1, DRAWN, 0)
    assert len(faulty.requests) == 1


def test_a_server_that_is_not_there_is_waited_for_and_named(listener, prompts, options, tmp_path):
    engine = ServerEngine(listener, options(url="http://127.0.0.1:9/v1", retries=2), tmp_path)
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9.* connection.* after 3 requests"):
        engine.roll(prompts[:1], 1, DRAWN, 0)


# -- budgets and keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "most"), [({"max_requests": 5}, 5), ({"max_tokens": 700}, 700 // 60)])
def test_a_budget_stops_the_call_and_a_new_process_goes_on_counting(
    listener, prompts, faulty, options, tmp_path, limit, most
):
    with pytest.raises(BudgetError, match=r"is used up; raise max_\w+. \d+ replies are kept"):
        ServerEngine(listener, options(**limit), tmp_path).roll(prompts, 4, DRAWN, 0)
    sent = len(faulty.requests)
    assert 1 <= sent <= most
    assert len(journaled(tmp_path)) == sent
    with pytest.raises(BudgetError):
        ServerEngine(listener, options(**limit), tmp_path).roll(prompts, 4, DRAWN, 0)
    assert len(faulty.requests) <= most


def test_time_is_a_budget_too(listener, prompts, faulty, options, tmp_path):
    faulty.delay = 0.2
    began = time.monotonic()
    with pytest.raises(BudgetError, match=r"budget of 0\.5 s is used up"):
        ServerEngine(listener, options(max_seconds=0.5, concurrency=1), tmp_path).roll(prompts, 4, DRAWN, 0)
    assert time.monotonic() - began < 10
    assert 1 <= len(faulty.requests) <= 3


def test_a_key_comes_from_the_environment_only(listener, prompts, faulty, options, tmp_path, monkeypatch):
    engine = ServerEngine(listener, options(key_env="AUSCULT_TEST_KEY"), tmp_path)
    with pytest.raises(ConfigError, match="AUSCULT_TEST_KEY is not set"):
        engine.roll(prompts[:1], 1, DRAWN, 0)
    monkeypatch.setenv("AUSCULT_TEST_KEY", "secret")
    engine.roll(prompts[:1], 1, DRAWN, 0)
    assert faulty.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in "".join(path.read_text() for path in tmp_path.iterdir())
    ServerEngine(listener, options(), tmp_path).roll(prompts[1:2], 1, DRAWN, 0)
    assert "Authorization" not in faulty.headers[1]


def test_a_refusal_that_all_would_meet_stops_at_once(listener, prompts, faulty, options, tmp_path):
    faulty.always = "401"
    with pytest.raises(EndpointError, match=r"refuses us.*server\.key_env"):
        ServerEngine(listener, options(concurrency=1), tmp_path).roll(prompts, 4, DRAWN, 0)
    assert len(faulty.requests) == 1
    with pytest.raises(EndpointError, match="no such model"):
        ServerEngine(listener, options(model="absent", concurrency=1), tmp_path).roll(prompts, 4, DRAWN, 0)


# -- media -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media", ["input_audio", "data_url", "file_url"])
def test_audio_arrives_bit_for_bit_in_each_way(listener, heard, faulty, options, said, tmp_path, media):
    inside = heard(1)
    wave = decode(inside.media[0], 16_000)
    soundfile.write(tmp_path / "clip.wav", wave, 16_000, subtype="FLOAT")
    path = str(tmp_path / "clip.wav")
    section = Audio(path=path, start=0.1, end=0.3)
    samples = [
        inside,
        *(Sample(m, (Turn("user", (a, "Which?")),), ("2",)) for m, a in (("f", Audio(path)), ("s", section))),
    ]
    prompts = [listener.prompt(sample) for sample in samples]
    rolled = ServerEngine(listener, options(media=media), tmp_path / "j").roll(prompts, 1, DRAWN, 0)
    assert wrong(prompts, rolled, said) == []
    urls = [
        p["audio_url"]["url"] for b in faulty.requests for m in b["messages"] for p in m["content"] if "audio_url" in p
    ]
    assert sum(url.startswith("file://") for url in urls) == (media == "file_url")


def test_the_server_reads_the_listeners_own_words(checkpoint, heard, faulty, options, tmp_path):
    listener = graft.Model().load(checkpoint, Wording())
    prompt = listener.prompt(heard(0))
    ServerEngine(listener, options(), tmp_path).roll([prompt], 1, DRAWN, 0)
    (message,) = faulty.requests[0]["messages"]
    assert [part["type"] for part in message["content"]] == ["input_audio", "text"]
    assert message["content"][1]["text"] == listener.messages(prompt.sample)[0]["content"][1]
    assert "(B) 2" in message["content"][1]["text"]
    assert listener.form.instruction in message["content"][1]["text"]


def test_a_server_that_leaves_the_audio_out_is_noticed(listener, prompts, faulty, options, tmp_path):
    faulty.prompt_tokens = sum(features.tokens for features in prompts[0].features) - 1
    with pytest.raises(LostMediaError, match=r"sample clip-0: .* leaves them out"):
        ServerEngine(listener, options(), tmp_path).roll(prompts[:1], 1, DRAWN, 0)


def test_a_prompt_of_another_length_is_told_once_and_counted(listener, prompts, faulty, options, tmp_path):
    faulty.prompt_tokens = len(prompts[0].ids) + 1
    engine = ServerEngine(listener, options(), tmp_path)
    with pytest.warns(UserWarning, match="render prompts differently") as told:
        engine.roll([prompts[0]] * 2, 2, DRAWN, 0)
    assert len(told) == 1
    assert engine.counts["other_prompt_length"] == 4


def test_pictures_travel_as_png_and_feature_frames_not_at_all(options, tmp_path):
    pixels = rng(0, "picture").integers(0, 255, (6, 9, 3), dtype=np.uint8)
    (message,) = wire([{"role": "user", "content": [Image.of(pixels), "Which?"]}], options())
    picture, text = message["content"]
    assert picture["type"] == "image_url"
    sent = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(sent))), pixels)
    assert text == {"type": "text", "text": "Which?"}
    Pillow.fromarray(pixels).save(tmp_path / "a b.png")
    named = wire([{"role": "user", "content": [Image(str(tmp_path / "a b.png"))]}], options(media="file_url"))
    assert named[0]["content"][0]["image_url"]["url"] == (tmp_path / "a b.png").as_uri()
    with pytest.raises(ConfigError, match="no Frames; use the local engine"):
        wire([{"role": "user", "content": [Frames.of(np.zeros((2, 3)), 1.0)]}], options())


def test_a_picture_that_readers_show_otherwise_travels_inside(options, tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Pillow.new("RGB", (20, 10)).save(tmp_path / "turned.jpg", exif=exif)
    Pillow.new("RGB", (20, 10)).save(tmp_path / "turned.png", exif=exif)
    Pillow.new("RGBA", (20, 10)).save(tmp_path / "clear.png")
    Pillow.new("I;16", (20, 10)).save(tmp_path / "deep.png")
    Pillow.new("RGB", (20, 10)).save(tmp_path / "plain.jpg")
    for name, inside in {"turned.jpg": 1, "turned.png": 1, "clear.png": 1, "deep.png": 1, "plain.jpg": 0}.items():
        (message,) = wire([{"role": "user", "content": [Image(str(tmp_path / name))]}], options(media="file_url"))
        assert message["content"][0]["image_url"]["url"].startswith("data:" if inside else "file:"), name


def test_a_missing_recording_is_named_before_anything_is_asked(listener, prompts, faulty, options, tmp_path):
    sample = Sample("gone", (Turn("user", (Audio("nowhere.wav"), "Which?")),), ("2",))
    engine = ServerEngine(listener, options(concurrency=1), tmp_path)
    with pytest.raises(MediaError, match=r"nowhere\.wav"):
        engine.roll([replace(prompts[0], sample=sample)], 1, DRAWN, 0)


# -- greedy servers, log-probs and tokens ----------------------------------------------------------------------------


def test_a_greedy_server_is_named_after_enough_groups(listener, prompts, faulty, options, tmp_path):
    faulty.reply = lambda clip, body: f"<answer>{clip}</answer>"
    engine = ServerEngine(listener, options(identical_groups=3, concurrency=1), tmp_path)
    engine.roll(prompts[:2], 2, DRAWN, 0)
    engine.roll(prompts, 1, DRAWN, 1)  # a single reply says nothing
    engine.roll(prompts, 2, replace(DRAWN, temperature=0.0), 2)  # and greedy ones are what was asked for
    with pytest.raises(EndpointError, match=r'equal replies each.*"do_sample": true.*generation_config'):
        engine.roll(prompts, 2, DRAWN, 3)


def test_one_varied_group_clears_a_server_of_greed(listener, prompts, faulty, options, tmp_path):
    faulty.reply = lambda clip, body: str(body["seed"]) if len(faulty.requests) < 3 else clip
    engine = ServerEngine(listener, options(identical_groups=2, concurrency=1), tmp_path)
    assert len(engine.roll(prompts, 2, DRAWN, 0)) == 4


def listed(tokens, value=-0.5):
    return {"logprobs": {"content": [{"token": token, "logprob": value} for token in tokens]}}


def test_log_probs_are_kept_where_they_are_of_the_replys_own_tokens(listener, prompts, faulty, options, tmp_path):
    text = "<answer>2</answer>"
    ids = listener.target(prompts[0].sample, text)
    faulty.reply = lambda clip, body: text
    faulty.choice = listed([listener.tokenizer.decode([token]) for token in ids])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ((rollout,),) = ServerEngine(listener, options(logprobs="raw"), tmp_path).roll(prompts[:1], 1, DRAWN, 0)
    assert (rollout.reply_ids, rollout.logps, rollout.stop) == (ids, (-0.5,) * len(ids), "end")
    assert faulty.requests[0]["logprobs"] is True


def test_vllms_token_ids_are_exact_even_where_the_text_would_be_spelt_otherwise(
    listener, prompts, faulty, options, tmp_path
):
    spelt = [listener.tokenizer.convert_tokens_to_ids(letter) for letter in "how"]
    assert spelt != list(listener.target(prompts[0].sample, "how")[:-1]), "the test needs a word that is one token"
    faulty.reply = lambda clip, body: "how"
    faulty.choice = listed([f"token_id:{token}" for token in (*spelt, listener.end_id)])
    engine = ServerEngine(listener, options(logprobs="raw", dialect="vllm"), tmp_path)
    ((rollout,),) = engine.roll(prompts[:1], 1, DRAWN, 0)
    assert rollout.reply_ids == (*spelt, listener.end_id)
    assert rollout.logps == (-0.5,) * 4
    assert faulty.requests[0]["return_tokens_as_token_ids"] is True


@pytest.mark.parametrize(
    ("choice", "sampling"),
    [
        ({}, DRAWN),
        (listed(["<answer>", "3", "</answer>"]), DRAWN),
        (listed(["token_id:5", "token_id:6"]), DRAWN),
        (listed(["<answer>2</answer>"], value=float("-inf")), DRAWN),
        (None, replace(DRAWN, temperature=0.7)),
    ],
)
def test_log_probs_that_do_not_fit_are_left_to_the_learner_with_one_warning(
    listener, prompts, faulty, options, tmp_path, choice, sampling
):
    ids = listener.target(prompts[0].sample, "<answer>2</answer>")
    faulty.reply = lambda clip, body: "<answer>2</answer>"
    faulty.choice = listed([listener.tokenizer.decode([t]) for t in ids]) if choice is None else choice
    engine = ServerEngine(listener, options(logprobs="raw"), tmp_path)
    with pytest.warns(UserWarning, match="the learner computes its own") as told:
        rolled = engine.roll(prompts, 2, sampling, 0)
    assert len(told) == 1
    assert engine.counts["without_logps"] == 8
    assert all(r.logps is None and listener.text(r.reply_ids) == r.text for rollouts in rolled for r in rollouts)


def test_a_reply_cut_at_its_length_has_no_end_token(listener, prompts, faulty, options, tmp_path):
    faulty.choice = {"finish_reason": "length"}
    ((rollout,),) = ServerEngine(listener, options(), tmp_path).roll(prompts[:1], 1, DRAWN, 0)
    assert rollout.stop == "length"
    assert listener.end_id not in rollout.reply_ids


# -- the policy ------------------------------------------------------------------------------------------------------


@pytest.fixture
def adapted(checkpoint):
    """The tiny listener with low-rank adapters, which a server can be handed."""
    model = graft.Model(language="adapt", audio="freeze", projector="freeze")
    return model.load(checkpoint, Wording(instruction=False, choices=False))


def learn(listener) -> None:
    with torch.no_grad():
        next(p for p in listener.model.parameters() if p.requires_grad).add_(1e-3)


def posted(faulty) -> Counter[str]:
    return Counter(path.rpartition("/")[2] for path, _ in faulty.posts)


def test_stale_weights_are_refused_by_name(listener, prompts, faulty, options, tmp_path):
    engine = ServerEngine(listener, options(), tmp_path)
    ((before,),) = engine.roll(prompts[:1], 1, DRAWN, 0)
    learn(listener)
    with pytest.raises(EndpointError, match=rf"serves policy {before.policy} as base.*server\.hot_load"):
        engine.roll(prompts[:1], 1, DRAWN, 0)
    with pytest.raises(EndpointError, match=f"serves policy {before.policy} as base"):  # a restart makes nothing fresh
        ServerEngine(listener, options(), tmp_path).roll(prompts[:1], 1, DRAWN, 1)
    assert len(faulty.requests) == 1


def test_changed_weights_are_handed_over_and_the_older_adapter_is_let_go(adapted, prompts, faulty, options, tmp_path):
    policies = []
    for call in range(3):
        if call != 1:  # self-training makes a new engine for each iteration
            engine = ServerEngine(adapted, options(hot_load="adapter"), tmp_path)
        ((rollout,),) = engine.roll(prompts[:1], 1, DRAWN, 0)
        policies.append(rollout.policy)
        (name,) = faulty.adapters
        assert name == faulty.requests[-1]["model"] == f"base-{rollout.policy}"
        (folder,) = (tmp_path / "adapters").iterdir()
        assert faulty.posts[-1 if len(policies) == 1 else -2][1] == {"lora_name": name, "lora_path": str(folder)}
        assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in folder.iterdir()}
        learn(adapted)
    assert len(set(policies)) == 3
    assert posted(faulty) == {"load_lora_adapter": 3, "unload_lora_adapter": 2}


def test_whole_checkpoints_of_engines_before_are_removed(listener, options, tmp_path):
    for _ in range(2):
        path = ServerEngine(listener, options(hot_load="checkpoint"), tmp_path).hand_checkpoint()
        assert [str(there) for there in (tmp_path / "checkpoints").iterdir()] == [path]
        learn(listener)


def test_an_adapter_that_nobody_takes_is_named_without_a_last_wait(adapted, options, tmp_path):
    patient = options(url="http://127.0.0.1:9/v1", hot_load="adapter", retries=0, backoff=60.0, longest_wait=60.0)
    began = time.monotonic()
    with pytest.raises(EndpointError, match="does not load the adapter"):
        ServerEngine(adapted, patient, tmp_path).load_adapter()
    assert time.monotonic() - began < 10


def test_a_server_that_lost_its_adapter_in_a_restart_is_given_it_again(adapted, prompts, faulty, options, tmp_path):
    engine = ServerEngine(adapted, options(hot_load="adapter"), tmp_path)
    name = engine.load_adapter()
    faulty.adapters.clear()
    rolled = engine.roll(prompts, 3, DRAWN, 0)
    assert [len(rollouts) for rollouts in rolled] == [3] * 4
    assert posted(faulty) == {"load_lora_adapter": 2}
    assert faulty.adapters == {name}


def test_weights_that_no_adapter_holds_are_not_handed_over(listener, checkpoint, prompts, faulty, options, tmp_path):
    with pytest.raises(ConfigError, match="handed adapters only"):
        ServerEngine(listener, options(hot_load="adapter"), tmp_path).roll(prompts, 1, DRAWN, 0)
    both = graft.Model(language="adapt", audio="freeze", projector="train")
    listener = both.load(checkpoint, Wording(instruction=False, choices=False))
    with pytest.raises(ConfigError, match="trained in full beside its adapter"):
        ServerEngine(listener, options(hot_load="adapter"), tmp_path).roll(prompts, 1, DRAWN, 0)
    assert faulty.requests == faulty.posts == []


def test_replies_of_another_model_are_refused_by_name(listener, prompts, faulty, options, tmp_path):
    faulty.answered_as = "base-0123456789abcdef"
    with pytest.raises(EndpointError, match="answered as base-0123456789abcdef, asked for base"):
        ServerEngine(listener, options(), tmp_path).roll(prompts, 1, DRAWN, 0)
    assert journaled(tmp_path) == []
    faulty.answered_as = "base@main"
    assert len(ServerEngine(listener, options(), tmp_path).roll(prompts, 1, DRAWN, 0)) == 4


def test_options_that_cannot_be_are_refused(options, checkpoint, faulty, tmp_path):
    for name, value in {"url": "localhost:8000", "max_failed": 1.0, "concurrency": 0, "timeout": 0.0}.items():
        with pytest.raises(ValueError, match=name):
            options(**{name: value})
    listener = graft.Model().load(checkpoint, Wording(too_long="trim"))
    with pytest.raises(ConfigError, match="hears whole clips"):
        ServerEngine(listener, options(), tmp_path)


def test_it_answers_where_an_event_loop_is_running_already(listener, prompts, faulty, options, said, tmp_path):
    """A notebook's cell runs inside of a loop, and so does whatever follows playwright's synchronous interface."""

    async def cell():
        return ServerEngine(listener, options(), tmp_path).roll(prompts, 2, DRAWN, 0)

    with ThreadPoolExecutor(1) as aside:  # this thread may have a loop of playwright's by now
        assert wrong(prompts, aside.submit(asyncio.run, cell()).result(), said) == []
