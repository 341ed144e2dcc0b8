"""Which optimiser the options name, and where it cannot be."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, distribute_tensor

from auscult.core.errors import ConfigError
from auscult.train.optimizer import adamw
from auscult.train.options import Train

OPTIONS = Train(weight_decay=0.1)


def stepped(kind: str) -> list[torch.Tensor]:
    """A matrix and a vector after a few updates."""
    generator = torch.Generator().manual_seed(0)
    found = [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((64, 80), (80,))]
    optimizer = adamw(found, replace(OPTIONS, optimizer=kind), 1e-2)
    for _ in range(5):
        for p in found:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return [p.detach() for p in found]


def test_eight_bits_go_nearly_where_thirty_two_go_and_small_parameters_go_the_same_way():
    """Their rule is one: betas, decay of matrices only, rate."""
    (matrix, vector), (rough, small) = stepped("adamw"), stepped("adamw8bit")
    assert 0 < (rough - matrix).norm() < 0.01 * matrix.norm()
    torch.testing.assert_close(small, vector)


def test_pages_without_a_gpu_are_refused():
    with pytest.raises(ConfigError, match=r"on a CPU set train\.optimizer: adamw8bit"):
        stepped("paged_adamw8bit")


def test_eight_bits_without_bitsandbytes_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="needs bitsandbytes: pip install"):
        stepped("adamw8bit")


def test_eight_bits_are_not_sharded():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        dealt = nn.Parameter(distribute_tensor(torch.zeros(64, 80), mesh, [Replicate()]))
        with pytest.raises(ConfigError, match="cannot be sharded; launch without --use_fsdp"):
            adamw([dealt], replace(OPTIONS, optimizer="adamw8bit"), 1e-2)
    finally:
        torch.distributed.destroy_process_group()
