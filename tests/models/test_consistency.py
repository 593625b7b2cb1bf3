"""The further term of the extended rows."""

import pytest
import torch
from torch import Tensor

from aegean.data.stream import Batch
from aegean.errors import ConfigError
from aegean.models import PixelGANConfig, create
from aegean.models.consistency import Consistency, mutual_information
from aegean.nn.augment import Affine
from aegean.priors import Gaussian
from conftest import SMALL, SMALL_MODELS, make_splits

STILL = Affine(rotation=0, scale=0, shear=0, shift=0)
N = 12


def images() -> Tensor:
    return make_splits().streams(N, 6, seed=0)["images"].batch(0).x


def batch_of(x: Tensor, near: Tensor | None = None, epoch: float = 0.0) -> Batch:
    return Batch(x, torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)), epoch, near)


def mean_of_halves(x: Tensor) -> Tensor:
    """Logits that depend on where an image is bright."""
    return 20 * torch.stack((x[:, 0, :4].mean((1, 2)), x[:, 0, 4:].mean((1, 2))), dim=1)


def test_the_divergence_is_zero_where_nothing_changes() -> None:
    loss = Consistency(change=STILL, agreement="divergence").loss(batch_of(images()), mean_of_halves, lambda x: x)
    torch.testing.assert_close(loss, torch.zeros(N), atol=1e-6, rtol=0)


def test_the_divergence_is_that_of_the_changed_from_the_plain_image_and_teaches_the_changed_one_alone() -> None:
    x, scale = images(), torch.ones(2, requires_grad=True)
    consistency = Consistency(agreement="divergence")
    seen: list[Tensor] = []

    def logits(batch: Tensor) -> Tensor:
        seen.append(batch)
        return scale * mean_of_halves(batch)

    loss = consistency.loss(batch_of(x), logits, lambda x: x + 1, torch.Generator().manual_seed(0))
    changed = consistency.change.apply(x, torch.Generator().manual_seed(0)) + 1
    assert torch.equal(seen[0], changed)  # with noise
    assert torch.equal(seen[1], x)  # without
    target = mean_of_halves(x).softmax(dim=1)
    expected = (target * (target.log() - mean_of_halves(changed).log_softmax(dim=1))).sum(dim=1)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss.sum(), scale)
    wanted = (mean_of_halves(changed).softmax(1) - target) * mean_of_halves(changed)
    torch.testing.assert_close(gradient, wanted.sum(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("epoch", "neighbour"), [(0.0, True), (1.9, True), (2.0, False)])
def test_a_changed_neighbour_takes_the_place_of_the_changed_image_for_some_epochs(
    epoch: float, neighbour: bool
) -> None:
    x = images()
    near = x.roll(1, dims=0)
    consistency = Consistency(change=STILL, neighbours=2, neighbour_epochs=2)
    loss = consistency.loss(batch_of(x, near, epoch), mean_of_halves, lambda x: x)
    q, other = mean_of_halves(x).softmax(1), mean_of_halves(near if neighbour else x).softmax(1)
    torch.testing.assert_close(loss, -mutual_information(q, other).expand(N), atol=1e-5, rtol=1e-4)
    assert not torch.equal(q, other) or not neighbour


@pytest.mark.parametrize("settings", [{"neighbours": 5}, {"neighbour_epochs": 2}])
def test_neighbours_and_their_epochs_go_together(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="go together"):
        Consistency.from_dict(settings)


def test_information_is_that_of_the_two_categories() -> None:
    """Equal, confident and evenly used categories share log k nats; independent or constant ones none."""
    confident = torch.eye(3).repeat(3, 1)
    for one, other, expected in (
        (confident, confident, torch.tensor(3.0).log()),
        (confident.roll(1, dims=1), confident.roll(1, dims=1), torch.tensor(3.0).log()),
        (confident, torch.eye(3).repeat_interleave(3, dim=0), torch.tensor(0.0)),
        (confident[:1].expand(9, 3), confident[:1].expand(9, 3), torch.tensor(0.0)),
        (torch.full((9, 3), 1 / 3), torch.full((9, 3), 1 / 3), torch.tensor(0.0)),
    ):
        torch.testing.assert_close(mutual_information(one, other), expected, atol=1e-5, rtol=1e-5)


def test_information_is_that_of_the_joint_distribution() -> None:
    q, other = (torch.randn(50, 4, generator=torch.Generator().manual_seed(seed)).softmax(1) for seed in (0, 1))
    joint = torch.einsum("ni,nj->ij", q, other) / 50
    joint = (joint + joint.T) / 2
    entropy = lambda p: -(p * p.log()).sum()  # noqa: E731
    expected = entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint)
    torch.testing.assert_close(mutual_information(q, other), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["aae-clustered", "pixelgan-consistent", "implicit-consistent", "flipped-implicit-consistent"]
)
def test_models_compare_the_changed_image_with_the_plain_one(name: str) -> None:
    model = create(SMALL_MODELS[name], (1, 8, 8), 3, seed=0)
    batch = batch_of(images())
    assert {phase.name for phase in model.all_phases()} >= {"agree"}
    loss = model.consistency_loss(batch)
    assert loss.shape == (N,)
    assert loss.abs().max() > 0
    still = create(SMALL_MODELS[name].override({"consistency.change": STILL.to_dict()}), (1, 8, 8), 3, seed=0)
    moved = create(SMALL_MODELS[name], (1, 8, 8), 3, seed=0)
    if hasattr(model, "classification_loss"):
        for one in (still, moved):
            one.eval()
        assert not torch.equal(still.classification_loss(batch), moved.classification_loss(batch))


def test_consistency_needs_categories() -> None:
    with pytest.raises(ConfigError, match="categories"):
        PixelGANConfig(prior=Gaussian(dim=2), encoder=SMALL, consistency=Consistency())


def test_a_category_is_needed_in_models_with_noise_on_both_ways() -> None:
    config = SMALL_MODELS["implicit"].override({"consistency": Consistency().to_dict()})
    with pytest.raises(ConfigError, match="categorical prior"):
        create(config, (1, 8, 8), 3)
