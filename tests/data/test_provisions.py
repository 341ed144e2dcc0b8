"""Captioned scenes on the disk: the same bytes for a seed, and all that reads AudioSet and AudioCaps reads them."""

from __future__ import annotations

import re
import shutil
import tarfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from auscult.core.errors import DataError
from auscult.core.forms import form
from auscult.core.seeds import rng
from auscult.core.types import Audio
from auscult.data.audioset import FILES, SCALE, SHIFT
from auscult.data.download import DownloadError
from auscult.data.frames import About, FrameSet, writing
from auscult.data.provisions import audioset
from auscult.data.provisions.scenes import (
    MOST,
    SECONDS,
    SOUNDS,
    Provision,
    Written,
    captions,
    compose,
    frames_of,
)
from auscult.data.sources import captions as captioned
from auscult.data.sources.scenes import Event, Scene, render
from auscult.media.audio import decode


def silent(*_) -> None:
    """Nobody waits."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "made"
    said = Provision(folder=str(folder), train=12, val=3, test=6, audio=True).provide(silent)
    assert said == f"scenes: 12 clips to train on, 3 to validate, 6 to test, in {folder}"
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_seed_makes_one_set_of_bytes(scenes: Path, tmp_path: Path):
    options = Provision(folder=str(tmp_path / "again"), train=12, val=3, test=6, audio=True)
    options.provide(silent)
    assert files(tmp_path / "again") == files(scenes)
    replace(options, folder=str(tmp_path / "other"), seed=1).provide(silent)
    there = files(tmp_path / "other")
    assert all(
        there[name] != content for name, content in files(scenes).items() if name.endswith((".tfrecord", "n.csv"))
    )


@pytest.mark.parametrize("heard", ["frames", "audio"])
def test_the_source_of_captions_reads_it_either_way(scenes: Path, heard: str):
    how = {"frames": (str(scenes / "frames/bal_train"), str(scenes / "frames/eval"))} if heard == "frames" else {}
    root, heldout = (str(scenes / "captions" / f"{split}.csv") for split in ("train", "test"))
    source = captioned.Source(root=root, heldout=heldout, audio=str(scenes / "audio") if not how else "", **how)
    train, held = source.split("train", 0), source.split("heldout", 0)
    assert (train.size, held.size) == (12, 6)
    assert all(len(held[index].answers) == 5 for index in range(6))
    written = Written.of(0, "test", 4)
    (media,) = held[4].media
    assert held[4].id == f"{written.id}_{written.start}"
    assert held[4].answers == written.captions
    if isinstance(media, Audio):
        media_frames = frames_of(decode(media, 16_000)) * np.float32(SCALE) + np.float32(SHIFT)
    else:
        media_frames = media.values
    np.testing.assert_allclose(media_frames, frames_of(written.wave()) * SCALE + SHIFT, atol=1e-6)


def test_labels_are_what_is_heard(scenes: Path):
    frames = FrameSet.open(scenes / "frames" / "eval", check=True)
    assert len(frames) == 9
    for index in range(6):
        written = Written.of(0, "test", index)
        heard = {frames.about.labels[label] for label in frames.labels_of(3 + index)}
        assert heard == {", ".join(filter(None, (event.pitch, event.kind))) for event in written.scene.events}


def test_no_clip_is_in_two_splits():
    ids = [Written.of(0, split, number).id for split in ("train", "val", "test") for number in range(300)]
    assert len(set(ids)) == 900
    assert all(re.fullmatch(r"[\w-]{11}", name) for name in ids)


def test_frames_tell_what_sounds_when_how_loud_and_which_way():
    def heard(*events: Event) -> np.ndarray:
        return frames_of(render(Scene(events, SECONDS), rng(0), snr=30)).astype(float)

    quiet, loud = (heard(Event("tone", 3.1, 3.9, "low", level)) for level in (-22.0, -7.0))
    assert loud[3].sum() > quiet[3].sum() + 1000 > quiet[5].sum() + 2000  # in its second, and by its level
    assert np.abs(loud[5] - loud[7]).mean() < 8  # background, elsewhere
    low, high = (heard(Event("tone", 3.1, 3.9, pitch, -7.0))[3, 32:64].argmax() for pitch in ("low", "high"))
    assert low < high
    rising = heard(Event("rising chirp", 3.05, 3.95, None, -7.0))[3]
    assert rising[32:64].argmax() < rising[96:128].argmax()  # the maxima of the first half, and of the second
    falling = heard(Event("falling chirp", 3.05, 3.95, None, -7.0))[3]
    assert falling[32:64].argmax() > falling[96:128].argmax()


def test_scenes_have_every_sound_and_fit_their_clip():
    found = [compose(rng(number, "scene")) for number in range(300)]
    assert {len(scene.events) for scene in found} == set(range(1, MOST + 1))
    assert {(event.kind, event.pitch) for scene in found for event in scene.events} == set(SOUNDS)
    for scene in found:
        times = [time for event in scene.events for time in (event.onset, event.offset)]
        assert times == sorted(times)
        assert times[0] > 0
        assert times[-1] < SECONDS
        assert all(
            after.onset - before.offset > 0.59 for before, after in zip(scene.events, scene.events[1:], strict=False)
        )


def test_captions_differ_and_are_read_as_they_are():
    label = form("label")
    for number in range(200):
        draw = rng(number, "captions")
        scene = compose(draw)
        told = captions(scene, draw)
        assert len(set(told)) == 5
        assert [label.parse(text).answer for text in told] == list(told)
        for event in scene.events:
            assert all(event.pitch in text for text in told if event.pitch)


def test_a_folder_of_other_scenes_is_refused(scenes: Path, tmp_path: Path):
    other = Provision(folder=str(scenes), train=13, val=3, test=6, audio=True)
    with pytest.raises(DataError, match="is not what these options make"):
        other.provide(silent)
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="name another folder"):
        replace(other, folder=str(tmp_path / "mine")).provide(silent)
    before = files(scenes)
    replace(other, train=12).provide(silent)
    assert files(scenes) == before


class Serving(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        """Nobody reads it."""


@pytest.fixture
def mirror(scenes: Path, tmp_path: Path, serve) -> tuple[str, ThreadingHTTPServer]:
    """A mirror of both publishers that has the written scenes."""
    root = tmp_path / "www"
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes((scenes / "features" / "class_labels_indices.csv").read_bytes())
    with tarfile.open(root / FILES[-1], "w:gz") as tar:
        for part in ("bal_train", "eval"):
            tar.add(scenes / "features" / part, f"audioset_v1_embeddings/{part}")
    shutil.copytree(scenes / "captions", root / "captions")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Serving, directory=root))
    serve(server)
    return f"http://127.0.0.1:{server.server_address[1]}", server


def test_audioset_and_audiocaps_come_from_the_hosts_that_are_named(mirror, scenes: Path, tmp_path: Path):
    address, server = mirror
    fetched = audioset.Provision(
        folder=str(tmp_path / "got"), home=address, captions=f"{address}/captions", parts=("bal_train", "eval")
    )
    said = fetched.provide(silent)
    told = "bal_train (12 clips), eval (9 clips) as frame sets, and AudioCaps' captions"
    assert said == f"audioset: {told}, in {tmp_path / 'got'}"
    for part in ("bal_train", "eval"):
        assert (tmp_path / "got/frames" / part / "frames.npy").read_bytes() == (
            scenes / "frames" / part / "frames.npy"
        ).read_bytes()
    assert files(tmp_path / "got/captions") == files(scenes / "captions")
    server.shutdown()  # what is there is not fetched again
    assert fetched.provide(silent) == said
    shutil.rmtree(tmp_path / "got/frames/eval")  # and what a kill left undone is made of what was fetched
    fetched.provide(silent)
    assert (tmp_path / "got/frames/eval/frames.npy").exists()
    shutil.rmtree(tmp_path / "got/frames/eval")
    with pytest.raises(DownloadError, match=r"with the sha256 [0-9a-f]{64}, not 00"):
        replace(fetched, sha256="00").provide(silent)


def test_records_that_were_left_out_are_told(mirror, tmp_path: Path):
    address, _ = mirror
    with writing(tmp_path / "frames" / "unbal_train", About(128, 1.0, "uint8")) as writer:
        writer.add("clip", np.zeros((10, 128), np.uint8))
        writer.drop("crc", "00.tfrecord at 0", "00.tfrecord", 0)
    said = audioset.Provision(folder=str(tmp_path), captions=f"{address}/captions", parts=("unbal_train",))
    assert "unbal_train (1 clips; 1 left out, see " in said.provide(silent)


def test_parts_that_audioset_has_not_are_refused():
    with pytest.raises(ValueError, match="parts has 'evl': name some of bal_train, eval, unbal_train"):
        audioset.Provision(parts=("evl",))


def test_what_is_interrupted_is_not_there(tmp_path: Path):
    def interrupt(what: str, done: int, *_) -> None:
        if done == 3:
            raise KeyboardInterrupt

    options = Provision(folder=str(tmp_path / "made"), train=4, val=1, test=1)
    with pytest.raises(KeyboardInterrupt):
        options.provide(interrupt)
    assert list(tmp_path.iterdir()) == []
    options.provide(silent)
    assert not (tmp_path / "made" / "audio").exists()
