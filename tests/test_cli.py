"""The command line: mistakes are sentences with exit code 2, results are on stdout, and a killed run goes on."""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors import safe_open

from auscult import rewards
from auscult.cli import main
from auscult.commands.recipes import recipe_names
from auscult.console import Reporter
from auscult.core.config import build, with_presets
from auscult.core.runs import read_jsonl
from auscult.core.yaml12 import read_yaml
from auscult.data import sources
from auscult.data.sources import scenes
from auscult.evaluate import benchmarks, scorers
from auscult.recipe import Recipe

SMALL = [
    *("--data.heldout", "20", "--model.width", "32", "--model.layers", "2", "--model.encoder_width", "32"),
    *("--model.encoder_layers", "1", "--sft.steps", "4", "--sft.prompts", "4", "--grpo.steps", "3"),
    *("--grpo.prompts", "3", "--grpo.max_tokens", "8", "--evaluate.max_tokens", "8", "--evaluate.showcase", "3"),
]
REST = "{algorithm: rest, steps: 2, prompts: 6, group: 3, sample_batch: 4, max_tokens: 8, correct: form}"
TIMES = ("seconds", "started")


def auscult(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "auscult", *arguments], capture_output=True, text=True, **options)


# -- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "did you mean 'run'"),
        (["run", "quikstart"], "did you mean 'quickstart'"),
        (["run"], "name a recipe"),
        (["run", "quickstart", "--train.lerning_rate", "1"], "--train.learning_rate"),
        (["run", "quickstart", "--train.learning_rate", "fast"], "must be a number"),
        (["run", "quickstart", "--data.source", "scense"], "scenes"),
        (["run", "quickstart", "--sft.steps"], "has no value"),
        (["run", "quickstart", "stray"], "stray"),
        (["grpo", "quickstart"], "--model DIR"),
        (["rest", "quickstart", "--model", "x"], "has no stage rest"),
        (["rest", "digits_rest", "--data.root", "clips"], "--model DIR"),
        (["run", "digits_rest", "--rest.correct", "choice"], "the rewards are exact, form"),
        (["eval", "quickstart", "--model", "/nowhere"], "there is no model in"),
        (["run", "digits", "--data.root", "/nowhere"], "/nowhere"),
        (["data", "check", "a.jsonl", "--audoi", "clips"], "data: there is no --audoi, did you mean '--audio'?"),
        (["data", "check", "my.jsonl", "--recipe", "sonds"], "there is no recipe 'sonds', did you mean 'sounds'?"),
        (["data"], "data: say what to do; usage: auscult data check FILE"),
        (["data", "check", "my.jsonl", "--data.root", "x"], "data: --data.root says nothing of my.jsonl; leave it out"),
        (["run", "quickstart", "--device", "cuda"], "no GPU"),
        (["data", "check", "/nowhere.jsonl"], "/nowhere.jsonl"),
        (["report", "/nowhere"], "no run folder"),
        (["data", "chek", "x"], "invalid choice"),
        (["list", "--jsno"], "list: there is no --jsno, did you mean '--json'?; usage: auscult list"),
        (["report", "mine", "more"], "report: it takes no more; usage: auscult report RUN"),
        (["run", "quickstart", "--overwite"], "run: there is no --overwite, did you mean '--overwrite'?"),
        (["run", "--ouput=x", "quickstart"], "run: there is no --ouput, did you mean '--out'?"),
        (["run", "quickstart", "--sed", "1"], "there is no setting `--sed`, did you mean `--seed`?"),
        (["run", "quickstart", "--train.stepz", "1"], "setting `--train.stepz`, did you mean `--sft.steps`?"),
        (["run", "quickstart", "--name"], "--name has no value"),
        (["run", "quickstart", "--grpo.group", "0"], "group is 0"),
        (["run", "quickstart", "--sft.steps", "-3"], "steps is -3"),
        (["run", "quickstart", "--model.heads", "3"], "multiple of heads"),
        (["run", "quickstart", "--train.save_every", "0"], "save_every is 0"),
        (["run", "quickstart", "--grpo.temperature", "0"], "above 0"),
        (["run", "quickstart", "--grpo.rewards", "{choise: 1.0}"], "did you mean 'choice'"),
        (["run", "quickstart", "--json", "--sft.steps", "-3"], "the command line: `sft`: steps is -3"),
        (
            ["run", "quickstart", "--json", "--out", "a.wav", "--data.heldout", "5"],
            "run: --out a.wav is a file; name a folder",
        ),
        (["run", "quickstart", "--json", "--out", "/proc/run", "--data.heldout", "5"], "/proc/run cannot be written"),
        (["run", "my.jsonl"], "auscult run sounds --data '{source: jsonl, root: my.jsonl}'"),
        (["run", "my.json"], "auscult run sounds --data '{source: mcq, root: my.json}'"),
        (["run", "my.csv"], "as JSON lines"),
        (["run", "a.wav"], "as JSON lines"),
        (["run", "clips"], "auscult run sounds --data.root clips"),
        (["run", "--data.root", "/nowhere", "digits"], "/nowhere is no folder"),
        (
            ["run", "digits"],
            "no fsdd here, which recipe digits assumes as `data.root`; name yours with --data.root DIR",
        ),
        (["eval", "sounds", "--model", "mine/model"], "no esc10 here, which recipe sounds assumes as `data.root`"),
        (
            ["data", "check", "sounds"],
            "no esc10 here, which recipe sounds assumes as `data.root`; name yours with --dat",
        ),
        (["data", "leaks", "sounds", "--against", "my.jsonl"], "no esc10 here, which recipe sounds assumes as"),
        (["rewards", "audit", "sounds"], "no esc10 here, which recipe sounds assumes as `data.root`; name yours with"),
        (["rewards", "audit", "quickstart", "--jsno"], "rewards: there is no --jsno, did you mean '--json'?; usage: "),
        (["data", "leaks", "my.jsonl", "--against", "clips", "--shwo", "3"], "data: there is no --shwo, did you mean"),
        (
            ["data", "leaks", "my.jsonl", "--against", "clips", "--data.root", "x"],
            "is a setting of a recipe, and my.js",
        ),
        (["data", "leaks", "sounds", "--against", "digits", "--seed", "1"], "and digits, sounds are several; name one"),
        (
            ["run", "medgemma-cxr", "--data.root", "my.json"],
            "`data.heldout`; name yours with --data.heldout FILE, or hold out a share of your own rows with --data.",
        ),
        (
            ["data", "check", "medgemma-cxr", "--data.root", "my.json", "--data.heldout", "no.json"],
            "no.json: there is no such file of held-out rows; check the path (--data.heldout), or hold out a share",
        ),
        (
            ["run", "list.yaml"],
            "no my-list.jsonl here, which recipe list.yaml assumes as `data.root`; name yours with ",
        ),
        (
            ["run", "list.yaml", "--model.family", "null"],
            "`model.family` is 'null'; name one of gemma3, gemma3n, graft",
        ),
        (["run", "quickstart", "--grpo.rewards", "[choice]"], "`name: value` lines, each value a number or"),
        (["run", "digits", "--data", "{source: mcq}"], "the command line: `data.root` is missing; give --data.root"),
        (["run", "quickstart", "--data.source", "jsonl"], "jsonl has no setting `data.most`"),
        (["run", "quickstart", "--model", "runs/no/sft/model"], "there is no model in runs/no/sft/model"),
        (["eval", "quickstart", "--model", "mistyped"], "there is no model in mistyped"),
        (["run", "quickstart", "--model", "x", "--model.path", "y"], "keep one"),
        (["grpo", "quickstart", "--model", "{family: grfat}"], "did you mean `graft`"),
        (["grpo", "quickstart", "--model", "mine"], "name a model in it: mine/model, mine/sft/model"),
        (["export", "quickstart", "--model", "mine", "--out", "x"], "name a model in it: mine/model, mine/sft/model"),
    ],
)
def test_a_mistake_is_a_sentence_with_exit_code_2(arguments, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("my.jsonl", "my.json", "my.csv", "a.wav", "clips/dog/1.wav", "mine/config.yaml"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("list.yaml").write_text("{name: x, data: {source: jsonl, root: my-list.jsonl}, model: {family: graft}}")
    for model in ("mine/model", "mine/sft/model"):
        Path(model).mkdir(parents=True)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.startswith("auscult: ")
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["list"], ["list", "--json"]])
def test_what_explains_itself_succeeds(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "auscult" in out or "quickstart" in out


@pytest.mark.parametrize("command", ["run", "sft", "rest", "grpo", "eval", "data", "report", "list", "doctor"])
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"auscult {command}" in capsys.readouterr().out


def test_help_of_a_recipe_lists_every_setting_with_its_value(capsys):
    assert main(["run", "quickstart", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--train.learning_rate" in out
    assert "--grpo.group" in out
    assert "--data.most" in out


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["digits", "--data.source", "jsonl"], ["--data.heldout  text or null = null", '--data.root  text = "fsdd"']),
        (["digits", "--data", "{source: mcq, root: x}"], ["--data.audio_root  text = ", '--data.root  text = "x"']),
        (["--grpo.algorithm", "dapo", "digits"], ["--grpo.clip_high  a number = 0.28", "--grpo.steps  a whole number"]),
        (["digits", "--model", "runs/x/sft/model"], ['--model.path  text or null = "runs/x/sft/model"']),
        (["digits", "--model", "{family: qwen2_audio}"], ["--model.family", "--model.lora"]),
    ],
)
def test_help_lists_the_settings_of_what_the_command_line_chose(arguments, lines, capsys):
    assert main(["run", *arguments, "--help"]) == 0
    out = re.sub("  +", "  ", capsys.readouterr().out)
    assert [line for line in lines if line not in out] == []
    assert "--data.heldout_speakers" in out or "--data" in " ".join(arguments)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_broken_file_does_not_hide_the_others_from_the_list(as_json, capsys, monkeypatch, tmp_path):
    files = {
        rewards: "def torn(",
        sources: "import nowhere_at_all",
        scorers: "def other(reply, item): ...",
        benchmarks: "",
    }
    for package, text in files.items():
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "torn.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "good.yaml").write_text("about: all is well")
    (tmp_path / "recipes" / "torn.yaml").write_text("about: [")
    monkeypatch.setattr("auscult.commands.recipes.resources.files", lambda _: tmp_path)
    assert main(["list", *(["--json"] if as_json else [])]) == 2
    out, err = capsys.readouterr()
    for told in (
        "rewards.torn does not load (SyntaxError",
        "sources.torn does not load",
        "torn.yaml is not YAML",
        "auscult.evaluate.scorers.torn has no function `torn` of its own; add it, or move the file",
        "auscult.evaluate.benchmarks.torn has no class `Benchmark` of its own",
    ):
        assert told in err
    assert "Traceback" not in err
    if as_json:
        found = json.loads(out)
        assert (found["recipes"], len(found["broken"])) == ({"good": "all is well"}, 5)
    for name in ("all is well", "digits", "choice", "graft", "dapo", "mmau", "string_match"):
        assert name in out


@pytest.mark.parametrize("folder", ["rewards", "data.sources", "models.families", "train.algorithms"])
def test_a_broken_file_is_in_the_way_of_no_recipe_that_does_not_use_it(folder, capsys, monkeypatch, tmp_path):
    package = importlib.import_module(f"auscult.{folder}")
    (tmp_path / "torn.py").write_text("def torn(")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert main(["run", "quickstart", "--help"]) == 0
    assert "--grpo.group" in capsys.readouterr().out
    assert main(["run", "quickstart", "--grpo.gruop", "3"]) == 2
    assert "did you mean `--grpo.group`?" in capsys.readouterr().err
    assert main(["data", "check", "quickstart", "--data.heldout", "2"]) == 0


def test_the_help_of_export_is_about_export(capsys):
    assert main(["export", "--help", "digits"]) == 0
    out = capsys.readouterr().out
    assert "usage: auscult export RECIPE --model DIR --out DIR [--json] [--overwrite] [--key value ...]" in out
    assert "--wording.form" in out
    assert [word for word in ("--grpo", "--data", "--train", "runs/NAME)", "figures") if word in out] == []


def test_help_and_what_is_off(capsys):
    assert main(["run", "digits", "--help"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"--rest.algorithm .* = null\n", out)
    assert re.search(r"--sft.algorithm .* = \"sft\"\n", out)
    assert not re.search(r"\b(None|True|False|required)\b", out)


def test_help_needs_no_torch():
    code = "import sys, auscult.cli as cli; cli.main(['run', 'quickstart', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_whole_and_says_command_hardware_time_and_what_to_expect(name):
    path = Path(__file__).parent.parent / "src" / "auscult" / "recipes" / f"{name}.yaml"
    assert build(Recipe, with_presets(Recipe, read_yaml(path), []), where=name).name == name
    for word in ("# command", "# hardware", "# time", "# expected"):
        assert word in path.read_text()


def test_doctor_finds_this_machine_good():
    said = auscult("doctor", "--json")  # in a process of its own, where libraries say what they say while they load
    assert (said.returncode, said.stderr) == (0, "")
    found = json.loads(said.stdout)
    assert found["torch"]["good"]
    extras = {name for name, check in found.items() if check["optional"]} - {"memory", "gpu"}
    assert extras == {"av", "bitsandbytes", "timm"}


def test_data_check_shows_tokens_mask_and_placeholders(capsys):
    assert main(["data", "check", "quickstart", "--show", "1", "--data.heldout", "10"]) == 0
    out = capsys.readouterr().out
    assert "placeholders for audio of rows 300x80" in out
    assert "train  <think>" in out
    assert "-    <audio>  x 38" in out


def test_data_check_takes_a_preset_of_the_recipe_that_it_checks(capsys):
    assert main(["data", "check", "medgemma-cxr", "--preset", "films", "--data.heldout", "8"]) == 0
    out = capsys.readouterr().out
    assert "auscult.data.sources.films: 8 rows (source), 8 without a problem" in out
    assert main(["data", "check", "medgemma-cxr", "--preset", "flims"]) == 2
    assert "there is no preset 'flims', did you mean 'films'?" in capsys.readouterr().err


def test_data_check_has_nothing_to_show_where_no_row_is_sound(capsys, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "1", "audio": "no.wav", "question": "What?", "answer": "x"}\n')
    assert main(["data", "check", str(tmp_path / "a.jsonl"), "--show", "1"]) == 2
    assert "missing: 1" in capsys.readouterr().out


@pytest.mark.parametrize(("unbuffered", "code"), [("", 0), ("1", 141)])
def test_a_reader_that_has_gone_is_no_traceback_and_what_it_cut_short_no_success(unbuffered, code):
    """A pipe is written at the end, when all is done, or with every line."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "auscult", "--help"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    said = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert (said.returncode, said.stderr) == (code, b"")


# -- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A small run from beginning to end, and what it said."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, auscult("run", "quickstart", "--out", str(out), "--json", *SMALL)


def test_a_run_ends_with_one_json_object_and_a_page(whole):
    out, said = whole
    assert said.returncode == 0, said.stderr
    figures = json.loads(said.stdout)
    assert list(figures["results"]) == ["start", "sft", "grpo"]
    assert figures["results"]["grpo"]["n"] == 20
    assert {"shuffled", "silence", "majority", "chance"} <= set(figures["results"]["grpo"]["baselines"])
    assert [(pair["before"], pair["after"]) for pair in figures["comparison"]][:2] == [
        ("start", "sft"),
        ("sft", "grpo"),
    ]
    assert Path(figures["report"]).read_text().count("<audio") == 3
    assert (out / "done").exists()
    assert "data: samples drawn without end to train on, 20 samples of 20 groups held out\n" in said.stderr
    assert "stage sft:" not in said.stderr  # demonstrations have no rewards that could be equal
    assert "grpo" in said.stderr


def test_a_finished_run_says_the_same_again_at_once(whole):
    out, said = whole
    again = auscult("run", "quickstart", "--out", str(out), "--json", *SMALL)
    assert again.stdout == said.stdout
    assert again.stderr == f"{out} is finished, and these are its figures; --overwrite would begin again\n"


def test_its_config_runs_again_as_it_is(whole, tmp_path):
    out, _ = whole
    again = auscult("run", str(out), "--out", str(tmp_path / "again"), "--json")
    assert again.returncode == 0, again.stderr
    assert numbers(tmp_path / "again") == numbers(out)


def test_another_configuration_in_the_same_folder_is_refused(whole):
    out, _ = whole
    other = auscult("run", "quickstart", "--out", str(out), *SMALL, "--seed", "1")
    assert other.returncode == 2
    assert "seed" in other.stderr
    assert "--overwrite" in other.stderr


def test_the_stages_run_one_by_one_too(whole, tmp_path):
    out, _ = whole
    sft = auscult("sft", "quickstart", "--out", str(tmp_path / "sft"), "--json", *SMALL)
    assert sft.returncode == 0, sft.stderr
    assert list(json.loads(sft.stdout)["results"]) == ["start", "sft"]
    assert weights(tmp_path / "sft" / "sft" / "model") == weights(out / "sft" / "model")
    found = auscult(
        "eval", "quickstart", "--out", str(tmp_path / "eval"), "--model", str(out / "grpo" / "model"), "--json", *SMALL
    )
    assert found.returncode == 0, found.stderr
    ((label, evaluated),) = json.loads(found.stdout)["results"].items()
    assert label == "model"
    assert {"shuffled", "silence"} <= set(evaluated["baselines"])
    assert [pair["before"] for pair in json.loads(found.stdout)["comparison"]] == ["model_shuffled", "model_silence"]
    assert "data: 20 samples of 20 groups held out\n" in found.stderr
    assert f"model: begins with {out / 'grpo' / 'model'}\n" in found.stderr
    assert evaluated["correct"] == json.loads((out / "results_grpo.json").read_text())["correct"]


def test_a_benchmark_is_evaluated_though_nobody_may_train_on_it(whole, tmp_path, capsys):
    out, _ = whole
    made = scenes.Source(heldout=2, seconds=2.0).split("heldout", 0)
    scenes.write(tmp_path / "clips", [made[0], made[1]])
    clips = sorted(path.name for path in (tmp_path / "clips").glob("*.flac"))
    rest = {"question": "What?", "choices": ["a", "b"], "answer": "a", "task": "sound", "difficulty": "easy"}
    bench = tmp_path / "bench.json"
    bench.write_text(json.dumps([{"id": clip, "audio_id": clip, **rest} for clip in clips]))
    data = f"{{source: mcq, root: {bench}, audio_root: {tmp_path / 'clips'}}}"
    command = ["quickstart", "--data", data, *SMALL[2:], "--out", str(tmp_path / "run"), "--json"]
    assert main(["eval", "--model", str(out / "sft" / "model"), *command]) == 0
    assert json.loads(capsys.readouterr().out)["results"]["model"]["n"] == 2
    assert main(["sft", *command]) == 2
    assert "holds benchmark rows" in capsys.readouterr().err


def test_self_training_is_a_command_and_shows_its_iterations(whole, tmp_path):
    """A small listener is hardly ever right, so here whatever says something is."""
    out, _ = whole
    rest = ["--rest", REST, "--rest.threshold", "0", "--rest.max_drop", "1"]
    rest += ["--out", str(tmp_path / "run")]
    said = auscult("rest", "quickstart", "--model", str(out / "sft" / "model"), "--json", *SMALL, *rest)
    assert said.returncode == 0, said.stderr
    assert list(json.loads(said.stdout)["results"]) == ["start", "rest"]
    told = [json.loads((tmp_path / f"run/rest/iteration-{n}/manifest.json").read_text()) for n in (1, 2)]
    assert told[0]["policy"] != told[0]["trained"] == told[1]["policy"] != told[1]["trained"]
    assert [one["heldout"]["n"] for one in told] == [20, 20]
    assert weights(tmp_path / "run" / "rest" / "model") == weights(tmp_path / "run/rest/iteration-2/model")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Iteration 1: kept" in page
    assert "Iteration 2: kept" in page


@pytest.mark.long
def test_two_processes_run_a_whole_recipe_as_one_does(tmp_path):
    """Held-out samples and rollouts are shared out too: the same replies, rewards and figures on either side."""
    recipe = ["run", "quickstart", "--json", *SMALL, "--rest", REST, "--rest.threshold", "0"]
    recipe += ["--rest.max_drop", "1", "--train.check_every", "2", "--train.check_limit", "7"]
    alone = auscult(*recipe, "--out", str(tmp_path / "alone"))
    assert alone.returncode == 0, alone.stderr
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "auscult"]
    both = subprocess.run([*launch, *recipe, "--out", str(tmp_path / "both")], capture_output=True, text=True)
    assert both.returncode == 0, both.stderr
    figures, expected = json.loads(both.stdout)["results"], json.loads(alone.stdout)["results"]
    assert figures == expected
    for path in sorted((tmp_path / "alone").glob("**/samples_*.jsonl")):
        assert (tmp_path / "both" / path.relative_to(tmp_path / "alone")).read_bytes() == path.read_bytes()
    for number in (1, 2):
        told, manifest = (
            json.loads((tmp_path / who / f"rest/iteration-{number}/manifest.json").read_text())
            for who in ("both", "alone")
        )
        assert (told["replies"], told["kept"]) == (manifest["replies"], manifest["kept"])


def test_a_trained_model_is_exported_as_a_plain_checkpoint(whole, tmp_path, capsys):
    out, _ = whole
    command = ["export", "quickstart", "--model", str(out / "grpo" / "model"), "--out", str(tmp_path / "plain"), *SMALL]
    assert auscult(*command).returncode == 0
    assert weights(tmp_path / "plain") == weights(out / "grpo" / "model")
    again = auscult(*command)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    command[command.index("--out") + 1] = str(tmp_path / "mine")
    assert main([*command, "--overwrite"]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").exists()
    assert "name the model" in auscult("export", "quickstart").stderr


def weights(folder: Path) -> dict[str, bytes]:
    with safe_open(folder / "model.safetensors", "np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 - it is no mapping


def numbers(out: Path) -> dict[str, object]:
    """Everything that a run found, times aside."""
    found: dict[str, object] = {
        str(path.relative_to(out)): json.loads(path.read_text()) for path in sorted(out.glob("results_*.json"))
    }
    for path in sorted([*out.glob("samples_*.jsonl"), *out.rglob("rollouts/*.jsonl"), *out.glob("*/metrics.jsonl")]):
        rows = read_jsonl(path).rows
        found[str(path.relative_to(out))] = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
    for stage in ("model", "sft/model", "grpo/model"):
        found[stage] = weights(out / stage)
    return found


@pytest.mark.long
def test_killed_at_random_moments_a_run_ends_with_the_same_numbers(whole, tmp_path):
    """kill -9, five times, the same command again each time: weights, metrics, rows and figures are those of one go."""
    out, _ = whole
    command = [sys.executable, "-m", "auscult", "run", "quickstart", "--out", str(tmp_path / "run"), *SMALL]
    moments, kills = random.Random(os.getpid()), 0
    print("seed", os.getpid())
    while kills < 5:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2.5 + moments.uniform(0, 3.5))  # importing torch takes the first two seconds
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert kills > 0
    assert numbers(tmp_path / "run") == numbers(out)


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_it_says_how_to_go_on(tmp_path, number, code, word):
    command = [sys.executable, "-m", "auscult", "run", "quickstart", "--out", str(tmp_path / "run"), *SMALL]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background job ignores Ctrl-C
    )
    while not (tmp_path / "run" / "model").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert err.endswith(f"auscult: {word}; the same command goes on from here\n")
    assert "Traceback" not in err
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["seconds"] > 0  # the page tells them all


@pytest.mark.parametrize("processes", ["1", "2"])
def test_sigterm_is_ours_while_a_command_runs_alone(processes, monkeypatch):
    """Among several processes it stays the end at once: one that waits in torch for another would not hear of it."""
    monkeypatch.setenv("WORLD_SIZE", processes)
    seen: list[object] = []
    monkeypatch.setattr("auscult.cli._dispatch", lambda _: seen.append(signal.getsignal(signal.SIGTERM)) or 0)
    assert main([]) == 0
    assert (seen[0] == signal.SIG_DFL) == (processes == "2")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with ThreadPoolExecutor() as pool:
        assert pool.submit(main, []).result() == 0
    assert seen[1] == signal.SIG_DFL


def test_a_signal_that_was_swallowed_ends_the_run_at_its_next_step(monkeypatch):
    """Python swallows what a signal raises while it finalises an object."""

    def deaf(_):
        with Reporter() as tell:
            with suppress(BaseException):
                os.kill(os.getpid(), signal.SIGTERM)
            tell("train", 1, 2, {})
        return 0

    monkeypatch.setattr("auscult.cli._dispatch", deaf)
    assert main([]) == 143


def test_killed_while_it_clears_checkpoints_away_a_stage_is_not_trained_again(whole, tmp_path, capsys):
    """Its model is there whole, so what is left of the checkpoints, all torn, is of no use and in nobody's way."""
    out, _ = whole
    shutil.copytree(out, tmp_path / "run")
    for done in ("done", "sft/done"):
        (tmp_path / "run" / done).unlink()
    (tmp_path / "run" / "sft" / "checkpoints" / "step-4").mkdir(parents=True)
    assert main(["run", "quickstart", "--out", str(tmp_path / "run"), "--json", *SMALL]) == 0
    assert (tmp_path / "run" / "sft" / "metrics.jsonl").read_bytes() == (out / "sft" / "metrics.jsonl").read_bytes()
    assert not (tmp_path / "run" / "sft" / "checkpoints").exists()
    assert (tmp_path / "run" / "sft" / "done").exists()


def test_a_reward_beside_its_recipe_is_found_and_what_it_broke_goes_on_when_it_is_mended(tmp_path, capsys):
    recipe = tmp_path / "mine" / "mine.yaml"
    recipe.parent.mkdir()
    (recipe.parent / "broken").touch()
    recipe.write_text(MINE)
    recipe.with_name("picky.py").write_text(PICKY)
    command = ["run", str(recipe), "--json", "--out", str(tmp_path / "run")]
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "reward 'picky' failed on sample" in err
    (recipe.parent / "broken").unlink()
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert f"going on from step 1 of stage grpo in {tmp_path / 'run'}\n" in err
    assert list(json.loads(out)["results"]) == ["start", "grpo"]


MINE = """
name: mine
data: {source: scenes, heldout: 4}
model: {family: graft, width: 32, layers: 2, encoder_width: 32, encoder_layers: 1}
wording: {form: think, instruction: false, choices: false}
train: {save_every: 1}
grpo: {algorithm: grpo, steps: 2, prompts: 2, group: 2, max_tokens: 4, rewards: {"picky.py:picky": 1.0}}
evaluate: {max_tokens: 4, showcase: 1}
"""
PICKY = """
from pathlib import Path
seen = []
def picky(sample, rollout):
    seen.append(rollout)
    assert len(seen) <= 4 or not Path(__file__).with_name("broken").exists(), "the second step"
    return len(rollout.text) % 3
"""


def test_your_own_questions_about_your_own_files_train_and_are_evaluated(tmp_path):
    """The README's way: one JSON object a line, recordings beside it."""
    made = scenes.Source(heldout=12, seconds=2.0).split("heldout", 0)
    path = scenes.write(tmp_path / "clips", [made[index] for index in range(12)])
    assert main(["data", "check", str(path), "--decode"]) == 0
    data = f"{{source: jsonl, root: {path}, heldout_share: 0.3}}"
    (tmp_path / "mine.txt").write_text("Listen well. {question}")
    prompt = ("--wording.prompt", str(tmp_path / "mine.txt"))
    said = auscult("run", "sounds", "--out", str(tmp_path / "run"), "--json", "--data", data, *prompt, *SMALL[2:])
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)["results"]["grpo"]
    assert found["n"] in range(2, 6)
    assert found["prompt"]["text"] == "Listen well. {question}"
    assert re.search(
        r"^data: \d+ samples of \d+ groups to train on, \d+ samples of \d+ groups held out$", said.stderr, re.MULTILINE
    )


def test_a_mistake_leaves_no_folder_that_refuses_the_corrected_command(tmp_path):
    wrong = auscult("run", "sounds", "--out", str(tmp_path / "run"))
    assert wrong.returncode == 2
    assert "esc10" in wrong.stderr
    assert not (tmp_path / "run").exists()


def test_a_held_out_recording_under_another_name_is_not_trained_on(testdata, tmp_path):
    clips = sorted((testdata / "fsdd").glob("3_*_1?.wav"))
    for name, chosen in (("train", clips[:3]), ("heldout", clips[2:5])):
        (tmp_path / name).mkdir()
        for clip in chosen:
            shutil.copy(clip, tmp_path / name / f"{name}-{clip.name}")
        rows = [{"id": c.name, "audio": f"{name}/{name}-{c.name}", "question": "Which?", "answer": "3"} for c in chosen]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = f"{{source: jsonl, root: {tmp_path / 'train.jsonl'}, heldout: {tmp_path / 'heldout.jsonl'}}}"
    said = auscult("run", "sounds", "--data", data, "--out", str(tmp_path / "run"))
    assert said.returncode == 2
    assert f"1 files are both in training and held out, under two names: {tmp_path}/heldout/held" in said.stderr
    assert not (tmp_path / "run").exists()


TWICE = """
from dataclasses import dataclass, replace
from auscult.data import source
from auscult.data.sources import scenes

@dataclass(frozen=True, kw_only=True)
class Source(source.Source):
    def split(self, name, seed):
        made = scenes.Source(heldout=3).split(name, seed)
        return made if name == "train" else source.Listed(tuple(replace(made[n], id=f"q{n // 2}") for n in range(3)))
"""


def test_held_out_samples_of_one_id_are_refused_before_the_training(capsys, monkeypatch, tmp_path):
    (tmp_path / "twice.py").write_text(TWICE)
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    assert main(["run", "quickstart", "--data", "{source: twice}", "--out", str(tmp_path / "run")]) == 2
    assert "1 ids occur twice among the held-out samples ('q0'); make each unique" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_can_be_looked_at(tmp_path, whole):
    out, _ = whole
    for name in ("config.yaml", "results_start.json"):  # killed before it could note its environment
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes((out / name).read_bytes())
    said = auscult("report", str(tmp_path / "run"), "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["comparison"] == []


@pytest.mark.parametrize("action", ["refuse", "drop"])
def test_training_rows_that_are_in_a_benchmark_are_refused_or_left_out_and_counted(testdata, tmp_path, action):
    clips = sorted((testdata / "fsdd").glob("*_jackson_1?.wav"))[:12]
    rows = [
        {"id": str(n), "audio": str(clip), "question": f"Which digit is said in clip {n}?", "answer": clip.name[0]}
        for n, clip in enumerate(clips)
    ]
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stolen = [{**row, "id": f"b{row['id']}", "question": "What is heard?"} for row in rows[:12]]
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in stolen[:3]))
    guard = f"{{against: [{tmp_path / 'bench.jsonl'}], action: {action}}}"
    data = f"{{source: jsonl, root: {tmp_path / 'my.jsonl'}, heldout_share: 0.2}}"
    small = ["--sft.steps", "1", "--sft.prompts", "2", "--grpo", "null", "--evaluate.showcase", "1"]
    said = auscult("run", "sounds", "--data", data, "--leaks", guard, "--out", str(tmp_path / "run"), *small)
    if action == "refuse":
        assert said.returncode == 2, said.stderr
        assert "training samples are in" in said.stderr
        assert not (tmp_path / "run").exists()
        return
    assert said.returncode == 0, said.stderr
    found = json.loads((tmp_path / "run" / "leaks.json").read_text())
    assert 0 < found["leaking_train_rows"] <= 3
    assert f"{found['leaking_train_rows']} of {found['train_rows']} training rows are in" in said.stderr
