import pytest
import torch

from aegean.nn.conditioning import LocationDependentBias, LocationInvariantBias, SpatialMap


def test_a_location_invariant_bias_is_linear_and_has_a_part_for_each_layer():
    bias = LocationInvariantBias(3, [4, 2])
    z, other = torch.randn(5, 3), torch.randn(5, 3)
    first, second = bias(z)
    assert first.shape == (5, 4, 1, 1)
    assert second.shape == (5, 2, 1, 1)
    weight = bias.linear.weight
    torch.testing.assert_close(first[:, :, 0, 0], z @ weight[:4].T)
    torch.testing.assert_close(second[:, :, 0, 0], z @ weight[4:].T)
    torch.testing.assert_close(bias(z + 2 * other)[1], second + 2 * bias(other)[1])


def test_one_map_is_broadcast_and_several_go_through_a_1x1_convolution():
    z = torch.randn(5, 3)
    one = LocationDependentBias(3, [4, 2], (6, 7), hidden=8)
    assert [part.shape for part in one(z)] == [(5, 1, 6, 7)] * 2
    assert all(torch.equal(part, one.spatial(z)) for part in one(z))
    several = LocationDependentBias(3, [4, 2], (6, 7), hidden=8, maps=3)
    parts = several(z)
    assert [part.shape for part in parts] == [(5, 4, 6, 7), (5, 2, 6, 7)]
    spatial = several.spatial(z)
    expected = torch.einsum("nkhw,ck->nchw", spatial, several.spread.weight[:, :, 0, 0])
    torch.testing.assert_close(torch.cat(parts, dim=1), expected)


@pytest.mark.parametrize("maps", [1, 3])
def test_a_spatial_map_has_one_hidden_layer_of_relu_units(maps):
    spatial, z = SpatialMap(3, maps, (4, 5), hidden=8), torch.randn(6, 3)
    into, _, out = spatial.layers
    hidden = (z @ into.weight.T + into.bias).clamp(min=0)
    expected = (hidden @ out.weight.T + out.bias).view(6, maps, 4, 5)
    torch.testing.assert_close(spatial(z), expected)
