"""Decoder layers dealt out over processes: FSDP2 (`torch.distributed.fsdp.fully_shard`).

Each process keeps 1/n of every decoder layer, of its gradient and of its optimiser state; a layer is put together when
a pass reaches it and taken apart behind. The layers are where the weights are, and every pass runs through each of them
once. What stands around them is called by need (encoders where there are media, the head once for each piece of a
chunk) and stays whole on each process, its gradients summed as without sharding. So does a decoder that is frozen.

Layers are put together by all processes at once, however unequal their work. So the learner gives all the same number
of passes (`learner.evened`), and whatever runs the network for itself (rollouts, checks) does so within
`whole`, where no layer has to be asked for.
"""

# torch ships partial types; what they leave unknown is not ours to annotate.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from auscult.core.errors import ConfigError
from auscult.models.listener import Listener


def shard(listener: Listener, count: int) -> None:
    """Deals out the decoder layers over `count` processes, if any of them learns.

    Raises ConfigError where they are held in 4 bits, which cannot be dealt out."""
    stack, layers = _decoder(listener)
    if not any(parameter.requires_grad for parameter in layers.parameters()):
        return
    if any(parameter.dtype == torch.uint8 for parameter in layers.parameters()):
        raise ConfigError("weights in 4 bits cannot be sharded; launch without --use_fsdp, or set model.weights")
    mesh = init_device_mesh(listener.device.type, (count,))
    dealt = [fully_shard(layer, mesh=mesh, reshard_after_forward=True) for layer in layers]
    around = set(stack.parameters()) - set(layers.parameters())
    root = fully_shard(stack, mesh=mesh, reshard_after_forward=True, ignored_params=around)
    for before, layer in zip([dealt[0], *dealt], dealt, strict=False):
        # The weights of a loss are the whole batch's, so its gradient is a sum: no mean, on no backend.
        layer.set_gradient_divide_factor(1.0)
        layer.set_force_sum_reduction_for_comms(True)
        # FSDP2's own guess remembers passes of rollouts, which are not equally many on all processes.
        layer.set_modules_to_backward_prefetch([before])
    root.set_reshard_after_forward(True)


@contextmanager
def whole(listener: Listener) -> Generator[None]:
    """Within, every process holds the whole network as ordinary parameters, and passes exchange nothing. All processes
    enter together. Gradients are not meant to be made here."""
    dealt = [module for module in listener.model.modules() if isinstance(module, FSDPModule)]
    for module in dealt:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in dealt:
            module.reshard()
            module.set_reshard_after_forward(True, recurse=False)


def whole_state(listener: Listener) -> dict[str, Tensor] | None:
    """The weights to save where layers are dealt out, whole; None where the listener has them. All processes ask
    together."""
    state = listener.model.state_dict()
    if not any(map(is_sharded, state.values())):
        return None
    return {name: gathered(value.detach()).cpu() for name, value in state.items()}


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only its share of it."""
    return isinstance(tensor, DTensor)


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a tensor; all processes ask together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def dealt_like(value: Tensor, model: Tensor) -> Tensor:
    """A whole tensor, known to every process, dealt out as `model` is."""
    if not isinstance(model, DTensor):
        return value
    return distribute_tensor(value, model.device_mesh, model.placements, src_data_rank=None)


def own(tensor: Tensor) -> Tensor:
    """The memory of this process's share."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def clip_norm_(parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
    """The norm of all gradients, sharded and whole, which are scaled down to `limit`."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not any(map(is_sharded, gradients)):
        return torch.nn.utils.clip_grad_norm_(parameters, limit)
    parts = [[gradient for gradient in gradients if is_sharded(gradient) == kind] for kind in (True, False)]
    norm = torch.stack([gathered(torch.nn.utils.get_total_norm(part)) for part in parts if part]).norm()
    if norm > limit:
        for gradient in gradients:
            gradient.mul_(limit / norm.item())
    return norm


def _decoder(listener: Listener) -> tuple[nn.Module, nn.ModuleList]:
    """The stack of the language model, and its layers."""
    for part in listener.part("language"):
        for module in part.modules():
            layers = getattr(module, "layers", None)
            if isinstance(layers, nn.ModuleList):
                return module, layers
    raise ConfigError("no decoder layers were found to shard in this family; launch without --use_fsdp")
