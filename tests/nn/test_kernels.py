"""The kernels in C++ against PyTorch's operations."""

import copy
import logging

import pytest
import torch
from torch import nn

from aegean.cli.show import announce_waits
from aegean.nn import PixelCNNConfig, kernels
from aegean.nn.kernels import causal_layers
from aegean.nn.kernels.batch_norm_relu import BatchNormReLU
from aegean.nn.kernels.max_pool import MaxPoolHalf

needs_kernels = pytest.mark.skipif(
    not causal_layers.available(32), reason="no C++ compiler here, or no bfloat16 instructions"
)
needs_float32 = pytest.mark.skipif(
    not causal_layers.available(32, torch.float32), reason="no C++ compiler here, or no AVX2"
)
has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"

#: A kernel's format and the instructions that it is made of.
VARIANTS = [
    pytest.param((torch.bfloat16, "any"), marks=needs_kernels, id="bfloat16"),
    pytest.param((torch.float32, "AVX2"), marks=needs_float32, id="float32-avx2"),
    pytest.param(
        (torch.float32, "AVX512"),
        marks=[needs_float32, pytest.mark.skipif(not has_avx512, reason="no AVX512")],
        id="float32-avx512",
    ),
]

SHAPE = (2, 11, 7)


@pytest.fixture
def dtype(request, monkeypatch):
    """The format of a variant, whose instructions are the ones that kernels are compiled for."""
    found, instructions = request.param
    if instructions != "any":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    _forget_libraries()
    yield found
    _forget_libraries()


def _forget_libraries():
    kernels.library.cache_clear()
    causal_layers._library.cache_clear()


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


@pytest.mark.parametrize("dtype", VARIANTS, indirect=True)
@pytest.mark.parametrize("condition", [0, 4])
@pytest.mark.parametrize(
    "settings", [{}, {"channels": 64}, {"filter": (2, 3)}, {"filter": (1, 7), "blocks": 1}, {"checkpoint": True}]
)
def test_blocks_equal_pytorch_where_both_are_exact(dtype, settings, condition, monkeypatch):
    torch.manual_seed(0)
    config = PixelCNNConfig(**{"blocks": 2, **settings})
    net = whole_numbers(config.build(condition, SHAPE, 5), share=0.5 / config.channels)
    x, g = torch.randint(0, 2, (3, *SHAPE)).float(), torch.randint(-1, 2, (3, 5, 11, 7)).float()
    z = torch.randint(-1, 2, (3, condition)).float() if condition else None
    with_kernel = gradients(net, x, z, g, monkeypatch, kernel=True, precision=dtype)
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


@pytest.mark.parametrize("dtype", VARIANTS[1:], indirect=True)
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((2, 11, 7), {"conditioning": "location-invariant"}),
        ((2, 11, 7), {"conditioning": "location-dependent", "blocks": 1}),
        ((1, 3, 5), {"conditioning": "input-channel", "gated": False}),
        ((1, 1, 1), {}),
        ((3, 2, 70), {"channels": 64, "gated": False}),
        ((1, 28, 28), {"filter": (2, 3), "first_filter": (4, 7), "checkpoint": True}),
    ],
)
def test_float32_blocks_are_as_exact_as_pytorch(dtype, shape, settings, monkeypatch):
    torch.manual_seed(0)
    net = PixelCNNConfig(**{"blocks": 2, "gated": True, **settings}).build(3, shape, 5)
    x, z, g = torch.rand(3, *shape), torch.randn(3, 3), torch.randn(3, 5, *shape[1:])
    found = gradients(net, x, z, g, monkeypatch, kernel=True, precision=dtype)
    exact = copy.deepcopy(net).double()
    expected = gradients(exact, x.double(), z.double(), g.double(), monkeypatch, kernel=False, precision=dtype)
    for value, truth in zip(found, expected, strict=True):
        assert (value - truth).norm() <= 3e-6 * truth.norm()


@pytest.mark.parametrize("dtype", VARIANTS[1:], indirect=True)
def test_float32_gates_are_exact_at_all_sizes(dtype, monkeypatch):
    """A network that is nothing but the gates of its first layer, with arguments made without rounding."""
    monkeypatch.setenv("AEGEAN_KERNELS", "on")
    net = PixelCNNConfig(blocks=1, gated=True).build(2, (1, 1, 3), 32)
    for weight in net.parameters():
        nn.init.zeros_(weight)
    first, powers = net.causal_layers[0], 2.0 ** torch.arange(-27, 5)
    bias = torch.zeros(4, 2, 64)  # layers x stacks, condition, width
    bias[1, 0, :32], bias[1, 1, 32:] = powers, powers
    with torch.no_grad():
        next(net.bias.parameters()).copy_(bias.permute(0, 2, 1).flatten(0, 1))
        for layer in (first.out, net.hidden, net.output):
            layer.weight[:, :, 0, 0] = torch.eye(32)
        a, b = torch.cartesian_prod(torch.arange(1, 32) / 16.0, torch.arange(-31, 32) / 16.0).unbind(1)
        found = net(torch.rand(len(a), 1, 1, 3), torch.stack((a, b), dim=1))[:, :, 0, 1]
    a, b = a.double()[:, None] * powers, b.double()[:, None] * powers
    expected = torch.tanh(a) * torch.sigmoid(b)
    assert expected.min() < 1e-13
    assert ((found - expected) / expected).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", VARIANTS[1:], indirect=True)
def test_float32_kernels_let_through_what_is_not_a_number(dtype, monkeypatch):
    monkeypatch.setenv("AEGEAN_KERNELS", "on")
    for gated in (False, True):
        net, x = build(gated=gated), torch.rand(2, *SHAPE)
        x[1, 0, 4, 4] = torch.nan
        with torch.no_grad():
            y = net(x, torch.zeros(2, 4))
        assert torch.isfinite(y[0]).all()
        assert torch.isnan(y[1, :, -1]).any()


@pytest.mark.parametrize("dtype", VARIANTS[1:], indirect=True)
def test_float32_keeps_less_for_the_backward_pass_if_asked(dtype, monkeypatch):
    monkeypatch.setenv("AEGEAN_KERNELS", "on")

    def kept(**settings):
        net, sizes = PixelCNNConfig(blocks=3, **settings).build(0, SHAPE, 5), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            net(torch.rand(50, *SHAPE))
        return sum(sizes)

    inputs, layer = 50 * 2 * 77, 50 * 77 * (2 * 32 + 32)
    assert kept() - kept(checkpoint=True) == 4 * layer > 10 * inputs


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


@pytest.mark.parametrize("dtype", VARIANTS, indirect=True)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_blocks_do_not_depend_on_the_number_of_threads(dtype, threads, monkeypatch):
    net = build()
    x, z, g = torch.rand(4, *SHAPE), torch.randn(4, 4), torch.randn(4, 5, 11, 7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = gradients(net, x, z, g, monkeypatch, kernel=True, precision=dtype)
        torch.set_num_threads(1)
        alone = gradients(net, x, z, g, monkeypatch, kernel=True, precision=dtype)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(found, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", VARIANTS, indirect=True)
def test_a_pixel_depends_on_no_pixel_at_or_after_it(dtype, monkeypatch):
    monkeypatch.setenv("AEGEAN_KERNELS", "on")
    net, z = build().eval(), torch.randn(1, 4)
    x = torch.rand(1, *SHAPE)
    changed = x.clone()
    changed[:, :, 5, 3] = 1 - changed[:, :, 5, 3]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
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
    assert not causal_layers.available(32, torch.float32)
    x = torch.randn(4, 16, 3, 3).bfloat16().contiguous(memory_format=torch.channels_last)
    assert not kernels.takes(x, "max_pool")
    monkeypatch.setenv("AEGEAN_KERNELS", "on")
    assert kernels.takes(x, "max_pool") == (kernels.library("max_pool") is not None)


def test_flags_are_those_of_the_processor(monkeypatch):
    monkeypatch.setattr(kernels.platform, "system", lambda: "Linux")
    monkeypatch.setattr(kernels.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    for capability, flag in (("AVX512", "-mavx512f"), ("AVX2", "-mavx2")):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        assert flag in kernels.processor_flags(torch.float32)
        assert not any("bf16" in part for part in kernels.processor_flags(torch.float32))
        assert kernels.processor_flags(torch.bfloat16) is None
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert kernels.processor_flags(torch.float32) is None
    monkeypatch.setattr(kernels.platform, "machine", lambda: "arm64")
    assert kernels.processor_flags(torch.float32) is None


def test_a_compiler_that_fails_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setattr(kernels.pooch, "os_cache", lambda name: tmp_path)
    monkeypatch.setenv("CXX", "false")
    kernels.library.cache_clear()
    try:
        assert kernels.library("batch_norm_relu") is None
        assert not list(tmp_path.rglob("*.so"))
    finally:
        kernels.library.cache_clear()


@needs_float32
def test_the_command_line_says_once_that_kernels_are_compiled(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(kernels.pooch, "os_cache", lambda name: tmp_path)
    monkeypatch.setattr(kernels, "_compile", lambda command, sources, file: None)
    logger = logging.getLogger(kernels.__name__)
    before = logger.level, logger.handlers
    _forget_libraries()
    try:
        kernels.library("max_pool", torch.float32)
        assert capsys.readouterr() == ("", "")  # the library itself says nothing
        announce_waits()
        kernels.library("causal_pixel", torch.float32)
        kernels.library("causal_layers", torch.float32)
        out, err = capsys.readouterr()
    finally:
        logger.setLevel(before[0])
        logger.handlers = before[1]
        _forget_libraries()
    assert (out, err.count("compiling kernels"), err.count("\n")) == ("", 1, 1)


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
