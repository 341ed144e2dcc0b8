"""How much GPU memory a recipe needs, from the fields of its model's config: a sum that anybody can check.

    weights      4 bits: 1/2 byte a weight and a float32 scale for 64 of them; embeddings, vision tower and projector
                 stay in 16 bits; what is trained is held in 32
    learning     of every parameter that learns: itself and its gradient in float32, AdamW's two moments in 32 or 8
                 bits, and once more itself where a KL term keeps a reference
    activations  a layer keeps for its gradient, a token: 28 W + 8.5 I + 13 A bytes (W width, I inner width, A heads
                 times head width), and for each key that a row sees 3.3 A + 1.7 K (K key/value heads times head width);
                 where adapters drop out, 3 bytes for each of their inputs
    head         8 bytes a reply token and word of the vocabulary, and 6 while its gradient is computed
    cache        keys and values in 16 bits of every row that is answered at once, once more while they are copied

The bytes of activations and head were counted, not guessed: what autograd kept of eight small Gemma 3 with adapters in
bfloat16 on a CPU (4 layers at most, 64 to 128 wide), which the sum meets within 2 %. No GPU was ever asked: its kernels
keep other things and its allocator leaves gaps, so that a tenth and a CUDA context are added and the whole is told with
a quarter more or less. A GPU without bfloat16 computes in float32 and keeps twice the activations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from auscult.core.errors import ConfigError
from auscult.models.families import gemma3
from auscult.models.learning import Learn
from auscult.recipe import Recipe

GB = 10**9
"""Bytes; a GPU of 24 GB has a little more than 24 of these."""
NF4 = 0.5 + 4 / 64
CONTEXT = 0.6 * GB
"""What CUDA and its kernels take before anything is computed."""
GAPS = 1.1
"""What the allocator holds over what is in use."""
ERROR = 0.25
"""How far the truth may be from the sum, as a share of it."""
HEAD_TOKENS = 4096
"""Reply tokens whose logits the learner has at once."""
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Size:
    """What of a Gemma 3's config tells its size."""

    width: int
    """Of the language model (hidden_size)."""
    inner: int
    """Of its feed-forward layers (intermediate_size)."""
    layers: int
    """num_hidden_layers."""
    heads: int
    """num_attention_heads."""
    kv_heads: int
    """num_key_value_heads."""
    head: int
    """Width of a head (head_dim)."""
    vocabulary: int = 262_208
    """Words, whose embeddings are the output head too."""
    image_tokens: int = 256
    """Tokens of an image (mm_tokens_per_image)."""
    vision: tuple[int, int, int, int, int] = (1152, 4304, 27, 896, 14)
    """Of the vision tower: width, inner width, layers, side of an image and of a patch, pixels."""

    @property
    def matrices(self) -> Mapping[str, tuple[int, int]]:
        """Inputs and outputs of a layer's matrices."""
        asked, kept = self.heads * self.head, self.kv_heads * self.head
        sides = ((self.width, asked), (self.width, kept), (self.width, kept), (asked, self.width))
        return dict(
            zip(
                LINEAR,
                (*sides, (self.width, self.inner), (self.width, self.inner), (self.inner, self.width)),
                strict=True,
            )
        )

    @property
    def language(self) -> int:
        """Weights in the matrices of the language model, which 4 bits may hold."""
        return self.layers * sum(one * other for one, other in self.matrices.values())

    @property
    def words(self) -> int:
        """Weights in its embeddings and norms."""
        return self.vocabulary * self.width + self.layers * (4 * self.width + 2 * self.head) + self.width

    @property
    def patches(self) -> int:
        """Patches of an image."""
        *_, side, patch = self.vision
        return (side // patch) ** 2

    @property
    def tower(self) -> int:
        """Weights of the vision tower."""
        width, inner, layers, _, patch = self.vision
        layer = 4 * width * (width + 1) + 2 * width * inner + inner + width + 4 * width
        return layers * layer + 3 * patch * patch * width + width + self.patches * width + 2 * width

    @property
    def projector(self) -> int:
        """Weights between tower and language model."""
        return self.vision[0] * self.width + self.vision[0]

    @property
    def cached(self) -> int:
        """Bytes of a token in the cache."""
        return 2 * 2 * self.layers * self.kv_heads * self.head


KNOWN = {
    "4b": Size(2560, 10240, 34, 8, 4, 256),
    "12b": Size(3840, 15360, 48, 16, 8, 256),
    "27b": Size(5376, 21504, 62, 32, 16, 128),
}
"""Gemma 3 and MedGemma by what their hub ids end in (config.json of google/gemma-3-4b-it, -12b-it, -27b-it)."""
DEFAULTS = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262_208}
"""What a config.json of that family leaves out when it is so."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question is made of."""

    images: int = 1
    """Views."""
    words: int = 256
    """Tokens of its text: question, options, instruction, what is shown of the report."""


ONE_FILM = Asked()


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a stage of a recipe needs, in bytes."""

    stage: str
    """Which."""
    parts: Mapping[str, float]
    """What is there all the time."""
    learning: Mapping[str, float]
    """What is there beside it while the stage learns."""
    rolling: Mapping[str, float]
    """What is there beside it while replies are drawn."""

    @property
    def total(self) -> float:
        """All of it at the worst moment, with gaps and context."""
        peak = max(sum(self.learning.values()), sum(self.rolling.values()))
        return GAPS * (sum(self.parts.values()) + peak) + CONTEXT

    def verdict(self, gpu: float) -> str:
        """Whether it fits in a GPU of so many GB: `yes`, `no`, or `perhaps` within the error of the sum."""
        if self.total * (1 + ERROR) <= gpu * GB:
            return "yes"
        return "perhaps" if self.total * (1 - ERROR) <= gpu * GB else "no"


def footprints(recipe: Recipe, asked: Asked = ONE_FILM) -> tuple[Footprint, ...]:
    """What each stage of the recipe needs on a GPU. Raises ConfigError for a model whose size is not known, and for a
    recipe without a stage."""
    size = size_of(recipe)
    if not recipe.stages:
        raise ConfigError(f"recipe {recipe.name} trains nothing; name one with a stage")
    return tuple(_footprint(recipe, size, asked, stage) for stage in recipe.stages)


def size_of(recipe: Recipe) -> Size:
    """The size of the recipe's model: its shape, its folder's config.json, or a known hub id. Raises ConfigError."""
    model = recipe.model
    if not isinstance(model, gemma3.Model):
        raise ConfigError(
            f"recipe {recipe.name}: only the sizes of Gemma 3 and MedGemma are known (model.family: gemma3)"
        )
    if model.path is None:
        heads, shape = model.heads, model.width // model.heads
        vision = (model.width, 2 * model.width, model.layers, model.side, model.patch)
        return Size(
            model.width,
            2 * model.width,
            model.layers,
            heads,
            heads // 2,
            shape,
            model.vocabulary,
            model.image_tokens,
            vision,
        )
    config = Path(model.path) / "config.json"
    if config.is_file():
        return _of_config(json.loads(config.read_text(encoding="utf-8")), config)
    found = re.search(r"gemma.*?-(\d+b)\b", model.path.lower())
    if found is None or found[1] not in KNOWN:
        raise ConfigError(f"the size of {model.path} is not known; there is {', '.join(KNOWN)}, or name its folder")
    return KNOWN[found[1]]


def smaller(recipe: Recipe, stage: str, asked: Asked = ONE_FILM) -> Iterator[tuple[str, Footprint]]:
    """Settings that would need less, each alone with what is needed then, the greatest saving first."""
    size, algorithm = size_of(recipe), recipe.stages[stage]
    group = algorithm.request.group if algorithm.request else 1
    train, model = recipe.train, recipe.model
    changes = {
        "--model.weights nf4": replace(recipe, model=replace(model, weights="nf4")),
        "--model.language adapt": replace(recipe, model=replace(model, language="adapt")),
        "--model.image freeze": replace(recipe, model=replace(model, image="freeze")),
        "--train.optimizer adamw8bit": replace(recipe, train=replace(train, optimizer="adamw8bit")),
        "--train.prompt_batch 1": replace(recipe, train=replace(train, prompt_batch=1)),
        "--train.reply_batch 1": replace(recipe, train=replace(train, reply_batch=1)),
        f"--evaluate.batch {group}": replace(recipe, evaluate=replace(recipe.evaluate, batch=group)),
    }
    now = _footprint(recipe, size, asked, stage).total
    found = [(setting, _footprint(changed, size, asked, stage)) for setting, changed in changes.items()]
    yield from sorted((pair for pair in found if pair[1].total < 0.98 * now), key=lambda pair: pair[1].total)


def _of_config(config: Mapping[str, Any], where: Path) -> Size:
    text, vision = config.get("text_config"), config.get("vision_config")
    if (
        not isinstance(text, dict)
        or not isinstance(vision, dict)
        or not str(config.get("model_type")).startswith("gemma3")
    ):
        raise ConfigError(f"{where} is no Gemma 3's (text_config and vision_config); name the folder of one")
    said = {**DEFAULTS, **text}
    try:
        language = [
            int(said[key])
            for key in (
                *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
                *("num_key_value_heads", "head_dim", "vocab_size"),
            )
        ]
        tower = [
            int(vision[key])
            for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "image_size", "patch_size")
        ]
    except KeyError as problem:
        raise ConfigError(f"{where}: {problem} is missing; take the config.json that its maker wrote") from problem
    return Size(*language, int(config.get("mm_tokens_per_image", 256)), tuple(tower))  # type: ignore[arg-type]


def _footprint(recipe: Recipe, size: Size, asked: Asked, stage: str) -> Footprint:
    algorithm, train, batch = recipe.stages[stage], recipe.train, recipe.evaluate.batch
    request = algorithm.request
    group = request.group if request else 1
    reply = request.sampling.max_tokens if request else recipe.evaluate.max_tokens
    whole = asked.words + asked.images * (size.image_tokens + 2)
    prompts = min(train.prompt_batch, algorithm.prompts)
    replies = min(train.reply_batch, prompts * group)
    learning = {
        "activations": kept(
            size,
            prompts * whole + replies * reply,
            prompts * whole + replies * (whole + reply),
            dropout=request is None and recipe.model.language == "adapt" and recipe.model.lora.dropout > 0,
        ),
        "output head": 14.0 * size.vocabulary * min(replies * reply, HEAD_TOKENS),
        "cache": 2.0 * size.cached * prompts * whole,
        "vision tower": _looking(recipe, size, prompts * asked.images),
    }
    if train.precision == "float32":
        learning["activations"] *= 2
    at_once = max(1, batch // group) * group
    rolling = {
        "cache": 2.0 * size.cached * at_once * (whole + reply),
        "prefill": 2.0 * max(1, batch // group) * whole * (3 * size.inner + 6 * size.width),
        "vision tower": _looking(recipe, size, 0),
        "output head": 12.0 * size.vocabulary * at_once,
    }
    return Footprint(stage, {**_weights(recipe, size), **_learnt(recipe, size)}, learning, rolling)


def kept(size: Size, tokens: int, keys: int, *, dropout: bool = False) -> float:
    """Bytes that the language model keeps for the gradient of so many tokens, which see so many keys."""
    asked, held = size.heads * size.head, size.kv_heads * size.head
    token = 28 * size.width + 8.5 * size.inner + 13 * asked
    if dropout:
        token += 3 * sum(inputs for inputs, _ in size.matrices.values())
    return size.layers * (tokens * token + keys * (3.3 * asked + 1.7 * held))


def _looking(recipe: Recipe, size: Size, images: int) -> float:
    """Bytes that the vision tower needs: for one image at a time where it rests; where it learns, 34 W a patch and
    layer for the gradient of all of them (Korthikanti et al. 2022, arXiv 2205.05198, without the attention)."""
    width, inner, layers, *_ = size.vision
    if recipe.model.image == "freeze" or not images:
        return size.patches * (4.0 * inner + 12.0 * width)
    return images * size.patches * layers * 34.0 * width


def _weights(recipe: Recipe, size: Size) -> dict[str, float]:
    model = recipe.model
    held = {"float32": 4.0, "bfloat16": 2.0, "auto": 2.0, "nf4": 2.0}[model.weights]

    def each(part: Learn) -> float:
        return 4.0 if part == "train" else held

    matrices = NF4 if model.weights == "nf4" and model.language != "train" else each(model.language)
    return {
        "language model": matrices * size.language,
        "embeddings": each(model.language) * size.words,
        "vision": each(model.image) * size.tower + each(model.projector) * size.projector,
    }


def _learnt(recipe: Recipe, size: Size) -> dict[str, float]:
    """Adapters, and for all that learns its gradient and what the optimiser remembers of it."""
    model, train = recipe.model, recipe.train
    targets = model.lora.targets or LINEAR
    adapters = 0
    if model.language == "adapt":
        adapters = size.layers * sum(model.lora.rank * sum(size.matrices[name]) for name in targets if name in LINEAR)
    if model.image == "adapt":  # attention and feed-forward: six matrices
        width, inner, layers, *_ = size.vision
        adapters += layers * model.lora.rank * (4 * 2 * width + 2 * (width + inner))
    parts = {"language": size.language + size.words, "image": size.tower, "projector": size.projector}
    trained = sum(count for part, count in parts.items() if model.parts[part] == "train")
    moments = 8.0 if train.optimizer == "adamw" else 2.0
    kl = any(getattr(stage, "kl", 0) for stage in recipe.stages.values())
    return {
        "adapters": 4.0 * adapters,
        "gradients": 4.0 * (adapters + trained),
        "optimiser": moments * (adapters + trained),
        **({"reference": 4.0 * (adapters + trained)} if kl else {}),
    }


def figures(found: Footprint) -> dict[str, Any]:
    """What `--json` says of a stage, in GB."""
    said = {field.name: getattr(found, field.name) for field in fields(found) if field.name != "stage"}
    parts = {name: {part: round(value / GB, 3) for part, value in values.items()} for name, values in said.items()}
    total = found.total / GB
    span = [round(total * (1 - ERROR), 1), round(total * (1 + ERROR), 1)]
    return {"stage": found.stage, **parts, "total": round(total, 1), "between": span}
