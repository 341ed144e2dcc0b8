"""Without a network every command says in one sentence which model it lacks, why, and which key names another."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError
from PIL import Image as Pillow

from auscult.cli import main
from auscult.core.config import Plugin
from auscult.core.errors import ConfigError
from auscult.models import adapters, base, fetching
from auscult.models.family import Model
from auscult.models.wording import Wording

HUB_ID = "google/medgemma-4b-it"
FAMILIES = Plugin("family", "auscult.models.families")
SAID = {"refused": "http://127.0.0.1:9 cannot be reached", "offline": "HF_HUB_OFFLINE forbids"}


@pytest.fixture(params=SAID)
def why(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said where nothing listens at the hub's address, or where it must not be asked; nothing was fetched."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", request.param == "offline")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # HF_ENDPOINT, which is read at the first import
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    return SAID[request.param]


@pytest.fixture
def films(tmp_path: Path) -> dict[str, str]:
    """Questions on films, for training and held out."""
    found: dict[str, str] = {}
    for name, patients in (("train", range(4)), ("heldout", range(4, 8))):
        found[name] = str(tmp_path / f"{name}.csv")
        with open(found[name], "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "image", "question", "options", "answer", "patient"])
            for number in patients:
                Pillow.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
                rows.writerow([f"q{number}", f"{number}.png", f"Is {number} seen?", "yes|no", "yes", f"P{number}"])
    return found


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence that a command ends with, code 2."""
    assert main(words) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    return last


@pytest.mark.parametrize("family", FAMILIES.names())
def test_no_family_ends_in_a_traceback(family: str, why: str) -> None:
    options = FAMILIES.find(family, Model)()
    with pytest.raises(ConfigError, match=rf"{HUB_ID} is no folder here.*{why}.*\(--model\.path\)$"):
        options.load(HUB_ID, Wording())


def test_a_run_says_so_before_it_makes_a_folder(films: dict[str, str], why: str, tmp_path: Path, capsys) -> None:
    words = ["--data.root", films["train"], "--data.heldout", films["heldout"], "--out", str(tmp_path / "run")]
    said = told(capsys, "run", "medgemma-cxr", *words)
    assert HUB_ID in said
    assert why in said
    assert "--model.path" in said
    assert not (tmp_path / "run").exists()


def test_what_shows_exports_and_asks_says_so(films: dict[str, str], why: str, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "plain")
    for key, words in {
        "--model.path": ["data", "check", films["train"], "--recipe", "medgemma-cxr", "--show", "2"],
        "(--model.path)": ["export", "medgemma-cxr", "--model", HUB_ID, "--out", out],
        "(--model)": ["ask", "--model", HUB_ID, "--question", "Is it seen?"],
    }.items():
        said = told(capsys, *words)
        assert why in said
        assert key in said
    assert not Path(out).exists()


def test_an_exam_says_so(why: str, tmp_path: Path, capsys) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(4000, np.float32) + 0.1, 16_000)
    row = {"id": "q", "audio_id": "a.wav", "question": "How many?", "choices": ["1", "2"], "answer": "1"}
    row |= {"task": "sound", "category": "c", "sub-category": "n", "difficulty": "easy"}
    (tmp_path / "gold.json").write_text(json.dumps([row]))
    words = ["eval", "mmau", "--gold", str(tmp_path / "gold.json"), "--model", "Qwen/Qwen2-Audio-7B-Instruct"]
    said = told(capsys, *words, "--model.family", "qwen2_audio", "--out", str(tmp_path / "exam"))
    assert why in said
    assert "--model.path" in said
    assert not (tmp_path / "exam").exists()


def test_a_language_model_to_graft_and_its_tokenizer_say_so(why: str) -> None:
    for name in (HUB_ID, "gpt2"):
        with pytest.raises(ConfigError, match=rf"^{name} is no folder.*{why}.*\(--model\.base\)$"):
            base.config_of(name, "model.base")
        with pytest.raises(ConfigError, match=rf"^{name} is no folder.*{why}.*\(--model\.base\)$"):
            base.tokenizer_of(name)


def test_an_adapter_says_where_its_base_is_named(why: str, tmp_path: Path, capsys) -> None:
    (tmp_path / adapters.CONFIG).write_text(json.dumps({"base_model_name_or_path": HUB_ID}))
    said = told(capsys, "ask", "--model", str(tmp_path), "--question", "Is it seen?")
    assert why in said
    assert f"(base_model_name_or_path in {tmp_path / adapters.CONFIG})" in said


def test_what_was_fetched_in_part_is_no_whole_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its config.json is there, so that the model is opened; what fails then says nothing of the network."""
    snapshot = tmp_path / "hub" / f"models--{HUB_ID.replace('/', '--')}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "gemma3"}))
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"was not fetched whole before, and HF_HUB_OFFLINE"):
        FAMILIES.find("gemma3", Model)().load(HUB_ID, Wording())


def test_what_is_no_matter_of_the_network_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (tmp_path, str(tmp_path / "gone"), "./owner/name"):
        with pytest.raises(OSError, match="no space left"), fetching.fetching(name, "--model"):
            raise OSError("no space left")
    reached: list[str] = []
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url, timeout: reached.append(url))
    with pytest.raises(OSError, match="no space left"), fetching.fetching(HUB_ID, "--model"):
        raise OSError("no space left")
    assert len(reached) == 2, "before and after"


def test_a_model_that_the_hub_refuses_is_named_with_the_way_in(monkeypatch: pytest.MonkeyPatch) -> None:
    response: Any = httpx.Response(403, request=httpx.Request("HEAD", "u"))  # the hub's own client may be another
    refused = GatedRepoError("Access is restricted.", response=response)

    def ask(url: str, timeout: float) -> None:
        raise refused

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", ask)
    with (
        pytest.raises(ConfigError, match=rf"does not give {HUB_ID} \(.*hf auth login.*\(--model\)$"),
        fetching.fetching(HUB_ID, "--model"),
    ):
        raise OSError("You are trying to access a gated repo.") from refused
