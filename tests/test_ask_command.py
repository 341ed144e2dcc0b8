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
from auscult.data.frames import About, writing
from auscult.models.families import gemma3, graft
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


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that hears frames of 16 values, with a frame set and arrays beside it."""
    folder = tmp_path_factory.mktemp("frames")
    shape = {"width": 32, "layers": 2, "heads": 2, "encoder_width": 32, "encoder_layers": 1, "vocabulary": 300}
    graft.Model(source="frames", features=16, **shape).build(["a low tone"], TAGS, Wording(), 0).save(folder / "model")
    rows = np.random.default_rng(0).standard_normal((10, 16)).astype(np.float32)
    with writing(folder / "set", About(16, 1.0, "float32")) as writer:
        writer.add("a/dog.wav", rows)
        writer.add("twice", rows, start=0.0)
        writer.add("twice", rows, start=10.0)
    arrays = {"rows": rows, "other": rows[:, :8], "bytes": rows.astype(np.uint8), "flat": rows[0], "gap": rows * np.nan}
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    np.save(folder / "pickled.npy", np.array([{"a": 1}]), allow_pickle=True)
    return folder


def test_a_model_of_frames_is_asked_about_an_array_or_a_clip_of_a_set(listening: Path, capsys) -> None:
    said = AuscultModel.from_pretrained(listening / "model", device="cpu")
    expected = said.generate(np.load(listening / "rows.npy"), "Is there an effusion?", max_tokens=6)
    words = ["--model", str(listening / "model"), "--max-tokens", "6"]
    array = asked(capsys, *words, "--frames", f"{listening}/rows.npy")
    assert (array["reply"], array["media"]) == (expected, [f"{listening}/rows.npy"])
    assert asked(capsys, *words, "--frames", f"{listening}/set", "--clip", "a/dog.wav")["reply"] == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--frames {at}/set", "is a frame set of 3 clips; say which with --clip ID, for example a/dog.wav"),
        ("--frames {at}/set --clip cat", "has 0 clips 'cat', not one"),
        ("--frames {at}/set --clip twice", "has 2 clips 'twice', not one"),
        ("--frames {at}/set --clip twice --rate 2", "is a frame set, of 1 frames a second; leave --rate out"),
        ("--frames {at}/rows.npy --clip a", "is no frame set that has a clip 'a'"),
        ("--frames {at}/pickled.npy", "cannot be read as feature frames (Object arrays cannot be loaded"),
        ("--frames {at}/nowhere.npy", "cannot be read as feature frames"),
        ("--frames {at}/bytes.npy", "uint8 [10, 16] are no feature frames; write floats [T, F]"),
        ("--frames {at}/flat.npy", "float32 [16] are no feature frames"),
        ("--frames {at}/gap.npy", "not all of its numbers are finite"),
        ("--frames {at}/other.npy", "this model hears frames of 16 values, the sample has frames of 8"),
        ("--clip a", "--clip and --rate go with --frames"),
        ("--frames {at}/rows.npy --rate 0", "--rate is 0.0: give frames a second"),
        ("--frames {at}/set {at}/set --clip a", "--clip names one clip; give one --frames"),
        (
            "--audio {at}/tone.wav",
            "and the sample has a recording; give frames (auscult data frames writes them, ",
        ),
    ],
)
def test_frames_that_cannot_be_asked_about_are_a_sentence(listening: Path, words: str, said: str, capsys) -> None:
    soundfile.write(listening / "tone.wav", np.sin(np.arange(1600) / 5), 16_000)
    given = ["--model", str(listening / "model"), "--question", "What?", *words.format(at=listening).split()]
    assert main(["ask", *given]) == 2
    assert said in capsys.readouterr().err


def test_of_a_file_of_several_pictures_the_command_says_which(model: Path, films: list[str], tmp_path: Path, capsys):
    pages = [Pillow.open(film) for film in films]
    pages[0].save(tmp_path / "stack.tiff", save_all=True, append_images=pages[1:])
    words = ["--model", str(model), "--max-tokens", "12", "--image"]
    stacked = asked(capsys, *words, *[str(tmp_path / "stack.tiff")] * 2, "--pictures", "1", "0")
    apart = asked(capsys, *words, films[1], films[0])
    assert stacked["reply"] == apart["reply"]
    assert asked(capsys, *words, *films)["reply"] != apart["reply"], "the model tells the order of films"
    assert main(["ask", "--question", "What?", *words, str(tmp_path / "stack.tiff")]) == 2
    assert "holds 2 pictures; say which one is meant" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--question What? --server http://x/v1 --name m --frames a.npy", "a server hears no feature frames"),
        ("--image a.png", "say what is asked: --question TEXT"),
        ("--question What?", "name who answers"),
        ("--question What? --model m --server http://x/v1", "name who answers"),
        ("--question What? --server http://x/v1", "--name NAME"),
        ("--question What? --model m --options a a", "two of the options are the same"),
        ("--question What? --model m --options yes", "a single option is always right; name the others too"),
        ("--question What? --model m --image a.png b.png --views PA", "1 views are named and 2 images given"),
        ("--question What? --model m --image a.png --pictures 0 1", "2 pictures are named and 1 images given"),
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
