"""The kernels in C++ against PyTorch's operations."""

import copy

import pytest
import torch
from torch import nn

from aegean.nn import PixelCNNConfig, kernels
from aegean.nn.kernels import causal_layers
from aegean.nn.kernels.batch_norm_relu import BatchNormReLU
from aegean.nn.kernels.max_pool import MaxPoolHalf

needs_kernels = pytest.mark.skipif(
    not causal_layers.available(32), reason="no C++ compiler here, or no bfloat16 instructions"
)

SHAPE = (2, 11, 7)


def build(conditioning="location-invariant", condition=4, **settings):
    torch.manual_seed(0)
    net = PixelCNNConfig(blocks=3, conditioning=conditioning, **settings).build(condition, SHAPE, 5)
    for weight in net.parameters():
        if weight.dim() == 1:
            nn.init.normal_(weight, std=0.1)
    return net


def gradients(net, x, z, g, monkeypatch, *, kernel, precision=torch.bfloat16):
    monkeypatch.setenv("AEGEAN_KERNELS", "on" if kernel else "off")
    inputs = [weight for weight in net.parameters() if weight.requires_grad]
    if z is not None:
        z = z.clone().requires_grad_()
        inputs.append(z)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        y = net(x, z).float()
    return [y.detach(), *torch.autograd.grad((y * g).sum(), inputs)]


def whole_numbers(net, share):
    """Weights of -1, 0 and 1, so few that bfloat16 holds every sum exactly."""
    generator = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        signs = torch.randint(0, 2, weight.shape, generator=generator) * 2.0 - 1
        weight.data = (torch.rand(weight.shape, generator=generator) < share) * signs
    return net


@needs_kernels
@pytest.mark.parametrize("condition", [0, 4])
@pytest.mark.parametrize("settings", [{}, {"channels": 64}, {"filter": (2, 3)}, {"filter": (1, 7), "blocks": 1}])
def test_blocks_equal_pytorch_where_bfloat16_is_exact(settings, condition, monkeypatch):
    torch.manual_seed(0)
    config = PixelCNNConfig(**{"blocks": 2, **settings})
    net = whole_numbers(config.build(condition, SHAPE, 5), share=0.5 / config.channels)
    x, g = torch.randint(0, 2, (3, *SHAPE)).float(), torch.randint(-1, 2, (3, 5, 11, 7)).float()
    z = torch.randint(-1, 2, (3, condition)).float() if condition else None
    with_kernel = gradients(net, x, z, g, monkeypatch, kernel=True)
    expected = gradients(net, x, z, g, monkeypatch, kernel=False, precision=torch.float32)
    assert max(float(value.abs().max()) for value in expected) > 8  # not all zeros
    for found, value in zip(with_kernel, expected, strict=True):
        assert torch.equal(found.float(), value)


@needs_kernels
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    ("conditioning", "condition"), [("location-invariant", 4), ("location-dependent", 3), ("input-channel", 3)]
)
def test_blocks_are_as_exact_as_pytorch_in_bfloat16(gated, conditioning, condition, monkeypatch):
    net = build(conditioning, condition, gated=gated)
    x, z, g = torch.rand(5, *SHAPE), torch.randn(5, condition), torch.randn(5, 5, 11, 7)
    exact = gradients(net, x, z, g, monkeypatch, kernel=False, precision=torch.float32)
    with_kernel = gradients(net, x, z, g, monkeypatch, kernel=True)
    without = gradients(net, x, z, g, monkeypatch, kernel=False)
    names = ["output", *(name for name, _ in net.named_parameters()), "condition"]

    def errors(values):
        return {
            name: float((value - truth).norm() / truth.norm())
            for name, value, truth in zip(names, values, exact, strict=True)
        }

    ours, theirs = errors(with_kernel), errors(without)
    assert ours["output"] < 0.01
    for name in names:
        assert ours[name] < 2 * theirs[name] + 0.02, (name, ours[name], theirs[name])


@needs_kernels
def test_gated_units_saturate(monkeypatch):
    """Large pre-activations lead to no more than PyTorch's errors, and to no gradient that is not a number."""
    net = build(gated=True)
    with torch.no_grad():
        for layer in net.causal_layers:
            layer.vertical.weight *= 100
            layer.horizontal.weight *= 100
    x, z, g = torch.rand(2, *SHAPE), torch.randn(2, 4), torch.randn(2, 5, 11, 7)
    found = gradients(net, x, z, g, monkeypatch, kernel=True)
    exact = gradients(net, x, z, g, monkeypatch, kernel=False, precision=torch.float32)
    assert all(torch.isfinite(value).all() for value in found)
    without = gradients(net, x, z, g, monkeypatch, kernel=False)
    assert (found[0] - exact[0]).norm() < 1.5 * (without[0] - exact[0]).norm()


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_blocks_do_not_depend_on_the_number_of_threads(threads, monkeypatch):
    net = build()
    x, z, g = torch.rand(4, *SHAPE), torch.randn(4, 4), torch.randn(4, 5, 11, 7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = gradients(net, x, z, g, monkeypatch, kernel=True)
        torch.set_num_threads(1)
        alone = gradients(net, x, z, g, monkeypatch, kernel=True)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(found, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@needs_kernels
def test_a_pixel_depends_on_no_pixel_at_or_after_it(monkeypatch):
    monkeypatch.setenv("AEGEAN_KERNELS", "on")
    net, z = build().eval(), torch.randn(1, 4)
    x = torch.rand(1, *SHAPE)
    changed = x.clone()
    changed[:, :, 5, 3] = 1 - changed[:, :, 5, 3]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        difference = (net(x, z) - net(changed, z)).abs().amax(dim=1).flatten()
    assert difference[: 5 * 7 + 4].max() == 0
    assert difference[5 * 7 + 4 :].max() > 0


@needs_kernels
def test_training_memory_does_not_grow_with_the_blocks(monkeypatch):
    """All that is kept for the backward pass are the inputs of the first block."""
    monkeypatch.setenv("AEGEAN_KERNELS", "on")

    def kept(blocks):
        net = PixelCNNConfig(blocks=blocks).build(0, SHAPE, 5)
        sizes = []
        with (
            torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t),
            torch.autocast("cpu", dtype=torch.bfloat16),
        ):
            net(torch.rand(50, *SHAPE))
        return sum(sizes) - 2 * sum(weight.numel() for weight in net.parameters())

    assert kept(9) <= kept(3) + 1000


def test_without_kernels_pytorch_does_it(monkeypatch):
    monkeypatch.setenv("AEGEAN_KERNELS", "off")
    assert not causal_layers.available(32)
    x = torch.randn(4, 16, 3, 3).bfloat16().contiguous(memory_format=torch.channels_last)
    assert not kernels.takes(x, "max_pool")
    monkeypatch.setenv("AEGEAN_KERNELS", "on")
    assert kernels.takes(x, "max_pool") == (kernels.library("max_pool") is not None)


def test_a_compiler_that_fails_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setattr(kernels.pooch, "os_cache", lambda name: tmp_path)
    monkeypatch.setenv("CXX", "false")
    kernels.library.cache_clear()
    try:
        assert kernels.library("batch_norm_relu") is None
        assert not list(tmp_path.rglob("*.so"))
    finally:
        kernels.library.cache_clear()


# ---- batch normalisation ---------------------------------------------------------------------------------------------


@needs_kernels
@pytest.mark.parametrize("threads", [1, 3])
def test_batch_norm_relu_equals_its_definition(threads, monkeypatch):
    monkeypatch.setenv("AEGEAN_KERNELS", "on")
    torch.manual_seed(0)
    layer = BatchNormReLU(32)
    nn.init.normal_(layer.weight, 1, 0.3)
    nn.init.normal_(layer.bias)
    reference = nn.BatchNorm2d(32).double()
    reference.load_state_dict(layer.state_dict())
    x = (3 * torch.randn(20, 32, 9, 7) + 50).bfloat16().contiguous(memory_format=torch.channels_last)
    g = torch.randn(x.shape).bfloat16()
    assert kernels.takes(x, "batch_norm_relu")
    found, expected = x.clone().requires_grad_(), x.double().requires_grad_()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y = layer(found)
        grads = torch.autograd.grad(y, [found, layer.weight, layer.bias], g)
    finally:
        torch.set_num_threads(before)
    y_expected = reference(expected).relu()
    expected_grads = torch.autograd.grad(y_expected, [expected, reference.weight, reference.bias], g.double())
    for a, b in zip((y, *grads), (y_expected, *expected_grads), strict=True):
        assert (a.double() - b).norm() < 4e-3 * b.norm()  # the rounding of bfloat16
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(layer, name).double(), getattr(reference, name))
    assert layer.num_batches_tracked == 1


def test_batch_norm_relu_in_float32_is_pytorchs_own():
    torch.manual_seed(0)
    layer = BatchNormReLU(16)
    reference = copy.deepcopy(layer)
    x = torch.randn(4, 16, 5, 5)
    assert torch.equal(layer(x), nn.BatchNorm2d.forward(reference, x).relu())
    layer.eval()
    assert torch.equal(layer(x), nn.BatchNorm2d.forward(reference.eval(), x).relu())


# ---- max-pooling -----------------------------------------------------------------------------------------------------


@needs_kernels
@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 4), (3, 1)])
def test_max_pool_equals_pytorchs_with_ties(size, monkeypatch):
    torch.manual_seed(0)
    values = torch.randint(-2, 3, (5, 32, *size)).bfloat16().contiguous(memory_format=torch.channels_last)
    x = values.requires_grad_()
    results = []
    for kernel in ("on", "off"):
        monkeypatch.setenv("AEGEAN_KERNELS", kernel)
        y = MaxPoolHalf()(x)
        results.append((y, *torch.autograd.grad((y * torch.arange(y.numel()).view_as(y)).sum(), x)))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)
