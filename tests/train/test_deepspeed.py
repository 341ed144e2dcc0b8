"""A DeepSpeed configuration is followed, or refused by the name of what cannot be followed. That two processes that got
one learn as one is in `test_processes.py`."""

import json

import pytest

from auscult.core.errors import ConfigError
from auscult.train import deepspeed

AUTO = {"train_batch_size": "auto", "gradient_clipping": "auto", "bf16": {"enabled": "auto"}, "optimizer": "auto"}


@pytest.fixture
def told(monkeypatch, tmp_path):
    def tell(config):
        path = tmp_path / "zero.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(path))
        return deepspeed.sharded()

    return tell


@pytest.mark.parametrize(
    ("zero", "sharded"), [({}, False), ({"stage": 0}, False), ({"stage": 1}, True), ({"stage": 3}, True)]
)
def test_its_stage_is_followed(told, zero, sharded):
    assert (
        told({**AUTO, "zero_optimization": {**zero, "overlap_comm": True, "offload_param": {"device": "none"}}})
        == sharded
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"gradient_clipping": 0.5}, r"`gradient_clipping` is 0.5; set it to \"auto\".*train.clip_norm"),
        ({"optimizer": {"type": "AdamW"}}, "`optimizer`.*train.learning_rate"),
        ({"fp16": {"enabled": True}}, "`fp16.enabled` is true.*train.precision"),
        ({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}}}, "nothing is offloaded"),
        ({"zero_optimization": {"stage": "three"}}, "set 0, 1, 2 or 3"),
        ([], "no DeepSpeed configuration"),
        ("{", "no DeepSpeed configuration"),
    ],
)
def test_what_it_cannot_have_is_refused_by_name(told, config, words):
    with pytest.raises(ConfigError, match=words):
        told(config)


def test_without_a_file_the_launchers_own_words_count(monkeypatch):
    assert deepspeed.sharded()  # accelerate's default is ZeRO 2
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE", "cpu")
    with pytest.raises(ConfigError, match="offload_param_device"):
        deepspeed.sharded()
