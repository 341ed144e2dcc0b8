"""`auscult score`: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from auscult.cli import main
from auscult.evaluate.outcomes import read_outcomes
from auscult.evaluate.statistics import clustered_wilson

ROW: dict[str, Any] = {
    "audio_id": "a.wav",
    "question": "Which?",
    "choices": ["dog", "a cat"],
    "answer": "dog",
    "task": "sound",
    "difficulty": "easy",
    "sub-category": "[red]",
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Four questions, and predictions for two of them and a stranger."""
    gold, given = tmp_path / "gold.json", tmp_path / "p.jsonl"
    gold.write_text(json.dumps([{"id": str(number), **ROW} for number in range(4)]))
    replies = {"0": "dog", "1": "A", "77": "dog"}
    given.write_text("\n".join(json.dumps({"id": name, "model_output": text}) for name, text in replies.items()))
    return gold, given


def score(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `auscult score`."""
    code = main(["score", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_table_says_both_totals_and_all_that_was_lost(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    gold, given = files
    code, said, quiet = score(capsys, "mmau", given, "--gold", gold, "--out", tmp_path / "out")
    assert (code, quiet) == (0, "")
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "sound 50.00% over 2 samples 25.00% over 4 4.6 to 69.9" in lines
    assert "hard 0.00% over 0 samples -" in lines
    assert any(line.startswith("[red] 50.00%") for line in lines), "names are printed as they stand"
    assert "Total accuracy 50.00% over 2 samples 25.00% over 4 4.6 to 69.9" in lines
    assert "Chance 50.00%; always one answer, or one option place, at best 100.00%." in lines
    assert "Unread 1 of 2 (50.00%) of the predictions: 1 not_a_choice." in lines
    assert f"Rows for questions that the benchmark does not have: 1, namely 77 ({given}:3)." in lines
    assert "Questions without a row: 2, namely 2, 3." in lines
    assert "The gold has 4 questions of 1,000: this is no score of the whole benchmark." in lines


def test_json_is_one_object_and_the_files_hold_the_same(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    gold, given = files
    code, said, _ = score(capsys, "mmau", given, "--gold", gold, "--out", tmp_path / "out", "--json")
    figures = json.loads(said)
    samples, results = map(Path, figures.pop("files"))
    assert code == 0
    assert (samples.name[:13], results.name[:8]) == ("samples_mmau_", "results_")
    written = json.loads(results.read_text())
    assert {key: written[key] for key in figures} == figures
    assert {row["reason"] for row in written["problem_rows"]} == {"unknown", "missing"}
    outcomes = read_outcomes(samples)
    assert [outcome.correct for outcome in outcomes] == [True, False, False, False]
    assert [outcome.parsed.problem for outcome in outcomes] == [None, "not_a_choice", "no_prediction", "no_prediction"]
    again = score(capsys, "mmau", samples, "--gold", gold, "--out", tmp_path / "again", "--json")
    assert json.loads(again[1])["official"] == figures["official"], "our own samples file scores the same"


def test_all_rules_at_once(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    gold, given = files
    _, said, _ = score(capsys, "mmau", given, "--gold", gold, "--out", tmp_path / "out", "--scorer", "all")
    assert "Rules disagree on 2 rows:" in said
    assert "1: right by choice, letter, vlmeval, voicebench_mcq" in said
    assert len(list((tmp_path / "out").glob("samples_mmau-*.jsonl"))) == 5, (
        "the benchmark's own has no rule in its name"
    )
    assert score(capsys, "mmau", given, "--gold", gold, "--out", tmp_path / "out", "--scorer", "letter")[0] == 0
    assert main(["errors", str(tmp_path / "out"), "--json"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["total"]["wrong"] == 3, "letter, the last, calls two of four right"
    assert Path(own["file"]).name.startswith("samples_mmau_")
    assert main(["errors", str(tmp_path / "out"), "--json", "--label", "mmau-letter"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["file"]).name.startswith("samples_mmau-letter_")
    code, said, _ = score(capsys, "mmau", given, "--gold", gold, "--out", tmp_path / "out", "--scorer", "all", "--json")
    assert code == 0
    assert set(json.loads(said)["rules"]) == {"string_match", "choice", "exact", "letter", "vlmeval", "voicebench_mcq"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["mmao", "P"], "did you mean 'mmau'"),
        (["mmau", "P", "--scorer", "strict_match"], "did you mean 'string_match'"),
        (["mmau", "nowhere.json"], "nowhere.json: cannot be read"),
        (["mmau", "P"], "--gold FILE"),
        (["mmau", "P", "--gold", "G", "--key", "model_outputs"], "did you mean --key model_output?"),
        (["mmau", "P", "--golf", "G"], "--golf"),
        (["mmau"], "PREDICTIONS"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_2(
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
):
    monkeypatch.chdir(tmp_path)
    named = {"P": str(files[1]), "G": str(files[0])}
    code, said, quiet = score(capsys, *(named.get(word, word) for word in arguments))
    assert (code, said) == (2, "")
    assert complaint in quiet
    assert not (tmp_path / "runs").exists(), "nothing is written for a mistake"


def test_help_names_the_benchmarks_and_the_rules(capsys: pytest.CaptureFixture[str]):
    code, said, _ = score(capsys, "--help")
    assert code == 0
    assert "voicebench_mcq" in said
    assert "vqarad" in said
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judged"] == ["binary", "open", "reference", "rubrics"]


def test_the_printed_interval_is_the_results_own_and_knows_of_clusters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Forty questions about four clips, two of which the model hears: four observations rather than forty."""
    rows = [{"id": str(n), **ROW, "audio_id": f"{n % 4}.wav"} for n in range(40)]
    given = [{"id": row["id"], "model_output": "dog" if n % 4 < 2 else "a cat"} for n, row in enumerate(rows)]
    (tmp_path / "gold.json").write_text(json.dumps(rows))
    (tmp_path / "p.json").write_text(json.dumps(given))
    files = tmp_path / "p.json", "--gold", tmp_path / "gold.json", "--out", tmp_path / "out"
    low, high = json.loads(score(capsys, "mmau", *files, "--json")[1])["interval"]
    lines = [" ".join(line.split()) for line in score(capsys, "mmau", *files)[1].splitlines()]
    told = f"50.00% over 40 samples 50.00% over 40 {low * 100:.1f} to {high * 100:.1f}"
    assert {line for line in lines if line.endswith(told)} == {
        f"Total accuracy {told}",
        f"easy {told}",
        f"[red] {told}",
        f"sound {told}",
    }
    figures = json.loads(score(capsys, "mmau", *files, "--json")[1])
    assert figures["cr2_se"] == pytest.approx(0.25 * (4 / 3) ** 0.5), "four clusters, two of them right"
    assert figures["clustered_se"] == pytest.approx(0.25), "Miller's, as published"
    assert "Standard error 28.87 points, clustered by 4 groups (CR2)." in lines
    assert high - low > 0.6, "Wilson's interval of forty independent rows has a width of 0.3"


def test_every_command_has_one_interval_for_the_same_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Ten rows of one patient, five of them right: one cluster, whoever tells of it, and not ten."""
    rows = [
        {"id": f"{n:02}", **ROW, "audio_id": f"{max(n, 9)}.wav", "task": "heart" if n < 10 else "lung"}
        for n in range(30)
    ]
    given = [{"id": row["id"], "model_output": "dog" if n % 2 else "a cat"} for n, row in enumerate(rows)]
    (tmp_path / "gold.json").write_text(json.dumps(rows))
    (tmp_path / "p.json").write_text(json.dumps(given))
    files = tmp_path / "p.json", "--gold", tmp_path / "gold.json", "--out", tmp_path / "out"
    results = json.loads(score(capsys, "mmau", *files, "--json")[1])
    expected = clustered_wilson([True] * 5 + [False] * 5, ["one"] * 10)
    assert expected == pytest.approx((0.055, 0.945), abs=1e-3)
    assert results["by"]["task"]["heart"]["interval"] == pytest.approx(expected)
    low, high = (100 * end for end in expected)
    [line] = [line for line in score(capsys, "mmau", *files)[1].splitlines() if "heart" in line]
    assert line.rstrip().endswith(f"{low:.1f} to {high:.1f}")
    run = str(tmp_path / "out")
    assert main(["errors", run, "--json"]) == 0
    [part] = [part for part in json.loads(capsys.readouterr().out)["by"]["task"] if part["value"] == "heart"]
    assert part["interval"] == pytest.approx(expected)
    assert main(["compare", run, run, "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["comparisons"]
    [part] = [part for part in found["parts"] if part["value"] == "heart"]
    assert part["intervals"] == [pytest.approx(expected)] * 2
    assert not found["one_group"]


def test_rows_that_are_all_of_one_group_are_said_to_be_taken_as_independent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "gold.json").write_text(json.dumps([{"id": str(n), **ROW} for n in range(12)]))
    (tmp_path / "p.json").write_text(json.dumps([{"id": str(n), "model_output": "dog"} for n in range(12)]))
    run = tmp_path / "out"
    said = score(capsys, "mmau", tmp_path / "p.json", "--gold", tmp_path / "gold.json", "--out", run)[1]
    assert "All rows are of one group; the intervals take them as independent." in said
    for command in (["errors", str(run)], ["compare", str(run), str(run)]):
        assert main(command) == 0
        assert "12 rows, all of one group and taken as independent" in capsys.readouterr().out


def test_the_tables_say_by_what_they_are_ordered_and_corrected(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [{"id": str(n), **ROW, "audio_id": f"{n}.wav", "task": ("sound", "music")[n % 2]} for n in range(12)]
    (tmp_path / "gold.json").write_text(
        json.dumps([{**row, "difficulty": "easy" if n < 6 else "hard"} for n, row in enumerate(rows)])
    )
    (tmp_path / "p.json").write_text(json.dumps([{"id": str(n), "model_output": "dog"} for n in range(9)]))
    run = str(tmp_path / "out")
    said = score(capsys, "mmau", tmp_path / "p.json", "--gold", tmp_path / "gold.json", "--out", run)[1]
    assert "always one answer, or one option place in each task, at best 100.00%." in said
    assert main(["errors", run]) == 0
    assert "Worst first, by the lower end of the interval" in capsys.readouterr().out
    assert main(["compare", run, run]) == 0
    assert "p (Holm) is corrected for being one of 4 lines, those of all tables together." in capsys.readouterr().out


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_terminal_without_accents_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
):
    (tmp_path / "gold.json").write_text(json.dumps([{"id": "é𝄞", **ROW, "task": "Geräusch"}, {"id": "1", **ROW}]))
    (tmp_path / "p.json").write_text(json.dumps([{"id": "é𝄞", "model_output": "dog"}]))
    printed = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, encoding="ascii"))
    files = tmp_path / "p.json", "--gold", tmp_path / "gold.json", "--out", tmp_path / "out"
    assert main(["score", "mmau", *map(str, files), *flags]) == 0
    said = printed.getvalue().decode("ascii")
    assert "Ger\\u00e4usch" in said
    if flags:
        assert json.loads(said)["official"]["task"]["Geräusch"]["n"] == 1


GOLD = [{"id": str(number), **ROW} for number in range(4)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ([{"ID": "0", "model_output": "dog"}], "no row has an `id`: its rows have ID, model_output; write the id"),
        ([{"doc_id": 0, "resps": [["x"]]}], "no row has an `id`: its rows have doc_id, resps"),
        ([{"id": "0", "model_output": ["dog"]}], "what they predict is no text (P:1); write each prediction as one"),
        ([{"id": "0", "model_output": 3}], "what they predict is no text (P:1)"),
        ([{"id": "0", "resps": [["x"]]}], "what they predict is no text (P:1)"),
        ([{"id": "1 ", "model_output": "dog"}], "its ids are spelt otherwise, '1 ' where the gold has '1'"),
        ([{"id": "x", "model_output": "dog"}], "its ids are like 'x', theirs like '0', '1', '2'"),
        ('{"0": "dog", "1": "dog"}', 'an object of texts; write a row for each id, {"id": "0", "model_output": "..."}'),
        ('{\n"0": "dog",\n"1": "dog"}', "an object of texts; write a row for each id"),
        ('{"results": [{"id": "0", "model_output": "dog"}]}', "its rows stand under `results`; write that list alone"),
        (
            '{"id": "0", "model_output": "dog"}\n{"id": "1", "model_ou',
            "P:2: the last line is cut off, and who knows what else; copy or write it again",
        ),
    ],
)
def test_predictions_of_another_shape_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: Any, said: str
):
    gold, given = tmp_path / "gold.json", tmp_path / "P"
    gold.write_text(json.dumps(GOLD))
    given.write_text(text if isinstance(text, str) else "\n".join(map(json.dumps, text)))
    code, out, quiet = score(capsys, "mmau", given, "--gold", gold, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert said in quiet.replace(f"{tmp_path}/P", "P")


def test_a_line_that_is_torn_in_the_middle_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    gold, given = tmp_path / "gold.json", tmp_path / "p.jsonl"
    gold.write_text(json.dumps(GOLD))
    given.write_text('{"id": "0", "model_ou\n{"id": "1", "model_output": "dog"}')
    code, out, _ = score(capsys, "mmau", given, "--gold", gold, "--out", tmp_path / "out", "--json")
    assert (code, json.loads(out)["problems"]) == (0, {"torn": 1, "missing": 3})


def test_a_folder_is_answered_with_the_predictions_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "gold.json").write_text(json.dumps(GOLD))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "predictions_baseline.jsonl").write_text("")
    code, _, quiet = score(capsys, "mmau", tmp_path / "run", "--gold", tmp_path / "gold.json")
    assert code == 2
    assert f"a folder; name the file of predictions in it ({tmp_path}/run/predictions_baseline.jsonl)" in quiet


def test_answers_that_nobody_else_keeps_are_to_be_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    gold, given = tmp_path / "gold.jsonl", tmp_path / "p.jsonl"
    gold.write_text(json.dumps({"id": "1", "audio": "a.wav", "question": "Which?"}))
    given.write_text('{"id": "1", "model_output": "dog"}')
    code, _, quiet = score(capsys, "jsonl", given, "--gold", gold)
    assert code == 2
    assert quiet.rstrip().endswith("1 of 1 questions have no answer, the first '1'; add the answers")
