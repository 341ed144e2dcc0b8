"""Linear layers by oneDNN: torch's results and gradients, where it is the faster one and nowhere else."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from auscult.models import linear
from auscult.models.linear import LEAST, Linear, quicken

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN")


@pytest.fixture(autouse=True)
def neglected(monkeypatch):
    """A processor that MKL neglects, whichever this one is: oneDNN computes on all of them."""
    monkeypatch.setattr(linear, "gains", lambda: True)


class Calls(TorchDispatchMode):
    """Names of the operators that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.name())
        return function(*args, **(kwargs or {}))


def products(run) -> int:
    """How many products oneDNN computed."""
    with Calls() as calls:
        run()
    return calls.names.count("mkldnn::_linear_pointwise")


def kept(layer, x) -> int:
    """Bytes that autograd keeps of a pass, the layer's weights aside."""
    found: dict[int, int] = {}

    def pack(tensor):
        found[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return sum(size for place, size in found.items() if place != layer.weight.data_ptr())


def twins(features: int, out: int, bias: bool = True) -> tuple[nn.Linear, Linear]:
    plain = nn.Linear(features, out, bias)
    return plain, quicken(copy.deepcopy(plain))


@given(
    leading=st.lists(st.integers(1, 5), max_size=3),
    features=st.integers(1, 40),
    out=st.integers(1, 40),
    bias=st.booleans(),
    learns=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    swapped=st.booleans(),
)
def test_results_and_gradients_are_those_of_torch(leading, features, out, bias, learns, swapped):
    plain, ours = twins(features, out, bias)
    x = torch.randn(*leading, features)
    if swapped and len(leading) > 1:
        x = x.transpose(0, 1)  # strides that are not those of a new tensor
    results = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(linear, "LEAST", 0)
        for layer in (plain, ours):
            layer.weight.requires_grad_(learns[0])
            if bias:
                layer.bias.requires_grad_(learns[2])
            given = x.detach().clone(memory_format=torch.preserve_format).requires_grad_(learns[1])
            y = layer(given)
            assert y.requires_grad == (learns[0] or learns[1] or (bias and learns[2]))
            if y.requires_grad:
                y[..., :1].expand_as(y).square().sum().backward()  # a slope of odd strides
            results.append([y, given.grad, *(p.grad for p in layer.parameters())])
    for expected, found in zip(*results, strict=True):
        assert (expected is None) == (found is None)
        if expected is not None:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * features**0.5)


def test_large_products_are_onednn_s_and_small_ones_are_torch_s():
    _, ours = twins(256, 256)
    assert LEAST == 256 * 256 * 256
    x = torch.randn(256, 256, requires_grad=True)
    assert products(lambda: ours(x)) == 1
    assert products(lambda: ours(x).sum().backward()) == 3
    assert products(lambda: ours(x[:255])) == 0
    with torch.inference_mode():
        assert products(lambda: ours(x)) == 1


def test_other_types_are_torch_s():
    _, ours = twins(256, 256)
    x = torch.randn(256, 256)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16
        assert products(lambda: ours(x)) == 0
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        ours(torch.randn(256, 300))
    double = ours.double()
    assert products(lambda: double(x.double())) == 0
    with pytest.raises(RuntimeError, match="dtype"):
        double(x)  # torch's own complaint


def test_no_more_is_kept_for_gradients_than_torch_keeps():
    for learns, gives in ((True, True), (True, False), (False, True)):
        plain, ours = twins(256, 256)
        x = torch.randn(256, 256)
        kept_by = []
        for layer in (plain, ours):
            layer.requires_grad_(learns)
            kept_by.append(kept(layer, x.clone().requires_grad_(gives)))
        assert kept_by[1] == kept_by[0] == (x.nbytes if learns else 0), (learns, gives)


def test_a_second_gradient_is_refused_and_not_wrong():
    _, ours = twins(256, 256)
    x = torch.randn(256, 256, requires_grad=True)
    (slope,) = torch.autograd.grad(ours(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_a_weight_changed_between_pass_and_gradient_is_noticed():
    _, ours = twins(256, 256)
    y = ours(torch.randn(256, 256, requires_grad=True)).sum()
    with torch.no_grad():
        ours.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_only_plain_layers_change_and_their_names_do_not():
    class Other(nn.Linear):
        pass

    model = nn.ModuleDict({"plain": nn.Linear(4, 4), "other": Other(4, 4), "norm": nn.LayerNorm(4)})
    names = list(model.state_dict())
    assert quicken(model) is model
    assert [type(layer) for layer in model.values()] == [Linear, Other, nn.LayerNorm]
    assert list(model.state_dict()) == names
    assert type(copy.deepcopy(model)["plain"]) is Linear


def test_nothing_changes_where_nothing_is_gained(monkeypatch):
    monkeypatch.setattr(linear, "gains", lambda: False)
    assert type(quicken(nn.Linear(4, 4))) is nn.Linear


def test_adapters_lie_over_quick_layers():
    model = nn.ModuleDict({"q_proj": nn.Linear(512, 512)})
    reference = copy.deepcopy(model)
    for net in (model, reference):
        torch.manual_seed(0)
        inject_adapter_in_model(LoraConfig(r=8, target_modules=["q_proj"], init_lora_weights=False), net)
    quicken(model)
    x = torch.randn(64, 512)
    assert products(lambda: model["q_proj"](x)) == 1  # the base's; the adapter's own are too small
    torch.testing.assert_close(model["q_proj"](x), reference["q_proj"](x), rtol=1e-5, atol=1e-5)
