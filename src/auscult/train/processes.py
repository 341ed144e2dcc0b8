"""Several processes that train as one: every process goes through the same run, step by step, and they part only where
the work is.

    rollouts   each process answers its share of the prompts, whole groups      -> all replies, on every process
    rewards    process 0 scores and writes them                                 -> the same scores on every process
    lessons    each process learns from its share of the prompts, whole groups  -> gradients, summed over processes
    update     the same gradient, the same optimiser, the same weights everywhere

The weights of a loss are the whole batch's before it is shared out (`learner.token_weights`), so the sum is one
process's gradient (tested to 1e-6), and a process without a share adds zeros to it but takes part in every exchange.
Process 0 alone writes; what it finds in the run folder it tells the others, so that a folder needs no reading at the
same instant, and a run may go on with another number of processes.

`torchrun` and `accelerate launch` start the processes (RANK, WORLD_SIZE and MASTER_ADDR say who is who). One that
dies ends the others: its connections close, or their wait ends after `PATIENCE`. Every process renders every prompt of
a step; that is the price of the same samples, credits and figures everywhere without a word.
"""

# torch ships partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from auscult.core.errors import AuscultError, ConfigError, RunError
from auscult.core.runs import Run
from auscult.core.types import Rollout, Sampling
from auscult.models.listener import Prompt
from auscult.rollouts.engine import Engine
from auscult.rollouts.local import LocalEngine
from auscult.train import deepspeed
from auscult.train.sharding import is_sharded

PATIENCE = timedelta(hours=2)
"""Longest wait for another process: its share of a step's rollouts may be the longest one."""
BUCKET = 1 << 26
"""Bytes of gradients that are summed at once."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run, seen from one of them; alone unless told otherwise."""

    rank: int = 0
    """Which one this is."""
    count: int = 1
    """How many there are."""
    shard: bool = False
    """Whether the decoder's layers are dealt out too (FSDP2), and not the work alone."""

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """What of `items` is this process's."""
        return items[self.rank :: self.count]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order, on each of them."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        with _together():
            dist.all_gather_object(found, value)
        return found

    def first(self, make: Callable[[], T]) -> T:
        """What process 0 makes, on all of them; where it fails, they all do."""
        if self.count == 1:
            return make()
        made: list[Any] = [None, None]
        if self.rank == 0:
            try:
                made[0] = make()
            except AuscultError as problem:
                with _together():
                    dist.broadcast_object_list([None, str(problem)])
                raise
        with _together():
            dist.broadcast_object_list(made)
        if made[1] is not None:
            raise RunError(f"process 0 stopped, and this one with it: {made[1]}")
        return cast(T, made[0])

    def open(self, path: Path, config: Mapping[str, Any], command: str, *, overwrite: bool = False) -> Run:
        """The run folder: process 0 opens it, the others look on."""
        mine: list[Run] = []

        def opened() -> tuple[bool, bool]:
            mine.append(Run.open(path, config, command, overwrite=overwrite))
            return mine[0].resumed, mine[0].finished

        resumed, finished = self.first(opened)
        return mine[0] if mine else Run.beside(path, config, resumed=resumed, finished=finished)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Puts the sum of all processes' gradients into `.grad`. A parameter without one anywhere stays without; the
        gradients of sharded parameters are sums already."""
        if self.count == 1:
            return
        known = [parameter for parameter in parameters if not is_sharded(parameter)]
        seen = self.gather([parameter.grad is not None for parameter in known])
        gradients: list[Tensor] = []
        for parameter, met in zip(known, zip(*seen, strict=True), strict=True):
            if any(met):
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            with _together():
                dist.all_reduce(flat)
            for gradient, values in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(values.view_as(gradient))

    def agree(self, name: str) -> None:
        """Raises RunError unless all processes say the same `name`: their weights' fingerprint."""
        if len(set(self.gather(name))) > 1:
            raise RunError(
                "the processes hold different weights; start the same command again, on machines of one kind (it goes "
                "on from the newest checkpoint)"
            )


ALONE = Processes()
"""One process."""


def join() -> Processes:
    """The processes that a launcher started, this one among them; alone without a launcher. May be asked again.

    Raises ConfigError where the launcher asks for what there is not."""
    if _asked("ACCELERATE_USE_CPU") and "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ:
        raise ConfigError(
            "accelerate launch --cpu starts one process only, whatever --num_processes says (several need its "
            "--mpirun_hostfile, which is not supported); start them with torchrun --nproc-per-node N -m auscult run"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    shard = _asked("ACCELERATE_USE_FSDP")
    if _asked("ACCELERATE_USE_DEEPSPEED"):
        shard = deepspeed.sharded()
    elif shard and os.environ.get("FSDP_VERSION", "1") != "2":
        raise ConfigError("only version 2 of FSDP is supported; add --fsdp_version 2 to accelerate launch")
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return Processes(dist.get_rank(), dist.get_world_size(), shard)


def leave() -> None:
    """Ends what `join` began."""
    if dist.is_initialized():
        # gloo's threads let go of the last exchange's tensors in their own time, and need the interpreter for it: one
        # that is still at it when Python ends aborts the process (seen in 1 of 6 runs).
        time.sleep(0.1)
        dist.destroy_process_group()


def _asked(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("true", "1", "yes")


@contextmanager
def _together() -> Generator[None]:
    """Names the failure of an exchange between processes."""
    try:
        yield
    except RuntimeError as problem:  # what gloo and NCCL raise when a peer is gone or late
        raise RunError(
            "another process stopped, or did nothing for two hours; read its message, mend that, and start the same "
            f"command again: it goes on from the newest checkpoint ({str(problem).splitlines()[0]})"
        ) from problem


def _buckets(gradients: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    """Gradients of one type at a time, about `BUCKET` bytes at once."""
    for kind in dict.fromkeys(gradient.dtype for gradient in gradients):
        bucket: list[Tensor] = []
        for gradient in (g for g in gradients if g.dtype == kind):
            bucket.append(gradient)
            if sum(g.nbytes for g in bucket) >= BUCKET:
                yield bucket
                bucket = []
        if bucket:
            yield bucket


@dataclass(frozen=True)
class Together:
    """An engine that all processes ask alike. Local weights answer a share of the prompts on each; a server is asked by
    process 0 alone, so that its journal and budget are one."""

    engine: Engine
    """Each process's own."""
    processes: Processes
    """Who asks."""

    def roll(self, prompts: Sequence[Prompt], group: int, sampling: Sampling, seed: int) -> list[tuple[Rollout, ...]]:
        """`group` rollouts for each prompt, in the order of the prompts, the same on every process."""
        if not isinstance(self.engine, LocalEngine):
            return self.processes.first(lambda: self.engine.roll(prompts, group, sampling, seed))
        # Whoever answers a sample answers it wherever it stands: draws are numbered within a call.
        mine = self.processes.share(list(dict.fromkeys(prompt.sample.id for prompt in prompts)))
        places = [place for place, prompt in enumerate(prompts) if prompt.sample.id in mine]
        rolled = self.engine.roll([prompts[place] for place in places], group, sampling, seed) if places else []
        shares = self.processes.gather(list(zip(places, rolled, strict=True)))
        return [rollouts for _, rollouts in sorted((pair for share in shares for pair in share), key=itemgetter(0))]
