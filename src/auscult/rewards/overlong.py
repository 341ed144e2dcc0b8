"""Whether the reply stays within its length: 0.0, falling to -1.0 over the last tokens before the limit.

Soft overlong punishment (Yu et al. 2025, DAPO, arXiv 2503.14476, eq. 13). A reply that is cut would otherwise be
punished like a wrong one however good it was; a slope tells the policy in which direction to go.

    rewards:
      choice: 1.0
      overlong: {weight: 1.0, kwargs: {limit: 256, buffer: 64}}
"""

from __future__ import annotations

from auscult.core.errors import ConfigError
from auscult.core.types import Rollout, Sample


def overlong(sample: Sample, rollout: Rollout, *, limit: int, buffer: int) -> float:
    """0.0 up to `limit` - `buffer` tokens, then a straight line to -1.0 at `limit` (the stage's `max_tokens`), and -1.0
    beyond. Tokens are those of the reply, the end token included. Raises ConfigError unless 0 < buffer <= limit."""
    if not 0 < buffer <= limit:
        raise ConfigError(f"reward 'overlong' has limit {limit} and buffer {buffer}; set 0 < buffer <= limit")
    over = len(rollout.reply_ids) - (limit - buffer)
    return -min(max(over / buffer, 0.0), 1.0)
