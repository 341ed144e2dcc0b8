"""An engine that says what it is told: for tests of rewards, training and evaluation that must not depend on a
model's mood."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from auscult.core.types import Rollout, Sample, Sampling
from auscult.models.listener import Listener, Prompt


class ScriptedEngine:
    """Replies with `script(sample, number)`; the tokens are real, the log-probabilities are None."""

    def __init__(self, listener: Listener, script: Callable[[Sample, int], str]) -> None:
        self.listener = listener
        self.script = script

    def roll(self, prompts: Sequence[Prompt], group: int, sampling: Sampling, seed: int) -> list[tuple[Rollout, ...]]:
        """`group` scripted rollouts for each prompt; `seed` is not used."""
        return [tuple(self._rollout(prompt, number, sampling) for number in range(group)) for prompt in prompts]

    def _rollout(self, prompt: Prompt, number: int, sampling: Sampling) -> Rollout:
        text = self.script(prompt.sample, number)
        ids = self.listener.target(prompt.sample, text)
        return Rollout(
            prompt_ids=prompt.ids,
            reply_ids=ids[: sampling.max_tokens],
            logps=None,
            text=text,
            stop="end" if len(ids) <= sampling.max_tokens else "length",
            policy="scripted",
            parsed=self.listener.form.parse(text, prompt.sample.choices),
        )
