"""What frozen encoders said: found again by later runs, never by another encoder, never when a file is torn."""

import os
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.errors import ConfigError
from auscult.models.encoded import GB, EncoderCache
from auscult.models.families import graft, qwen2_5_omni
from auscult.models.learning import Cache
from auscult.models.wording import Wording

WORDING = Wording(instruction=False, choices=False)
CPU = torch.device("cpu")
KEPT = {"encoder_rows": 0, "encoder_cached": 2, "encoder_torn": 0}


def opened(path, folder, family=graft):
    cache = Cache(folder=str(folder))
    return family.Model(language="train", audio="freeze", projector="freeze", cache=cache).load(path, WORDING)


def gradients(listener, heard, arithmetic="float32"):
    """Of something that two clips have a part in."""
    prompts = [listener.prompt(heard(number)) for number in range(2)]
    with listener.arithmetic(arithmetic):
        prefix = listener.prefill(prompts, "test")
    prefix.out.square().mean().backward()
    return {name: p.grad for name, p in listener.model.named_parameters() if p.grad is not None}


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("family", [graft, qwen2_5_omni], ids=lambda family: family.__name__.rpartition(".")[2])
def test_a_second_run_computes_no_encoder_row_and_has_the_same_gradients(checkpoint, heard, tmp_path, family):
    start = checkpoint
    if family is not graft:
        start = tmp_path / "start"
        family.Model().build(["How many sounds?"], [], WORDING, 0).save(start)
    first = opened(start, tmp_path / "cache", family)
    expected = gradients(first, heard)
    assert first.counts["encoder_rows"] > 0
    assert len(files(tmp_path / "cache")) == 2
    second = opened(shutil.copytree(start, tmp_path / "elsewhere"), tmp_path / "cache", family)
    found = gradients(second, heard)
    assert {name: second.counts[name] for name in KEPT} == KEPT
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("tear", [lambda data: data[:-1], lambda data: data[:-9] + b"X" + data[-8:], lambda data: b""])
def test_a_torn_file_is_counted_and_computed_again(checkpoint, heard, tmp_path, tear):
    expected = gradients(opened(checkpoint, tmp_path), heard)
    torn = files(tmp_path)[0]
    whole = torn.read_bytes()
    torn.write_bytes(tear(whole))
    listener = opened(checkpoint, tmp_path)
    found = gradients(listener, heard)
    assert (listener.counts["encoder_torn"], listener.counts["encoder_clips"]) == (1, 1)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert torn.read_bytes() == whole


def test_another_encoder_other_settings_and_other_arithmetic_find_nothing(checkpoint, heard, tmp_path):
    gradients(opened(checkpoint, tmp_path), heard)
    weights, shape, arithmetic, kept = (opened(checkpoint, tmp_path) for _ in range(4))
    with torch.no_grad():
        next(weights.model.encoder.parameters()).add_(1e-6)
    shape.model.config.encoder_heads //= 2
    for listener in (weights, shape):
        gradients(listener, heard)
        assert listener.counts["encoder_cached"] == 0
    gradients(arithmetic, heard, "bfloat16")
    assert arithmetic.counts["encoder_cached"] == 0
    gradients(kept, heard)
    assert kept.counts["encoder_cached"] == 2


def test_what_another_processor_made_of_a_clip_is_another_clip(checkpoint, heard, tmp_path):
    first, second = (opened(checkpoint, tmp_path) for _ in range(2))
    prompt = first.prompt(heard())
    first.prefill([prompt], "test")
    features = tuple(replace(part, inputs={"rows": part.inputs["rows"] + 0.1}) for part in prompt.features)
    second.prefill([replace(prompt, features=features)], "test")
    assert second.counts["encoder_cached"] == 0


@settings(deadline=None, max_examples=25)
@given(names=st.lists(st.integers(0, 30), max_size=60), room=st.integers(0, 12))
def test_memory_and_folder_stay_within_their_bytes(tmp_path_factory, names, room):
    folder = tmp_path_factory.mktemp("cache")
    limit = room * 1000 / GB
    cache = EncoderCache(Cache(memory_gb=limit, disk_gb=limit, folder=str(folder)))
    for name in names:
        given = {"rows": torch.full((4,), float(name))}
        found = cache.get(str(name), given, CPU)
        assert found is None or torch.equal(found, torch.full((200,), float(name)))
        cache.put(str(name), given, torch.full((200,), float(name)))
        assert sum(path.stat().st_size for path in files(folder)) <= limit * GB
        assert cache.bytes <= max(800, limit * GB)


def test_the_least_recently_used_file_goes_first(tmp_path):
    options = Cache(memory_gb=0, disk_gb=3100 / GB, folder=str(tmp_path))
    rows = torch.zeros(200)  # 800 bytes and their heading: three of them fit

    def known(name):
        return EncoderCache(options).get(name, {"rows": rows}, CPU) is not None

    for when, name in enumerate(("first", "second", "third")):
        there = set(files(tmp_path))
        EncoderCache(options).put(name, {"rows": rows}, rows)
        os.utime(*set(files(tmp_path)) - there, (when, when))
    assert known("first")  # used just now
    EncoderCache(options).put("fourth", {"rows": rows}, rows)
    assert [known(name) for name in ("first", "second", "third", "fourth")] == [True, False, True, True]


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"model\.cache\.folder.*name a folder that can be written"):
        EncoderCache(Cache(folder=str(tmp_path / "file" / "cache")))
