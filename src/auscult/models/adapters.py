"""What learns: parts that are trained, adapted or frozen, each by its name; and checkpoints of only that.

A checkpoint of an adapted model holds what may differ from its base and nothing else:

    adapter_config.json, adapter_model.safetensors    as peft writes them: vLLM loads them
    trained.safetensors                               parts that are trained in full beside the adapters
    tokenizer and processor files                     so that the folder can be prompted on its own

`adapter_config.json` names the base, relative to the folder when it is a folder, so that a run can be moved as a whole.
A graft's checkpoint has a config.json and all of its ears beside the adapter (`graft.py`): it is opened itself, and its
base is the language model alone.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from auscult.core.errors import ConfigError, RunError
from auscult.core.seeds import derive
from auscult.media.cache import Pictures
from auscult.models.base import located, named
from auscult.models.encoded import EncoderCache
from auscult.models.fetching import fetching
from auscult.models.learning import Learning, Lora
from auscult.models.linear import quicken
from auscult.models.listener import Listener
from auscult.models.wording import Wording

CONFIG, WEIGHTS, TRAINED = "adapter_config.json", "adapter_model.safetensors", "trained.safetensors"

NEVER_QUANTIZED = ("audio_tower", "vision_tower", "visual", "multi_modal_projector", "encoder", "projector", "lm_head")


class Opener(Protocol):
    """Opens a plain checkpoint; `how` goes to transformers' `from_pretrained`."""

    def __call__(self, path: str | Path, wording: Wording, **how: Any) -> Listener: ...


def load(path: str | Path, wording: Wording, learning: Learning, opener: Opener) -> Listener:
    """The listener in `path`, a plain checkpoint or an adapter's, with its parts set to learn as `learning` says."""
    path = Path(path) if Path(path).exists() else path
    config = Path(path) / CONFIG
    if not config.is_file():
        return prepare(_opened(path, path, wording, learning, opener), learning, str(path))
    base = beneath(path)
    listener = prepare(_opened(path, base, wording, learning, opener), learning, base)
    if not isinstance(listener.adapter, Adapter):
        raise ConfigError(f"{path} holds an adapter, but no part of the model is adapted; set model.language: adapt")
    _restore(listener, listener.adapter, config.parent)
    return listener


def asked(path: str | Path, wording: Wording, learning: Learning, opener: Opener) -> Listener:
    """The listener in `path` with its adapters as they were saved, to be asked and not taught: of `learning` only how
    weights are held counts."""
    base = beneath(path)
    listener = _opened(path, base, wording, learning, opener, "--model")
    if (Path(path) / CONFIG).is_file():
        from peft import PeftModel  # heavy, and only adapted models need it

        parameters = dict(listener.model.named_parameters())
        for name, value in _beside(Path(path)).items():
            parameters[name].data = value
        with _no_old_name():
            listener.adapter = Adapter(quicken(PeftModel.from_pretrained(listener.model, path)), base)
    listener.model.requires_grad_(False).eval()
    return listener


def beneath(path: str | Path) -> str:
    """The plain checkpoint that `path` is, or that its adapter lies over."""
    folder = Path(path)
    if not (folder / CONFIG).is_file() or _whole(folder):
        return str(path)
    return located(json.loads((folder / CONFIG).read_text())["base_model_name_or_path"], folder)


def said_by(path: str | Path, asked: str = "--model.path") -> str:
    """What names the plain checkpoint beneath `path`: the key `asked` that named `path`, or an adapter's file."""
    return asked if beneath(path) == str(path) else f"base_model_name_or_path in {Path(path) / CONFIG}"


def _opened(
    path: str | Path,
    base: str | Path,
    wording: Wording,
    learning: Learning,
    opener: Opener,
    asked: str = "--model.path",
) -> Listener:
    """The plain checkpoint `base` that `path` is, or lies over."""
    with fetching(base, said_by(path, asked)):
        return opener(base, wording, **_how(learning))


def prepare(listener: Listener, learning: Learning, base: str) -> Listener:
    """Sets each part of a listener to learn as `learning` says, with fresh adapters where it says so."""
    model = listener.model
    listener.encoded = EncoderCache(learning.cache)
    listener.pictures = Pictures(listener.wording.display, learning.cache.pictures_mb)
    model.requires_grad_(False)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes repacks 4-bit weights on such a CPU at the first pass without gradients, and behind that no
            # gradient flows through them any more, in silence.
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - no attribute that a Module declares
    targets: list[str] = []
    names = {module: name for name, module in model.named_modules()}
    for part, learn in learning.parts.items():
        modules = listener.part(part)
        if learn == "train":
            for module in modules:
                _check_trainable(module, part)
                module.requires_grad_(True).float()
        elif learn == "adapt" and modules:
            linear = [f"{names[module]}.{inner}" for module in modules for inner in _linear(module)]
            targets += _chosen(linear, learning.lora)
    if not targets and not any(p.requires_grad for p in model.parameters()):
        raise ConfigError("no part of the model learns; set model.language to train or adapt")
    if targets:
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        listener.adapter = Adapter(_attach(listener, learning.lora, targets), base)
        for name, p in model.named_parameters():  # attaching freezes all else
            if name in trained:
                p.requires_grad_(True)
    return listener


@dataclass(frozen=True)
class Adapter:
    """Adapters laid over a listener's weights."""

    model: Any
    """peft's view of the listener's model."""
    base: str
    """The checkpoint beneath: a folder or a hub id."""

    @property
    def alone(self) -> bool:
        """Whether nothing of the model learns but the adapters."""
        return not _trained(self.model.get_base_model())

    def save(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Writes what may differ from the base; `weights` as for `Listener.save`."""
        self.save_layers(folder, self.base, weights)
        trained = {n: p.detach().cpu().contiguous() for n, p in _trained(self.model.get_base_model()).items()}
        if trained:
            save_file(trained, folder / TRAINED)

    def save_layers(self, folder: Path, base: str, weights: Mapping[str, Tensor] | None = None) -> None:
        """Writes the adapters alone, as peft does, and that they lie over `base`."""
        from peft import get_peft_model_state_dict  # heavy, and only adapted models need it

        within = None if weights is None else {f"base_model.model.{name}": t for name, t in weights.items()}
        state = get_peft_model_state_dict(self.model, within, save_embedding_layers=False)
        save_file({name: t.detach().cpu().contiguous() for name, t in state.items()}, folder / WEIGHTS)
        config = self.model.peft_config["default"].to_dict()
        config["base_model_name_or_path"] = named(base, folder)
        plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
        (folder / CONFIG).write_text(json.dumps(plain, indent=2, default=str))


def plain_state(model: nn.Module, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The model's weights, or `weights` of it, by the names that they have without adapters."""
    state = model.state_dict() if weights is None else weights
    return {name.replace(".base_layer.", "."): t for name, t in state.items() if "lora_" not in name}


def _whole(folder: Path) -> bool:
    """Whether a checkpoint with an adapter has everything else beside it but for a language model."""
    return (folder / "config.json").is_file()


def merge(listener: Listener) -> Listener:
    """The listener with its adapter in its weights: what it saves is a plain checkpoint."""
    if isinstance(listener.adapter, Adapter):
        listener.model = listener.adapter.model.merge_and_unload()
        listener.adapter = None
    if hasattr(listener.model.config, "base"):
        listener.model.config.base = None
    return listener


def copy_checkpoint(path: Path, folder: Path) -> None:
    """Copies a checkpoint, plain or an adapter's, into `folder`, which exists; a base is found from there too."""
    shutil.copytree(path, folder, dirs_exist_ok=True)
    for name, key in ((CONFIG, "base_model_name_or_path"), ("config.json", "base")):
        config = folder / name
        told = json.loads(config.read_text()) if config.is_file() else {}
        if told.get(key) is not None and (path / told[key]).exists():
            config.write_text(json.dumps({**told, key: os.path.relpath(path / told[key], folder)}, indent=2))


@contextmanager
def weights_of(listener: Listener, weights: Mapping[str, Tensor]) -> Generator[None]:
    """Within, the listener has `weights` (some of its parameters by name); behind, its own again. What was computed
    before keeps its graph: the tensors change places, their values stay."""
    parameters = dict(listener.model.named_parameters())
    own = {name: parameters[name].data for name in weights}
    try:
        for name, value in weights.items():
            parameters[name].data = value
        yield
    finally:
        for name, value in own.items():
            parameters[name].data = value


def _attach(listener: Listener, lora: Lora, targets: list[str]) -> Any:
    from peft import LoraConfig, get_peft_model  # heavy, and only adapted models need it

    experts = [
        name for name, p in listener.model.named_parameters() if lora.experts and p.ndim == 3 and ".experts." in name
    ]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=cast(Any, lora.alpha),
        lora_dropout=0.0 if experts else lora.dropout,  # peft cannot drop before a fused expert
        target_modules=targets,
        target_parameters=experts or None,
        use_rslora=lora.rslora,
        use_dora=lora.dora,
    )
    with torch.random.fork_rng(), _no_old_name():
        torch.manual_seed(derive(0, "adapter"))
        return quicken(get_peft_model(listener.model, config))


@contextmanager
def _no_old_name() -> Generator[None]:
    """peft 0.21 asks whether gradients are checkpointed by that attribute's old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _linear(module: nn.Module) -> list[str]:
    """The linear layers within; an output head, itself one, is not among them, and neither are those whose weights
    their owner reads itself, past any adapter (Gemma 3n's AltUp, in training)."""
    linear = [name for name, inner in module.named_modules() if isinstance(inner, nn.Linear) and name]
    return [name for name in linear if "altup" not in name.split(".")]


def _chosen(found: list[str], lora: Lora) -> list[str]:
    if not lora.targets:
        return found
    chosen = [name for name in found if name.rpartition(".")[2] in lora.targets]
    if not chosen:
        known = sorted({name.rpartition(".")[2] for name in found})
        raise ConfigError(f"lora.targets {list(lora.targets)} name no linear layer; there are {', '.join(known)}")
    return chosen


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """Parameters that learn and are no adapter's."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad and "lora_" not in name}


def _restore(listener: Listener, adapter: Adapter, folder: Path) -> None:
    from peft import set_peft_model_state_dict  # heavy, and only adapted models need it

    found = set_peft_model_state_dict(adapter.model, load_file(folder / WEIGHTS))
    missing = [name for name in found.missing_keys if "lora_" in name]
    if missing or found.unexpected_keys:
        raise RunError(
            f"{folder}: the adapter does not fit ({(missing or found.unexpected_keys)[0]} …); set model.lora and the "
            "parts that are adapted as they were when it was saved"
        )
    trained, values = {} if _whole(folder) else _trained(listener.model), _beside(folder)
    if odd := sorted(values.keys() ^ trained.keys()):
        raise RunError(
            f"{folder}: {odd[0]} is trained in one of checkpoint and recipe only; set the model's parts alike"
        )
    with torch.no_grad():
        for name, value in values.items():
            trained[name].copy_(value)


def _beside(folder: Path) -> dict[str, Tensor]:
    """What was trained in full beside the adapters."""
    return load_file(folder / TRAINED) if (folder / TRAINED).is_file() else {}


def _how(learning: Learning) -> dict[str, Any]:
    gpu = torch.cuda.is_available()
    kind = learning.weights if learning.weights != "auto" else ("bfloat16" if gpu else "float32")
    if kind != "nf4":
        return {"dtype": getattr(torch, kind)}
    from transformers import BitsAndBytesConfig  # imports bitsandbytes, which only 4 bits need

    arithmetic = torch.bfloat16 if gpu else torch.float32
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=arithmetic,
        llm_int8_skip_modules=[f".*{name}" for name in NEVER_QUANTIZED],
    )
    return {"dtype": arithmetic, "quantization_config": quantization}


def _check_trainable(module: nn.Module, part: str) -> None:
    if any(type(inner).__name__ == "Linear4bit" for inner in module.modules()):
        raise ConfigError(f"model.{part} is held in 4 bits and cannot be trained; set model.{part}: adapt")
