"""Which optimiser the options name, and where it cannot be."""

import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, distribute_tensor
from torch.optim import Optimizer

from auscult.core.errors import ConfigError
from auscult.train.optimizer import adamw, put_back, state_of
from auscult.train.options import Train

OPTIONS = Train(weight_decay=0.1)


def begun(kind: str) -> tuple[list[nn.Parameter], Optimizer]:
    """Two matrices and a vector, with their optimiser."""
    generator = torch.Generator().manual_seed(0)
    found = [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((64, 80), (80, 90), (80,))]
    return found, adamw(found, replace(OPTIONS, optimizer=kind), 1e-2)


def step(parameters: list[nn.Parameter], optimizer: Optimizer, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator)
    optimizer.step()


def test_eight_bits_go_nearly_where_thirty_two_go_and_small_parameters_go_the_same_way():
    """Their rule is one: betas, decay of matrices only, rate."""
    (plain, exact), (bytes_, rough) = begun("adamw"), begun("adamw8bit")
    for number in range(5):
        step(plain, exact, number)
        step(bytes_, rough, number)
    assert 0 < (bytes_[0] - plain[0]).norm() < 0.01 * plain[0].norm()
    torch.testing.assert_close(bytes_[2], plain[2])


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit"])
def test_what_is_remembered_goes_through_a_file_and_the_next_step_is_the_same(kind):
    (first, one), (second, other) = begun(kind), begun(kind)
    for number in range(3):
        step(first, one, number)
    kept = {f"{number}.{key}": t for number, p in enumerate(first) for key, t in state_of(one, p).items()}
    back = load(save(kept))
    for number, (p, q) in enumerate(zip(first, second, strict=True)):
        q.data.copy_(p.data)
        put_back(other, q, {key[2:]: t for key, t in back.items() if key.startswith(f"{number}.")})
    step(first, one, 3)
    step(second, other, 3)
    assert all(torch.equal(p, q) for p, q in zip(first, second, strict=True))


def test_pages_without_a_gpu_are_refused():
    with pytest.raises(ConfigError, match=r"on a CPU set train\.optimizer: adamw8bit"):
        begun("paged_adamw8bit")


def test_eight_bits_without_bitsandbytes_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="needs bitsandbytes: pip install"):
        begun("adamw8bit")


def test_eight_bits_are_not_sharded():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        dealt = nn.Parameter(distribute_tensor(torch.zeros(64, 80), mesh, [Replicate()]))
        with pytest.raises(ConfigError, match="cannot be sharded; launch without --use_fsdp"):
            adamw([dealt], replace(OPTIONS, optimizer="adamw8bit"), 1e-2)
    finally:
        torch.distributed.destroy_process_group()
