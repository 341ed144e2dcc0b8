"""Verifiable instructions: the kept programs decide, the figures are VoiceBench's, nothing is left to chance."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auscult import exams
from auscult.cli import main
from auscult.core.errors import ConfigError, DataError
from auscult.core.runs import read_jsonl
from auscult.core.seeds import rng
from auscult.core.types import Audio, Sample, Turn
from auscult.evaluate import benchmark, instructions, scoring
from auscult.evaluate.exam import Exam
from auscult.evaluate.instructions import gold, kept
from auscult.evaluate.options import Evaluate
from auscult.evaluate.scorers.ifeval import ifeval
from auscult.models.families import graft
from auscult.models.wording import Wording

NO_COMMA = ("punctuation:no_comma", {})
THREE_WORDS = ("length_constraints:number_words", {"num_words": 3, "relation": "at least"})
TWO_SENTENCES = ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"})
QUOTED = ("startend:quotation", {})
BULLETS = ("detectable_format:number_bullet_lists", {"num_bullets": 2})
FRENCH = ("language:response_language", {"language": "fr"})
REPEATED = ("combination:repeat_prompt", {"prompt_to_repeat": "Name a bird."})
SIGNS = ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "at least"})
DOTS = ("keywords:letter_frequency", {"letter": ".", "let_frequency": 2, "let_relation": "less than"})
LETTER = ("keywords:letter_frequency", {"letter": "T", "let_frequency": 2, "let_relation": "less than"})
UNSET = {"num_words": None, "relation": None, "num_bullets": None, "language": None}
"""What a published row says of arguments that an instruction does not have."""


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """What verifies, with a model of English sentences that knows one abbreviation, in the files of NLTK's own."""
    reason = "no lm_eval here, which is large and in no developer's setup: pip install 'auscult[ifeval]'"
    for name in ("nltk", "langdetect", "immutabledict"):
        pytest.importorskip(name, reason=reason)
    import nltk

    folder = tmp_path_factory.mktemp("nltk") / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True)
    for name in ("abbrev_types.txt", "sent_starters.txt", "collocations.tab", "ortho_context.tab"):
        (folder / name).write_text("dr" if name == "abbrev_types.txt" else "")
    monkeypatch.setattr(nltk.data, "path", [str(folder.parents[2])])
    instructions._checker.cache_clear()
    return pytest.importorskip("lm_eval.tasks.ifeval.utils", reason=reason)


def asked(*told: tuple[str, dict[str, Any]]) -> str:
    return gold("Say it.", [name for name, _ in told], [{**UNSET, **given} for _, given in told])


@pytest.mark.parametrize(
    ("told", "reply", "strict", "loose"),
    [
        (NO_COMMA, "one two", True, True),
        (NO_COMMA, "one, two", False, False),
        (NO_COMMA, "Well, here it is:\none two", False, True),  # without its first line
        (NO_COMMA, "one two\nYours, A.", False, True),  # without its last
        (NO_COMMA, "", False, False),
        (NO_COMMA, " \n", False, False),
        (THREE_WORDS, "one two", False, False),
        (THREE_WORDS, "one two three", True, True),
        (TWO_SENTENCES, "Dr. Bird sings.", False, False),
        (TWO_SENTENCES, "It sings. It flies.", True, True),
        (QUOTED, '"It sings."', True, True),
        (QUOTED, '*"It sings."*', False, True),  # without its asterisks
        (BULLETS, "* one\n* two", True, True),
        (BULLETS, "* one\n* two\n* three", False, True),
        (FRENCH, "Les oiseaux chantent tous les matins dans le grand jardin.", True, True),
        (FRENCH, "The birds sing in the big garden every morning.", False, False),
        (REPEATED, "name a bird. A wren.", True, True),
        (LETTER, "Tea", True, True),
        (LETTER, "Tart", False, False),
        (SIGNS, "#one #two", True, True),  # a sign is counted, no letter is drawn for it
        (SIGNS, "etaoin shrdlu " * 20, False, False),
        (DOTS, "one two three.", True, True),
        (DOTS, "one. two.", False, False),
    ],
)
def test_each_kind_of_instruction_is_verified(programs, told, reply, strict, loose):
    found = kept(asked(told), reply)
    assert (found.strict, found.loose) == ((strict,), (loose,))


def test_a_short_text_gets_one_language_however_often_it_is_asked(programs):
    answer = asked(("language:response_language", {"language": "de"}))
    assert len({kept.__wrapped__(answer, "haus maus") for _ in range(40)}) == 1


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("length_constraints:number_words", {"num_words": 3}), "verified by .*relation"),  # it would be drawn
        (("punctuation:no_comma", {"num_words": 3}), r"has the arguments \['num_words'\]"),
        (("punctuation:no_commas", {}), "no instruction 'punctuation:no_commas'.*punctuation:no_comma"),
    ],
)
def test_what_nobody_can_verify_is_an_error(programs, told, said):
    item = Sample("q7", (Turn("user", ("?",)),), (asked(told),))
    with pytest.raises(DataError, match=f"sample q7: .*{said}"):
        ifeval("one two", item)


@pytest.mark.parametrize(
    ("reply", "read", "right"),
    [
        ('"It sings."', '"It sings."', True),  # nothing is peeled off
        ('<1>"It sings."<|user|>', '"It sings."', True),
        ('<think>So, I think.</think>\n\n"It sings."', '"It sings."', True),
        ('<think>"It sings."', None, False),
        ("It sings.", "It sings.", False),
        ("", None, False),
    ],
)
def test_the_rule_reads_the_reply_to_the_letter(programs, reply, read, right):
    verdict = ifeval(reply, Sample("q", (Turn("user", ("?",)),), (asked(QUOTED, NO_COMMA),)))
    assert (verdict.parsed.answer, verdict.correct) == (read, right)


def test_the_rule_is_for_its_own_benchmark():
    with pytest.raises(DataError, match="no verifiable instructions"):
        ifeval("dog", Sample("q", (Turn("user", ("?",)),), ("dog",), ("dog", "cat")))


ROWS = [
    (1000, [NO_COMMA], "one two"),
    (1001, [NO_COMMA, THREE_WORDS], "one, two three"),
    (1005, [QUOTED, THREE_WORDS], '*"one two three"*'),
    (1012, [BULLETS], None),
]


def write(path: Path, *, responses: bool = True) -> Path:
    rows = [
        {
            "key": key,
            "prompt": f"Prompt {key}",
            "instruction_id_list": [name for name, _ in told],
            "kwargs": [{**UNSET, **given} for _, given in told],
            **({"response": reply} if responses and reply is not None else {}),
        }
        for key, told, reply in ROWS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_figures_are_the_official_ones(programs, tmp_path: Path):
    work = scoring.work("ifeval", write(tmp_path / "naive-ifeval-test-audio.jsonl"))
    figures = scoring.score(work, "ifeval").to_dict()
    rows = [json.loads(line) for line in (tmp_path / "naive-ifeval-test-audio.jsonl").read_text().splitlines()]
    told = [programs.process_results(row, [row.get("response", "")]) for row in rows]
    expected = {
        f"{kind}-{level}": sum(values) / len(values)
        for kind in ("strict", "loose")
        for level, values in (
            ("prompt", [row[f"prompt_level_{kind}_acc"] for row in told]),
            ("instruction", [one for row in told for one in row[f"inst_level_{kind}_acc"]]),
        )
    }
    assert figures["figures"] == pytest.approx({**expected, "final": sum(expected.values()) / 4})
    assert [round(value, 4) for value in expected.values()] == [0.25, 0.5, 0.5, 0.6667]
    assert figures["strict"]["total"] == {"correct": 1, "n": 4, "percent": 25.0}
    assert figures["official"]["total"]["n"] == 3, "the official evaluator does not see what was not answered"
    assert figures["strict"]["instructions"]["2"]["n"] == 2
    guessed = {name: figures["baselines"][name] for name in ("chance", "majority")}
    assert guessed == {"chance": None, "majority": None}, "a constant reply may keep instructions"
    assert main(["score", "ifeval", str(work.predictions.path), "--out", str(tmp_path / "out")]) == 0
    assert list(scoring.parity(work).scores) == ["ifeval"], "no other rule judges instructions"


def test_a_model_is_examined_and_its_predictions_score_the_same(programs, checkpoint: Path, tmp_path: Path):
    path = write(tmp_path / "gold.jsonl", responses=False)
    for key, _, _ in ROWS:
        noise = rng(key, "prompt").standard_normal(4000).astype(np.float32) * 0.1
        soundfile.write(tmp_path / f"{key}.wav", noise, 16_000)
    exam = Exam(
        benchmark=benchmark.find("ifeval")(gold=str(path)),
        model=graft.Model(path=str(checkpoint)),
        wording=Wording(form="label", instruction=False),
        baselines=False,
        evaluate=Evaluate(max_tokens=8, temperature=1.5, showcase=1),
    )
    figures = exams.run(exam, tmp_path / "out", "test", lambda *_: None, say=lambda _: None)
    result = figures["results"]["baseline"]
    assert result["scorers"] == {"ifeval": result["scorers"]["ifeval"], "choice": None}, "no rule of ours judges it"
    work = scoring.work("ifeval", tmp_path / "out" / "predictions_baseline.jsonl", path)
    assert scoring.score(work, "ifeval").to_dict()["figures"] == result["figures"]
    assert result["figures"].keys() >= {"strict-prompt", "loose-instruction", "final"}
    assert any(row["filtered_resps"][0] for row in read_jsonl(tmp_path / "out" / "samples_baseline.jsonl").rows)


def test_who_is_examined_hears_the_prompt_or_reads_it(tmp_path: Path):
    kind = benchmark.find("ifeval")
    path = write(tmp_path / "gold.jsonl", responses=False)
    heard = kind(gold=str(path), media="/clips").samples()
    assert [sample.id for sample in heard] == ["1000", "1001", "1005", "1012"]
    assert heard[0].media == (Audio("/clips/1000.wav"),)
    assert heard[0].question == ""
    shown = kind(gold=str(path), modality="text").samples()
    assert (shown[0].media, shown[0].question) == ((), "Prompt 1000")
    assert heard[0].answers == shown[0].answers


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kwargs": []}, r"gold\.jsonl:1: `kwargs` is no list of an object for each"),
        ({"kwargs": None}, "no `kwargs`"),
        ({"kwargs": [3]}, "`kwargs` is no list"),
        ({"instruction_id_list": "punctuation:no_comma"}, "`instruction_id_list` is no list"),
        ({"key": None}, "no `id`"),
    ],
)
def test_a_row_of_another_shape_is_refused(tmp_path: Path, change: dict[str, Any], said: str):
    path = write(tmp_path / "gold.jsonl")
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps({**json.loads(first), **change}) + "\n" + "".join(others))
    with pytest.raises(DataError, match=said):
        benchmark.find("ifeval")(gold=str(path)).samples()


def test_without_its_model_it_says_where_that_is_had(programs, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    kept.cache_clear()
    assert main(["score", "ifeval", str(write(tmp_path / "p.jsonl")), "--out", str(tmp_path / "out")]) == 2
    assert "nltk.downloader punkt_tab" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_its_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "langdetect", None)
    instructions._checker.cache_clear()
    kept.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'auscult\[ifeval\]'"):
        kept(asked(NO_COMMA), "one")
