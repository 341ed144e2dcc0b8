"""The local engine: transformers' `generate`, with every prompt prefilled once and its cache repeated for its group.

Log-probabilities are of the sampling distribution before top-p: `log_softmax(logits / temperature)`, the same
quantity that the learner computes, so that policy ratios start at 1 and any disagreement between the two is a defect
that shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from auscult.core.types import Rollout, Sampling
from auscult.models.fingerprint import fingerprint
from auscult.models.listener import Listener, Prompt, token_id


class ReplyLogps(LogitsProcessor):
    """Keeps the log-probability of each drawn token while `generate` runs; only one step's logits are held."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature or 1.0
        self.drawn: list[Tensor] = []
        self._scores: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._take(input_ids)
        self._scores = scores.float()
        return scores

    def finish(self, sequences: Tensor) -> Tensor:
        """Log-probabilities [R, T] of all drawn tokens, the last column of `sequences` included."""
        self._take(sequences)
        return torch.stack(self.drawn, dim=1)

    def _take(self, sequences: Tensor) -> None:
        if self._scores is not None:
            logps = (self._scores / self.temperature).log_softmax(-1)
            self.drawn.append(logps.gather(1, sequences[:, -1:])[:, 0])
            self._scores = None


class LocalEngine:
    """Answers with the listener's present weights."""

    def __init__(self, listener: Listener, batch: int = 128) -> None:
        """`batch` bounds the replies that are generated at once; a group is never split over two prefills."""
        self.listener = listener
        self.batch = batch

    @torch.no_grad()
    def roll(self, prompts: Sequence[Prompt], group: int, sampling: Sampling, seed: int) -> list[tuple[Rollout, ...]]:
        """`group` rollouts for each prompt, in the order of the prompts. Leaves the global generator as it was."""
        model = self.listener.model
        training = model.training
        model.eval()
        policy = fingerprint(model)
        at_once = max(1, self.batch // group)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            groups = [
                rollouts
                for start in range(0, len(prompts), at_once)
                for rollouts in self._generate(prompts[start : start + at_once], group, sampling, policy)
            ]
        model.train(training)
        return groups

    def _generate(
        self, prompts: Sequence[Prompt], group: int, sampling: Sampling, policy: str
    ) -> list[tuple[Rollout, ...]]:
        prefix = self.listener.prefill(prompts, "rollout")
        prefix = prefix.rows(torch.arange(len(prompts), device=self.listener.device).repeat_interleave(group))
        # generate() reads only the ids that the cache does not hold yet; the others count for their length alone.
        pad = token_id(self.listener.tokenizer, self.listener.tokenizer.pad_token)
        ids = torch.cat([torch.full_like(prefix.mask, pad), prefix.last[:, None]], dim=1)
        logps = ReplyLogps(sampling.temperature)
        sequences = cast(Any, self.listener.generator()).generate(
            input_ids=ids,
            attention_mask=torch.cat([prefix.mask, torch.ones_like(prefix.mask[:, :1])], dim=1),
            past_key_values=prefix.cache,
            generation_config=self._config(sampling),
            logits_processor=LogitsProcessorList([logps]),
        )
        replies = sequences[:, ids.shape[1] :].tolist()
        values = logps.finish(sequences).tolist()
        rollouts = [
            self._rollout(prompts[row // group], reply, values[row], policy) for row, reply in enumerate(replies)
        ]
        return [tuple(rollouts[start : start + group]) for start in range(0, len(rollouts), group)]

    def _config(self, sampling: Sampling) -> GenerationConfig:
        drawing = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            eos_token_id=self.listener.end_id,
            pad_token_id=self.listener.tokenizer.pad_token_id,
            **(drawing if sampling.temperature > 0 else {"do_sample": False}),
        )

    def _rollout(self, prompt: Prompt, reply: list[int], logps: list[float], policy: str) -> Rollout:
        end = self.listener.end_id
        ended = end in reply
        length = reply.index(end) + 1 if ended else len(reply)
        text = self.listener.text(reply[:length])
        return Rollout(
            prompt_ids=prompt.ids,
            reply_ids=tuple(reply[:length]),
            logps=tuple(logps[:length]),
            text=text,
            stop="end" if ended else "length",
            policy=policy,
            parsed=self.listener.form.parse(text, prompt.sample.choices),
        )
