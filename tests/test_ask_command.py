"""`auscult ask`: films of several views to a model or a server, in the words of its run; a name goes nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image as Pillow

from auscult import AuscultModel
from auscult.asking import question, wording_of
from auscult.cli import main
from auscult.core.errors import ConfigError
from auscult.core.types import Image
from auscult.models.families import gemma3
from auscult.models.wording import Wording

TAGS = ["<think>", "</think>", "<answer>", "</answer>"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma 3 in the folder of a run that thought before it answered."""
    run = tmp_path_factory.mktemp("runs") / "films"
    (run / "grpo" / "model").mkdir(parents=True)
    texts = ["Is there an effusion? yes no (A) (B) View 1 (PA): View 2 (LATERAL):"]
    gemma3.Model().build(texts, TAGS, Wording(), 0).save(run / "grpo" / "model")
    (run / "config.yaml").write_text("name: films\nwording: {form: think, display: {window: percentile}}\n")
    return run / "grpo" / "model"


@pytest.fixture
def films(tmp_path: Path) -> list[str]:
    """Two films of 16 bits."""
    for number in range(2):
        draw = np.random.default_rng(number)
        Pillow.fromarray(draw.integers(0, 4096, (60, 50)).astype(np.uint16)).save(tmp_path / f"{number}.png")
    return [str(tmp_path / f"{number}.png") for number in range(2)]


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    code = main(["ask", "--json", "--question", "Is there an effusion?", *words])
    told = capsys.readouterr()
    assert code == 0, told.err
    return json.loads(told.out)


def test_a_model_is_asked_as_its_run_asked_and_as_from_python(model: Path, films: list[str], capsys) -> None:
    words = ["--options", "yes", "no", "--views", "PA", "LATERAL", "--max-tokens", "12"]
    told = asked(capsys, "--model", str(model), "--image", *films, *words)
    assert (told["form"], told["as_in"]) == ("think", str(model.parent.parent))
    assert told["media"] == films
    assert {"reply", "answer", "problem", "thought", "identified"} <= told.keys()
    found = wording_of(model)
    assert found
    assert found[0].display.window == "percentile"
    here = AuscultModel.from_pretrained(model, wording=found[0], device="cpu")
    sample = question("Is there an effusion?", films, ("yes", "no"), ("PA", "LATERAL"))
    said = here.ask(sample)
    assert said.text.startswith(told["reply"])
    text = here.listener.prompt(sample).text
    mark = here.listener.marks["image"]
    assert f"View 1 (PA):{mark}View 2 (LATERAL):{mark}Is there an effusion?" in text.replace("\n", "")
    assert "(B) no" in text


def test_films_and_recordings_keep_the_order_in_which_they_are_given(films: list[str], tmp_path, judge_server, capsys):
    soundfile.write(tmp_path / "heart.wav", np.zeros(1600, np.float32) + 0.01, 16_000)
    judge_server.say = lambda prompt: "no"
    words = ["--image", films[1], "--audio", f"{tmp_path}/heart.wav", "--image", films[0], "--options", "yes", "no"]
    told = asked(capsys, "--server", judge_server.url, "--name", "m", *words)
    assert (told["answer"], told["reply"], told["server"]) == ("no", "no", judge_server.url)
    (request,) = judge_server.requests
    kinds = [part["type"] for part in request["messages"][0]["content"]]
    assert kinds == ["image_url", "input_audio", "image_url", "text"]
    assert told["media"] == [films[1], f"{tmp_path}/heart.wav", films[0]]
    assert request["messages"][0]["content"][0] != request["messages"][0]["content"][2]


def test_a_film_that_names_somebody_is_looked_at_here_and_sent_nowhere(
    model: Path, testdata: Path, judge_server, capsys: pytest.CaptureFixture[str]
) -> None:
    film = str(testdata / "dicom" / "mlut_18.dcm")
    words = ["--question", "Is there an effusion?", "--image", film, "--max-tokens", "4"]
    assert main(["ask", "--model", str(model), *words]) == 0
    assert f"{film}: its header names" in (told := capsys.readouterr().err)
    assert "stays on this machine" in told
    server = ["--server", judge_server.url, "--name", "m"]
    assert main(["ask", *words, *server]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "not de-identified" in told.err
    assert "--send-identified" in told.err
    assert judge_server.requests == []
    judge_server.say = lambda prompt: "yes"
    assert main(["ask", *words, *server, "--send-identified"]) == 0
    sent = json.dumps(judge_server.requests)
    assert "image/png;base64" in sent
    assert "mlut_18" not in sent


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--image a.png", "say what is asked: --question TEXT"),
        ("--question What?", "name who answers"),
        ("--question What? --model m --server http://x/v1", "name who answers"),
        ("--question What? --server http://x/v1", "--name NAME"),
        ("--question What? --model m --options a a", "two of the options are the same"),
        ("--question What? --model m --options yes", "a single option is always right; name the others too"),
        ("--question What? --model m --image a.png b.png --views PA", "1 views are named and 2 images given"),
        ("--question What? --model m --image nowhere.dcm", "nowhere.dcm does not exist"),
        ("--question What? --model m --imag a.png", "did you mean '--image'"),
        ("--question What? --model m --form thinks", "did you mean 'think'"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_views_that_are_not_as_many_as_images_are_refused_in_python_too() -> None:
    with pytest.raises(ConfigError, match="2 views are named and 1 images given"):
        question("What?", [Image("a.png")], views=("PA", "LATERAL"))
