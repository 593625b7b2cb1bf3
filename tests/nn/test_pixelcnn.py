import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aegean.errors import ConfigError
from aegean.nn.pixelcnn import PixelCNN, PixelCNNConfig

CONDITIONINGS = ["location-invariant", "location-dependent", "input-channel"]


def random_net(config: PixelCNNConfig, condition: int, shape, outputs: int, seed: int = 0) -> PixelCNN:
    """A network whose every weight and bias is random and large enough to matter."""
    torch.manual_seed(seed)
    net = config.build(condition, shape, outputs)
    with torch.no_grad():
        for weight in net.parameters():
            std = 0.5 if weight.ndim == 1 else weight[0].numel() ** -0.5
            weight.normal_(std=std)
    return net


def config(conditioning: str, maps: int = 1, **settings) -> PixelCNNConfig:
    if conditioning != "location-invariant":
        settings |= {"condition_hidden": 9, "condition_maps": maps}
    return PixelCNNConfig(conditioning=conditioning, **settings)


def raster(height: int, width: int) -> tuple[Tensor, Tensor]:
    positions = torch.arange(height * width)
    return positions // width, positions % width


def dependences(net: PixelCNN, size: tuple[int, int]) -> Tensor:
    """Whether the output at a pixel (first dimension) has a gradient at a pixel: (h * w, h, w)."""
    rows, columns = raster(*size)
    found = torch.zeros(len(rows), *size, dtype=torch.bool)
    net = net.double()
    for seed in range(8):  # a ReLU may be off for one image, not for all
        generator = torch.Generator().manual_seed(seed)
        image = torch.rand(1, net.shape[0], *size, generator=generator, dtype=torch.float64)
        x = image.repeat(len(rows), 1, 1, 1).requires_grad_()
        z = torch.randn(1, net.condition, generator=generator, dtype=torch.float64).expand(len(rows), -1)
        params = net(x, z if net.condition else None)
        picked = params[torch.arange(len(rows)), :, rows, columns]
        picked.mul(torch.randn(picked.shape, generator=generator)).sum().backward()
        found |= (x.grad != 0).any(dim=1)
    return found


def expected_dependences(size: tuple[int, int], rows: int, columns: int) -> Tensor:
    """Pixels up to `rows` above and `columns` to the side, and up to `columns` left in the same row."""
    i, j = (position[:, None, None] for position in raster(*size))
    k, m = torch.arange(size[0])[None, :, None], torch.arange(size[1])[None, None, :]
    above = (k < i) & (k >= i - rows) & ((m - j).abs() <= columns)
    left = (k == i) & (m < j) & (m >= j - columns)
    return above | left


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("conditioning", [None, *CONDITIONINGS])
def test_a_pixel_depends_on_the_pixels_before_it_and_on_no_other(conditioning, channels, gated):
    settings = config(conditioning or "location-invariant", blocks=3, channels=8, gated=gated)
    net = random_net(settings, 4 if conditioning else 0, (channels, 5, 7), 3)
    everything_before = expected_dependences((5, 7), rows=5, columns=7)
    assert torch.equal(dependences(net, (5, 7)), everything_before)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    ("blocks", "filter", "first_filter"),
    [(0, (3, 5), (2, 5)), (1, (2, 3), (1, 3)), (1, (3, 5), (3, 3)), (3, (1, 3), (2, 3))],
)
def test_the_receptive_field_has_the_stated_size_and_no_blind_spot(blocks, filter, first_filter, gated):
    settings = PixelCNNConfig(blocks=blocks, filter=filter, first_filter=first_filter, channels=16, gated=gated)
    net = random_net(settings, 0, (1, 8, 11), 2)
    expected = expected_dependences((8, 11), net.receptive_rows, net.receptive_columns)
    assert torch.equal(dependences(net, (8, 11)), expected)


def test_three_blocks_reach_nine_rows_as_in_the_paper():
    net = PixelCNNConfig(blocks=3, filter=(3, 5)).build(0, (1, 4, 4), 1)
    assert (net.receptive_rows, net.receptive_columns) == (9, 9)


@pytest.mark.parametrize("gated", [False, True])
def test_it_equals_convolutions_with_masked_kernels(gated):
    net = random_net(PixelCNNConfig(blocks=2, channels=5, gated=gated), 3, (2, 6, 7), 4)
    x, z = torch.rand(2, 2, 6, 7), torch.randn(2, 3)
    biases = net.bias(z)
    v = h = 2 * x - 1
    for k, layer in enumerate(net.layers):
        first = k == 0
        rows, columns = (3, 7) if first else (3, 5)
        width, inputs = layer.vertical.weight.shape[:2]
        # Full kernels with the pixel in the middle; the first ones exclude its row (vertical) or itself.
        full_v = torch.zeros(width, inputs, 2 * rows + 1, columns)
        full_v[:, :, (0 if first else 1) : (rows if first else rows + 1)] = layer.vertical.weight.detach()
        full_h = torch.zeros(width, inputs, 1, columns)
        full_h[..., : columns // 2 + (0 if first else 1)] = layer.horizontal.weight.detach()
        u = F.conv2d(v, full_v, layer.vertical.bias, padding=(rows, columns // 2)) + biases[2 * k]
        g = F.conv2d(h, full_h, layer.horizontal.bias, padding=(0, columns // 2))
        g = g + F.conv2d(u, layer.link.weight) + biases[2 * k + 1]

        def act(a: Tensor) -> Tensor:
            return a[:, :5].tanh() * a[:, 5:].sigmoid() if gated else a.clamp(min=0)

        out = F.conv2d(act(g), layer.out.weight, layer.out.bias)
        v, h = act(u), out if first else h + out
    hidden = F.conv2d(h.clamp(min=0), net.hidden.weight, net.hidden.bias).clamp(min=0)
    expected = F.conv2d(hidden, net.output.weight, net.output.bias)
    torch.testing.assert_close(net(x, z), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("conditioning", ["location-invariant", "location-dependent"])
def test_only_the_location_invariant_bias_is_translation_equivariant(conditioning):
    small = {"blocks": 1, "filter": (2, 3), "first_filter": (2, 3), "channels": 6}
    net = random_net(config(conditioning, **small), 4, (1, 10, 12), 2)
    x, z = torch.rand(2, 1, 10, 12), torch.randn(2, 4)
    moved = torch.roll(net(x, z), (1, 1), dims=(2, 3))
    of_moved = net(torch.roll(x, (1, 1), dims=(2, 3)), z)
    inside = (..., slice(net.receptive_rows + 2, None), slice(net.receptive_columns + 2, -3))
    equal = torch.allclose(moved[inside], of_moved[inside], atol=1e-6)
    assert equal == (conditioning == "location-invariant")


@pytest.mark.parametrize("gated", [False, True])
def test_the_location_invariant_bias_enters_both_stacks_of_every_layer(gated):
    net = random_net(PixelCNNConfig(blocks=2, channels=6, gated=gated), 4, (1, 5, 6), 2)
    biases, _ = net.condition_on(torch.randn(2, 4))
    assert [bias.shape for pair in biases for bias in pair] == [(2, 12 if gated else 6, 1, 1)] * 6
    x, z = torch.rand(2, 1, 5, 6), torch.randn(2, 4)
    net(x, z).square().sum().backward()
    by_layer = net.bias.linear.weight.grad.view(6, -1)  # (layer and stack, width * condition)
    assert (by_layer != 0).any(dim=1).all()


@pytest.mark.parametrize("maps", [1, 3])
def test_the_location_dependent_bias_enters_both_stacks_of_the_first_layer_only(maps):
    net = random_net(config("location-dependent", maps, blocks=2, channels=6), 4, (1, 5, 7), 2)
    biases, spatial = net.condition_on(torch.randn(2, 4))
    assert [bias.shape for bias in biases[0]] == [(2, 1 if maps == 1 else 6, 5, 7)] * 2
    assert biases[1:] == [(None, None)] * 2
    assert spatial is None


def test_the_input_channel_may_be_seen_at_the_pixel_itself_and_after_it_only_to_the_right_above():
    net = random_net(config("input-channel", 2, blocks=2, channels=6), 4, (1, 5, 7), 2).double()
    kept = []
    net.input_map.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    z = torch.randn(1, 4, dtype=torch.float64)
    params = net(torch.rand(1, 1, 5, 7, dtype=torch.float64), z)
    (gradient,) = torch.autograd.grad(params[:, :, 2, 3].sum(), kept)
    assert (gradient[0, :, 2, 3] != 0).all()
    assert (gradient[0, :, 3:] == 0).all()


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("gated", [False, True])
def test_gradients_reach_the_whole_condition(conditioning, gated):
    net = random_net(config(conditioning, blocks=1, channels=6, gated=gated), 4, (1, 5, 7), 2)
    z = torch.randn(3, 4, requires_grad=True)
    net(torch.rand(3, 1, 5, 7), z).square().sum().backward()
    assert (z.grad != 0).all()


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("gated", [False, True])
def test_bfloat16_is_near_float32(conditioning, gated):
    net = random_net(config(conditioning, blocks=2, channels=8, gated=gated), 4, (3, 6, 7), 30)
    x, z = torch.rand(4, 3, 6, 7), torch.randn(4, 4)
    exact = net(x, z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(x, z)
    rounded.float().sum().backward()
    assert rounded.dtype == torch.bfloat16
    assert rounded.is_contiguous(memory_format=torch.channels_last)
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()


def test_a_seed_fixes_the_weights():
    def weights() -> dict[str, Tensor]:
        torch.manual_seed(3)
        return config("location-dependent", 2, blocks=1).build(2, (1, 4, 4), 1).state_dict()

    one, other = weights(), weights()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_vertical_stack_does_not_fade_with_depth(monkeypatch):
    monkeypatch.setenv("AEGEAN_KERNELS", "off")  # which call no layer, and so no hook
    torch.manual_seed(0)
    net = PixelCNNConfig(blocks=20).build(0, (1, 28, 28), 1)
    kept = []
    for layer in net.layers:
        layer.vertical.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    net(torch.rand(4, 1, 28, 28))
    variation = [output.std(dim=(0, 2, 3)).mean() for output in kept]  # not that between feature maps
    assert variation[-1] > 0.1 * variation[1]


@pytest.mark.parametrize("columns", [1, 4])
def test_filters_without_a_middle_column_or_a_left_one_are_refused(columns):
    with pytest.raises(ConfigError, match=r"first_filter is 3 by \d; it needs"):
        PixelCNNConfig(first_filter=(3, columns))


def test_settings_without_effect_are_refused():
    with pytest.raises(ConfigError, match="condition_maps has no effect"):
        PixelCNNConfig(conditioning="location-invariant", condition_maps=2)


@pytest.mark.parametrize(("built_for", "given"), [(3, None), (0, 3), (3, 2)])
def test_a_wrong_condition_is_refused(built_for, given):
    net = PixelCNNConfig(blocks=1).build(built_for, (1, 4, 4), 1)
    with pytest.raises(ConfigError, match=f"condition of {built_for} numbers, not {given or 0}"):
        net(torch.rand(2, 1, 4, 4), None if given is None else torch.randn(2, given))


def test_impossible_sizes_are_refused():
    with pytest.raises(ConfigError, match="at least one pixel"):
        PixelCNNConfig().build(2, (1, 0, 4), 1)


def test_settings_survive_a_file():
    settings = config("location-dependent", 2, filter=(2, 3), gated=True)
    assert PixelCNNConfig.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize("gated", [False, True])
def test_checkpoints_keep_less_and_change_no_gradient(gated):
    x, z = torch.rand(8, 1, 9, 7), torch.randn(8, 3)
    results, kept = [], []
    for checkpoint in (False, True):
        torch.manual_seed(0)
        net = PixelCNNConfig(blocks=5, channels=8, gated=gated, checkpoint=checkpoint).build(3, (1, 9, 7), 2)
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.update({t.data_ptr(): t.numel()}) or t, lambda t: t
        ):
            loss = net(x, z).square().sum()
        kept.append(sum(sizes.values()))
        results.append(torch.autograd.grad(loss, list(net.parameters())))
    assert kept[1] < 0.6 * kept[0]
    for plain, again in zip(*results, strict=True):
        torch.testing.assert_close(plain, again)
