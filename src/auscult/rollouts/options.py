"""Options of a server that answers prompts. Loads without torch, so that `--help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auscult.core.config import at_least
from auscult.core.connection import Connection


@dataclass(frozen=True, kw_only=True)
class Server(Connection):
    """An OpenAI-compatible server that draws rollouts: vLLM, `transformers serve`, or a paid one."""

    dialect: Literal["openai", "vllm"] = "openai"
    """What it understands beyond the common fields: vllm names each token by its id, so that log-probs fit exactly."""
    media: Literal["input_audio", "data_url", "file_url"] = "input_audio"
    """How media travel: inside the request as input_audio or as audio_url, or as the path of a file that the server
    opens itself (vLLM needs --allowed-local-media-path; sections and media in memory travel inside all the same)."""
    rate: int = 16_000
    """Samples per second of the WAV that is sent."""
    samples: Literal["float32", "pcm16"] = "float32"
    """Samples of that WAV; float32 is what the listener hears, pcm16 is half as long and clips beyond full scale."""
    send_identified: bool = False
    """Send DICOM films also when their header names a person, place or day (without PatientIdentityRemoved) or says
    that text is burned in; false refuses them. Pixels alone are sent, never the header."""
    logprobs: Literal["off", "raw", "processed"] = "raw"
    """What its log-probs are of: raw is before the temperature (vLLM's default), processed after temperature and top_p.
    They are kept only where that is the distribution the learner computes, or else the learner computes its own."""
    hot_load: Literal["off", "adapter", "checkpoint"] = "off"
    """What the server is handed whenever the weights have changed, on a disk that both see: the adapter (vLLM with
    --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1), or a whole checkpoint whose folder requests name
    (`transformers serve` without a model of its own); with off, changed weights are refused as stale."""
    max_failed: float = 0.0
    """Share of the replies of a call that may fail after all repetitions; beyond it the call stops."""
    max_requests: int | None = None
    """Budget of requests, repetitions and earlier processes of this run counted; null is none."""
    max_tokens: int | None = None
    """Budget of tokens, prompts and earlier processes of this run counted; null is none."""
    identical_groups: int = 16
    """After so many groups, each of equal replies at a temperature above 0, the server is taken to decode greedily;
    0 never is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least({"rate": (self.rate, 1), "identical_groups": (self.identical_groups, 0)})
        if not 0 <= self.max_failed < 1:
            raise ValueError(f"max_failed is {self.max_failed}: set a share from 0 to below 1")
