"""A DeepSpeed configuration, as `accelerate launch --use_deepspeed` hands it on, taken at its word or refused.

auscult does not run DeepSpeed's engine: the tape is cut at the prompt's cache, and the engine wants to own the backward
pass. What a configuration decides is kept all the same: ZeRO 0 leaves everything whole on each process, ZeRO 1 to 3
deal out weights, gradients and optimiser states with FSDP2 (which is ZeRO 3; 1 and 2 ask for less of it, and get the
same numbers). Settings that only steer DeepSpeed's own exchanges and logs say nothing here. One that the recipe decides
must be "auto", or the run would be another one than the file says.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

from auscult.core.errors import ConfigError

ZERO = "zero_optimization"
DECIDED = {
    "optimizer": "train.optimizer, train.learning_rate and train.betas",
    "scheduler": "train.warmup and a stage's final_rate",
    "gradient_clipping": "train.clip_norm",
    "train_batch_size": "a stage's prompts and group",
    "train_micro_batch_size_per_gpu": "train.prompt_batch and train.reply_batch",
    "gradient_accumulation_steps": "train.prompt_batch and train.reply_batch",
    "bf16.enabled": "train.precision",
    "fp16.enabled": "train.precision: bfloat16 (there is no float16 here)",
}
"""Settings that the recipe decides, and where."""
OFFLOADS = ("offload_optimizer", "offload_param")


def sharded() -> bool:
    """Whether what the launcher asked for deals out the weights. Raises ConfigError for what cannot be done."""
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file == "none":
        for name in OFFLOADS:
            if os.environ.get(f"ACCELERATE_DEEPSPEED_{name.upper()}_DEVICE", "none") != "none":
                raise ConfigError(f"{name}_device: nothing is offloaded here; set it to none, or use more processes")
        return _stage(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"), "--zero_stage")
    try:
        told: Any = json.loads(Path(file).read_text())
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{file}: no DeepSpeed configuration ({problem}); correct --deepspeed_config_file") from None
    if not isinstance(told, dict):
        raise ConfigError(f"{file}: no DeepSpeed configuration (no JSON object); correct --deepspeed_config_file")
    for key, ours in DECIDED.items():
        value = _at(told, key)
        if value not in (None, "auto", False):
            raise ConfigError(
                f'{file}: `{key}` is {json.dumps(value)}; set it to "auto", the recipe decides it: {ours}'
            )
    for name in OFFLOADS:
        if _at(told, f"{ZERO}.{name}.device") not in (None, "none"):
            raise ConfigError(f"{file}: `{ZERO}.{name}`: nothing is offloaded here; remove it, or use more processes")
    return _stage(_at(told, f"{ZERO}.stage") or 0, f"{file}: `{ZERO}.stage`")


def _stage(value: Any, where: str) -> bool:
    if str(value) not in ("0", "1", "2", "3"):
        raise ConfigError(f"{where} is {json.dumps(value)}; set 0, 1, 2 or 3")
    return int(value) > 0


def _at(told: Any, key: str) -> Any:
    for name in key.split("."):
        told = cast("dict[str, Any]", told).get(name) if isinstance(told, dict) else None
    return told
