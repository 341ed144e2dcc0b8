"""A processor in its parts: tokenizer with its chat template, feature extractor, image processor.

The processors of the Omni family cannot be made without a video processor, and that one not without torchvision;
nothing here looks at films. So the parts are opened one by one, and a checkpoint that is saved gets the processor's
files of the checkpoint it came from, word for word, film settings included.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase, WhisperFeatureExtractor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils.hub import cached_file

FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "chat_template.jinja",
    "chat_template.json",
)


@dataclass(frozen=True)
class Parts:
    """What a Thinker's prompts are made with."""

    tokenizer: PreTrainedTokenizerBase
    """With the chat template."""
    feature_extractor: WhisperFeatureExtractor
    """Log-mel frames."""
    image_processor: Qwen2VLImageProcessorPil
    """Patches."""
    name: str
    """The class that transformers calls the whole."""
    files: dict[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    """The processor's files of the checkpoint that this was opened from."""

    @classmethod
    def load(cls, path: str | Path, name: str) -> Parts:
        """The parts that stand in the folder, or under the hub id, `path`."""
        found = {file: cached_file(path, file, _raise_exceptions_for_missing_entries=False) for file in FILES}
        tokenizer = AutoTokenizer.from_pretrained(path)
        template = found["chat_template.json"]
        if tokenizer.chat_template is None and template is not None:
            tokenizer.chat_template = json.loads(Path(template).read_text())["chat_template"]
        return cls(
            tokenizer,
            WhisperFeatureExtractor.from_pretrained(path),
            Qwen2VLImageProcessorPil.from_pretrained(path),
            name,
            {file: Path(where).read_bytes() for file, where in found.items() if where is not None},
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes all parts into `folder`, which exists."""
        self.tokenizer.save_pretrained(folder)
        if not self.files:
            parts = {
                "feature_extractor": self.feature_extractor.to_dict(),
                "image_processor": self.image_processor.to_dict(),
                "processor_class": self.name,
            }
            (Path(folder) / FILES[0]).write_text(json.dumps(parts, indent=2))
        for file, content in self.files.items():
            (Path(folder) / file).write_bytes(content)

    def apply_chat_template(self, *arguments: Any, **options: Any) -> Any:
        """As a processor does."""
        return self.tokenizer.apply_chat_template(*arguments, **options)

    @property
    def audio_token(self) -> str:
        """The mark of a clip."""
        return str(self.tokenizer.audio_token)

    @property
    def image_token(self) -> str:
        """The mark of an image."""
        return str(self.tokenizer.image_token)
