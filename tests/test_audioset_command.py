"""`auscult data audioset`: from a web server to frame sets and shards, as a user types it."""

from __future__ import annotations

import functools
import json
import tarfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.cli import main
from auscult.data import tfrecord
from auscult.data.audioset import FILES, Clip, encode
from auscult.data.frames import FrameSet


class Serving(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, serve) -> str:
    """The address of a mirror with three clips in `eval`, one of them broken, and one in `bal_train`."""
    root = tmp_path / "www"
    clips = [Clip(f"-video{n:05d}", 30.0, 32.0, (n, 526), np.full((2, 128), n, np.uint8)) for n in range(4)]
    records = [tfrecord.record(encode(clip)) for clip in clips]
    unpacked = tmp_path / "audioset_v1_embeddings"
    for folder, data in (("bal_train", records[:1]), ("eval", [*records[1:3], records[3][:-1] + b"?"])):
        (unpacked / folder).mkdir(parents=True)
        (unpacked / folder / "00.tfrecord").write_bytes(b"".join(data))
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text('# head\n-video00001, 30.000, 32.000, "/m/1,/m/526"\n-other, 0.000, 10.000, "/m/1"\n')
    names = "".join(f'{n},/m/{n},"name, {n}"\n' for n in range(527))
    (root / FILES[0]).write_text("index,mid,display_name\n" + names)
    with tarfile.open(root / FILES[-1], "w:gz") as tar:
        tar.add(unpacked, unpacked.name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Serving, directory=root))
    serve(server)
    return f"http://127.0.0.1:{server.server_address[1]}/"


def audioset(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    code = main(["data", "audioset", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_from_the_mirror_to_shards(mirror: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    got = tmp_path / "got"
    code, out, err = audioset(capsys, "download", got, "--mirror", mirror, "--json")
    told = json.loads(out)
    assert (code, [Path(row["file"]).name for row in told["files"]]) == (0, [Path(file).name for file in FILES])
    assert told["from"] == mirror.rstrip("/")
    assert {row["checked"] for row in told["files"]} == {"length"}
    code, out, err = audioset(capsys, "download", got, "--mirror", mirror)
    assert (code, out.count("compared: there")) == (0, 5)
    assert f"convert {got} --out {got}/frames" in err

    code, out, err = audioset(capsys, "convert", got, "--out", got / "frames")
    assert (code, out) == (2, "")
    assert "eval: 1 of 3 records cannot be used (payload_crc 1), first: " in err
    code, out, err = audioset(capsys, "convert", got, "--out", got / "frames", "--max-dropped", "0.4")
    assert code == 0
    assert "bal_train  1 clips of 22,176 published, 2 frames; dropped: nothing" in out
    assert "eval  2 clips of 20,383 published, 4 frames; dropped: payload_crc 1" in out
    assert FrameSet.open(got / "frames" / "eval").about.labels[526] == "name, 526"

    damaged = tmp_path / "damaged" / "eval"
    damaged.mkdir(parents=True)
    records = [tfrecord.record(encode(Clip(f"-{n}", 0.0, 2.0, (n,), np.full((2, 128), n, np.uint8)))) for n in range(9)]
    records[5] = b"?" + records[5][1:]
    (damaged / "00.tfrecord").write_bytes(b"".join(records))
    lost, allowed = sum(map(len, records[5:])), ("--max-dropped", "0.5")
    said = f"dropped: length_crc 1; {lost:,} bytes of files are lost with it, about 3 clips more"
    assert said in audioset(capsys, "convert", damaged, "--out", tmp_path / "made", *allowed)[1]
    assert said.partition(" ")[2] in audioset(capsys, "stats", tmp_path / "made" / "eval")[1]
    (damaged / "00.tfrecord").write_bytes(b"".join(records[:5]) + records[6][:-3])
    said = audioset(capsys, "convert", damaged, "--out", tmp_path / "torn", *allowed)[1]
    assert "dropped: torn 1; a torn file ends too early, and nobody knows what followed" in said

    lists = ("--segments", got / "eval_segments.csv", "--labels", got / "class_labels_indices.csv")
    code, out, err = audioset(capsys, "stats", got / "frames" / "eval", *lists, "--show", 2)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert "list listed 2, without_frames 1, not_listed 1, other_start 0, other_labels 0" in lines
    assert "name, 526 2" in lines
    assert "dropped payload_crc 1" in lines
    code, out, err = audioset(capsys, "stats", got / "frames")
    assert (code, out) == (2, "")
    assert f"{got / 'frames'}: is no frame set, but holds bal_train, eval; give one of these" in err
    code, out, err = audioset(capsys, "stats", got / "frames" / "eval", "--json")
    assert (json.loads(out)["clips"], json.loads(out)["against_the_list"], err) == (2, None, "")

    code, out, err = audioset(capsys, "shards", got / "frames" / "eval", "--out", got / "shards", "--size", 1, "--json")
    assert (code, json.loads(out)) == (0, {"out": str(got / "shards"), "shards": 2, "size": 1})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "invalid choice ''; name one of download, convert, shards, stats"),
        (("convrt",), "did you mean 'convert'?"),
        (("download", "x", "--region", "eur"), "there is no region 'eur', did you mean 'eu'?"),
        (("download", "x", "--mirror", "host"), "begin it with http:// or https://"),
        (("convert", "x"), "the following arguments are required: --out"),
        (("convert", "x", "--out", "y", "--labls", "z"), "there is no --labls, did you mean '--labels'?"),
        (("convert", "none", "--out", "y"), "none: does not exist"),
        (("convert", "x", "--out", "y", "--max-dropped", "2"), "give a share from 0 to 1"),
        (("shards", "x", "--out", "y", "--size", "0"), "--size is 0: give at least 1"),
        (("shards", "x", "--out", "y"), "x: is no frame set"),
        (("stats", "x", "--labels", "y"), "--segments and --labels go together"),
    ],
)
def test_mistakes_are_sentences(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.chdir(tmp_path)
    code, out, err = audioset(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_help_says_what_each_takes(capsys: pytest.CaptureFixture[str]):
    code, out, _ = audioset(capsys, "--help")
    assert code == 0
    assert all(word in out for word in ("download DIR", "convert SOURCE", "shards FRAMES", "stats FRAMES", "2.4 GB"))
    assert "(default: 0.01)" in audioset(capsys, "convert", "--help")[1]
