"""Sentence similarity and FENSE, as rewards and as caption scores: equal to the formulas written down."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from auscult.cli import main
from auscult.core.errors import ConfigError
from auscult.core.types import Parsed, Rollout, Sample, Turn
from auscult.rewards import fense, rubric, sbert

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "barks", "rain", "falls", "on", "leaves", ",", "man", "speaks"]
TEXTS = [
    "a dog barks",
    "rain falls on leaves, a man",
    "a man speaks on a dog",
    "zebra",
    "a a a a dog falls, on on leaves",
]
REFERENCES = ["a dog barks", "rain falls"]
LONGEST = 70


def bert(folder: Path, seed: int) -> Path:
    """A BERT of random weights, far apart, saved as transformers saves one."""
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    torch.manual_seed(seed)
    made = BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=LONGEST, **shape))
    for weight in made.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.5)
    made.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    names: dict[str, Any] = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(bert(tmp_path_factory.mktemp("sbert"), 0))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As `fense.py` says how to convert one: the published names, in safetensors, beside config and tokenizer."""
    folder = bert(tmp_path_factory.mktemp("detector"), 1)
    state = {f"encoder.{name}": weight for name, weight in load_file(folder / "model.safetensors").items()}
    state["encoder.embeddings.position_ids"] = torch.arange(LONGEST)[None]
    heads = torch.randn(6, 16, generator=torch.Generator().manual_seed(3))
    *_, third, fourth, _ = sorted(float(states(str(folder), text.replace(",", ""))[0] @ heads[-1]) for text in TEXTS)
    state["clf.weight"] = heads / (fourth - third)
    between = (third + fourth) / 2 / (fourth - third)
    state["clf.bias"] = torch.tensor([9.0, 9.0, 9.0, 9.0, 9.0, math.log(9) - between])  # the last class is `error`
    save_file(state, folder / "model.safetensors")
    return str(folder)


def asked(*answers: str) -> Sample:
    return Sample("s1", (Turn("user", ("What is heard?",)),), answers)


def reply(answer: str | None) -> Rollout:
    return Rollout((), (), None, answer or "", "end", "p", Parsed(answer, None if answer else "empty"))


def states(folder: str, text: str) -> torch.Tensor:
    """The last hidden state [T, D] of one text by itself, so without padding."""
    words = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder)(**words).last_hidden_state[0]


def directly(folder: str, text: str, references: list[str]) -> float:
    """SBERT similarity, written down."""
    mean = [states(folder, one).mean(dim=0) for one in (text, *references)]
    cosines = [torch.cosine_similarity(mean[0], other, dim=0) for other in mean[1:]]
    return float(sum(cosines)) / len(cosines)


def wrong(folder: str, text: str) -> float:
    """The probability of an error, written down."""
    file = load_file(Path(folder) / "model.safetensors")
    bare = BertModel(BertConfig.from_pretrained(folder)).eval()
    bare.load_state_dict({name[8:]: w for name, w in file.items() if name[:8] == "encoder." and "_ids" not in name})
    words = AutoTokenizer.from_pretrained(folder)(text.lower().replace(",", ""), return_tensors="pt")
    with torch.inference_mode():
        first = bare(**words).last_hidden_state[0, 0]
    return float(torch.sigmoid(file["clf.weight"] @ first + file["clf.bias"])[-1])


def test_it_is_the_mean_cosine_of_the_mean_over_tokens(saved: str):
    expected = [directly(saved, text, REFERENCES) for text in TEXTS]
    found = sbert.load(saved, "cpu").similarity(REFERENCES, TEXTS)
    assert found == pytest.approx(expected, abs=1e-6)
    assert max(expected) - min(expected) > 0.1, "texts are told apart"
    rewards = sbert.sbert(asked(*REFERENCES), [reply(text) for text in TEXTS], model=saved)
    assert rewards == pytest.approx([max(0.0, value) for value in expected], abs=1e-6)


def test_the_score_may_be_below_zero_and_the_reward_is_not(saved: str):
    model = sbert.load(saved, "cpu")
    model.kept[("its opposite",)] = -model.embed(TEXTS[:1])[0]
    assert model.similarity(["its opposite"], TEXTS[:1]) == pytest.approx([-1.0], abs=1e-6)
    assert sbert.sbert(asked("its opposite"), [reply(TEXTS[0])], model=saved, device="cpu") == [0.0]


def test_an_error_costs_nine_tenths(saved: str, detector: str):
    model = fense.load(saved, detector, "cpu")
    chances = [wrong(detector, text) for text in TEXTS]
    assert model.detector.errors(TEXTS) == pytest.approx(chances, abs=1e-5)
    errors = [chance > 0.9 for chance in chances]
    assert 0 < sum(errors) < len(TEXTS)
    expected = [
        directly(saved, text, REFERENCES) * (0.1 if error else 1) for text, error in zip(TEXTS, errors, strict=True)
    ]
    assert model.similarity(REFERENCES, TEXTS) == pytest.approx(expected, abs=1e-6)
    graded = fense.fense(asked(*REFERENCES), [reply(TEXTS[0])], model=saved, detector=detector)
    assert graded == pytest.approx(expected[:1], abs=1e-6)


def test_no_answer_is_worth_nothing_and_no_reference_is_not_judged(saved: str, detector: str):
    replies = [reply(None), reply(TEXTS[0]), reply(" ")]
    for score in (
        lambda sample: sbert.sbert(sample, replies, model=saved),
        lambda sample: fense.fense(sample, replies, model=saved, detector=detector),
    ):
        assert score(asked()) == [None, None, None]
        none, some, blank = score(asked(*REFERENCES))
        assert (none, blank) == (0.0, 0.0)
        assert some


def test_whoever_is_beside_a_text_changes_nothing_and_many_are_read_in_batches(saved: str):
    model = sbert.load(saved, "cpu")
    alone = [model.similarity(REFERENCES, [text])[0] for text in TEXTS]
    assert model.similarity(REFERENCES, TEXTS * 9)[: len(TEXTS)] == pytest.approx(alone, abs=1e-6)
    assert model.similarity(REFERENCES, ["a dog " * 60]) == pytest.approx(
        model.similarity(REFERENCES, ["a dog " * 90]), abs=1e-6
    ), "what is too long counts by its beginning"


def test_loading_draws_nothing(saved: str, detector: str):
    sbert.load.cache_clear()
    fense.load_detector.cache_clear()
    before = torch.random.get_rng_state()
    fense.load(saved, detector, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def as_sentence_transformers(folder: Path, pooling: dict[str, Any], *further: str) -> str:
    """The files with which that library says what it does behind the encoder."""
    bert(folder, 0)
    names = ["Transformer", "Pooling", *further]
    modules = [
        {"idx": n, "path": f"{n}_{name}" if n else "", "type": f"sentence_transformers.models.{name}"}
        for n, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6, "do_lower_case": True}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return str(folder)


def test_what_sentence_transformers_writes_is_read(saved: str, tmp_path: Path):
    for number, pooling in enumerate(({"pooling_mode": "mean"}, {"pooling_mode_mean_tokens": True})):
        model = sbert.load(as_sentence_transformers(tmp_path / str(number), pooling, "Normalize"), "cpu")
        assert model.similarity(REFERENCES, ["A DOG BARKS"])[0] == pytest.approx(
            directly(saved, "a dog barks", REFERENCES), abs=1e-6
        )
        assert model.similarity(["a"], ["a dog barks on rain"]) == model.similarity(["a"], ["a dog barks on leaves"])
    for number, pooling in enumerate(({"pooling_mode": "cls"}, {"pooling_mode_cls_token": True})):
        with pytest.raises(ConfigError, match="not take the mean over tokens"):
            sbert.load(as_sentence_transformers(tmp_path / f"odd{number}", pooling), "cpu")
    with pytest.raises(ConfigError, match="has a Dense behind its encoder"):
        sbert.load(as_sentence_transformers(tmp_path / "dense", {}, "Dense"), "cpu")


def test_a_checkpoint_that_is_not_there_or_torn_is_a_sentence(saved: str, detector: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere: no model of sentences can be loaded .* give a folder or a hub id"):
        sbert.load(str(tmp_path / "nowhere"), "cpu")
    with pytest.raises(ConfigError, match="no error detector of FENSE can be loaded"):
        fense.load_detector(str(tmp_path / "nowhere"), "cpu")
    with pytest.raises(ConfigError, match=r"lacks \['clf.bias', 'clf.weight', .*\]; convert the published checkpoint"):
        fense.load_detector(saved, "cpu")
    weights = load_file(Path(detector) / "model.safetensors")
    for name in ("pickle", "torn", "thin"):
        bert(tmp_path / name, 0)
    (tmp_path / "pickle" / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pickle" / "pytorch_model.bin")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"torn")
    inner = load_file(tmp_path / "thin" / "model.safetensors")
    del inner["encoder.layer.0.output.dense.weight"]
    save_file(inner, tmp_path / "thin" / "model.safetensors", {"format": "pt"})
    for name in ("pickle", "torn"):
        with pytest.raises(ConfigError, match="no model of sentences"):
            sbert.load(str(tmp_path / name), "cpu")
    with pytest.raises(ConfigError, match=r"lacks the weights \['encoder.layer.0.output.dense.weight'\]"):
        sbert.load(str(tmp_path / "thin"), "cpu")


def test_the_rubric_finds_both_by_their_names(saved: str, detector: str):
    models = {"model": saved, "device": "cpu"}
    found = rubric.Rubric.from_config(
        {
            "sbert": {"weight": 1.0, "kwargs": models},
            "fense": {"weight": 2.0, "kwargs": {**models, "detector": detector}},
        }
    )
    (score,) = found.score(asked(*REFERENCES), [reply(TEXTS[0])])
    assert score.total == pytest.approx((score.parts["sbert"] or 0) + 2 * (score.parts["fense"] or 0))


def test_captions_are_scored_by_them(saved: str, detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "captions.jsonl"
    rows = [{"prediction": text, "references": REFERENCES[: 1 + n % 2]} for n, text in enumerate([*TEXTS, ""])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["score", "captions", str(path), "--sbert", saved, "--fense", detector]
    assert main([*words, "--json", "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    alike = [directly(saved, row["prediction"], row["references"]) if row["prediction"] else 0.0 for row in rows]
    costs = [0.1 if row["prediction"] and wrong(detector, row["prediction"]) > 0.9 else 1.0 for row in rows]
    assert told["sbert"] == pytest.approx(sum(alike) / 6, abs=1e-6), "a row without a caption counts"
    assert told["fense"] == pytest.approx(sum(a * b for a, b in zip(alike, costs, strict=True)) / 6, abs=1e-6)
    assert saved in told["variants"]["sbert"]
    assert detector in told["variants"]["fense"]
    (samples,) = (tmp_path / "out").glob("samples_*.jsonl")
    assert [json.loads(line)["sbert"] for line in samples.read_text().splitlines()] == pytest.approx(alike, abs=1e-6)
    assert main([*words, "--scorer", "fense", "--scorer=cider_d", "--json"]) == 0
    some = json.loads(capsys.readouterr().out)
    assert set(some["variants"]) == {"cider_d", "fense"}
    assert (some["fense"], "sbert" in some) == (told["fense"], False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scorer", "meteor"], "meteor needs Java and word lists of its own, so it is not here; take cider_d"),
        (["--spice"], "spice needs Java"),
        (["--scorer", "SPIDEr"], "SPIDEr needs Java"),
        (["--scorer", "sbert"], "sbert is a model's; name it with --sbert MODEL"),
        (["--fense", "x"], "name it with --sbert MODEL"),
        (["--scorer", "cider"], "there is no scorer 'cider', did you mean 'cider_d'?"),
        (["--sbert", "/nowhere"], "/nowhere: no model of sentences can be loaded"),
    ],
)
def test_what_cannot_be_scored_is_a_sentence(words: list[str], said: str, tmp_path: Path, capsys):
    path = tmp_path / "captions.jsonl"
    path.write_text('{"prediction": "a dog", "references": ["a dog"]}\n')
    assert main(["score", "captions", str(path), *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
