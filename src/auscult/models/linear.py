"""Linear layers on processors of which torch's usual matrix product leaves half unused.

On a CPU torch multiplies float32 matrices by Intel's MKL, which on AMD's processors runs at the rate of AVX2. oneDNN,
which comes with torch too, uses their AVX-512 in the same precision and is twice as fast (docs/performance.md).
`quicken` turns a model's linear layers to it where that is so, and only there; which of the two computes a product
hangs on its shape alone, so that the same seed gives the same numbers.

Letters: M rows of all leading dimensions, K features in, N features out.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Net = TypeVar("Net", bound=nn.Module)
LEAST = 2**24
"""Multiply-adds (M x K x N) from which oneDNN computes. With a shape that it knows it is the faster one from 2^21 on;
but of a new shape it first makes a program, in half a millisecond, and the lengths of replies make many shapes."""


@cache
def gains() -> bool:
    """Whether this processor is one that MKL neglects: AMD's with AVX-512, and a torch that has oneDNN."""
    processor = torch.cpu.get_capabilities()
    neglected = "AMD" in processor.get("cpu_name", "") and processor.get("avx512_f", False)
    return bool(neglected) and torch.backends.mkldnn.is_available()


class Linear(nn.Linear):
    """torch's layer, with the same parameters and, to rounding, the same results and gradients (first ones only)."""

    def forward(self, input: Tensor) -> Tensor:
        """Features [..., K] -> [..., N]."""
        weight, bias = self.weight, self.bias
        if not _suited(input, weight):
            return functional.linear(input, weight, bias)
        learns = input.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
        if learns and torch.is_grad_enabled():
            return _Product.apply(input, weight, bias)
        return _product(input, weight, bias)


def quicken(model: Net) -> Net:
    """The model itself, its plain linear layers turned into ours where this processor gains by it. Layers that are
    something else already (4 bits, an adapter's own) stay what they are, and names of weights do not change."""
    if gains():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = Linear
    return model


def _suited(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN takes this product, and is the faster one."""
    return (
        x.numel() * weight.shape[0] >= LEAST
        and x.shape[-1] == weight.shape[1]  # torch says what is wrong otherwise
        and x.dtype == weight.dtype == torch.float32
        and x.is_cpu
        and type(weight) in (nn.Parameter, Tensor)  # no shard of a weight that several processes hold
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., K] by weight [N, K] of any strides, plus bias [N] -> [..., N]."""
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


class _Product(torch.autograd.Function):
    """The product with its gradient; keeps of both factors what the other's gradient needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        left, right, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if right else None, weight if left else None)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        left, right, offset = ctx.needs_input_grad
        rows = slope.reshape(-1, slope.shape[-1])
        return (
            _product(slope, weight.t(), None) if left else None,
            _product(rows.t(), x.reshape(-1, x.shape[-1]).t(), None) if right else None,
            rows.sum(0) if offset else None,
        )
