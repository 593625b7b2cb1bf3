"""Finer categories, and how they are merged."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from aegean.build import build_trainer
from aegean.choose import with_epochs
from aegean.data import Splits
from aegean.data.neighbours import nearest
from aegean.data.stream import Batch, Stream
from aegean.errors import ConfigError
from aegean.models import PixelGAN, create
from aegean.models.consistency import COPIES, NEIGHBOURS, Consistency, mutual_information
from aegean.models.merging import FinerCategories, merge_categories, merge_pairs, move_categories, two_steps
from aegean.nn.augment import Affine
from aegean.recipes import get
from conftest import SMALL_MODELS, make_splits, small

STILL = Affine(rotation=0, scale=0, shear=0, shift=0)


def random_joint(k: int, seed: int) -> Tensor:
    return torch.rand(k, k, generator=torch.Generator().manual_seed(seed)) ** 4


def normalised(joint: Tensor) -> Tensor:
    p = (joint + joint.t()).double()
    return p / p.sum()


def information(p: Tensor) -> float:
    """I(y; y') of a joint distribution, in nats."""
    independent = p.sum(0, keepdim=True) * p.sum(1, keepdim=True)
    return float(torch.special.entr(independent).sum() - torch.special.entr(p).sum())


def naive_merging(joint: Tensor, count: int) -> set[frozenset[int]]:
    """Try all pairs, and keep the one after which most information is left."""
    p, groups = normalised(joint), [frozenset({index}) for index in range(len(joint))]
    while len(groups) > count:
        tried = []
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                to = [index for index in range(len(groups)) if index != b]
                summed = torch.eye(len(groups), dtype=torch.float64)[to]
                summed[to.index(a), b] = 1
                tried.append((information(summed @ p @ summed.t()), a, b, summed))
        _, a, b, summed = max(tried, key=lambda one: one[0])
        p = summed @ p @ summed.t()
        groups[a] |= groups.pop(b)
    return set(groups)


def as_groups(category: Tensor) -> set[frozenset[int]]:
    return {frozenset((category == number).nonzero().flatten().tolist()) for number in category.unique()}


@pytest.mark.parametrize("k", [3, 5, 8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_merger_loses_least_information(k: int, seed: int) -> None:
    joint = random_joint(k, seed)
    for count in range(1, k + 1):
        assert as_groups(merge_pairs(normalised(joint), count)) == naive_merging(joint, count)


def left(joint: Tensor, chosen: Tensor, count: int) -> float:
    """The information that is left in groups."""
    summed = functional.one_hot(chosen, count).double()
    return information(summed.t() @ normalised(joint) @ summed)


@pytest.mark.parametrize("seed", range(6))
def test_no_move_of_one_category_leaves_more_information(seed: int) -> None:
    joint = random_joint(9, seed)
    chosen = merge_categories(joint, 3)
    most = left(joint, chosen, 3)
    assert sorted(chosen.unique().tolist()) == [0, 1, 2]
    for index in range(9):
        for group in range(3):
            other = chosen.clone()
            other[index] = group
            assert left(joint, other, 3) <= most + 1e-9


def test_moves_mend_what_was_cheap_early() -> None:
    """Of all ways to group them, the best is found where pair by pair it is not."""
    better, best = 0, 0
    for seed in range(20):
        joint = random_joint(6, seed)
        pairs = merge_pairs(normalised(joint), 3)
        moved = move_categories(normalised(joint), pairs)
        every = (torch.tensor(chosen) for chosen in itertools.product(range(3), repeat=6) if len(set(chosen)) == 3)
        most = max(left(joint, chosen, 3) for chosen in every)
        gained = left(joint, moved, 3) - left(joint, pairs, 3)
        assert gained >= -1e-12
        better += gained > 1e-6
        best += left(joint, moved, 3) > most - 1e-9
    assert better >= 5
    assert best >= 15


def test_a_group_of_one_keeps_it_and_one_group_has_all() -> None:
    joint = normalised(random_joint(5, seed=0))
    assert torch.equal(move_categories(joint, torch.arange(5)), torch.arange(5))
    assert torch.equal(move_categories(joint, torch.zeros(5, dtype=torch.int64)), torch.zeros(5, dtype=torch.int64))


def test_categories_of_images_that_look_alike_are_merged_and_numbered_in_order() -> None:
    wanted = torch.tensor([0, 1, 0, 2, 1, 2, 0])
    joint = 0.01 + (wanted.unsqueeze(0) == wanted.unsqueeze(1)).float()
    assert torch.equal(merge_categories(joint, 3), wanted)
    assert torch.equal(merge_categories(joint.tril(), 3), wanted)  # who is whose neighbour does not matter
    assert torch.equal(merge_categories(joint, 7), torch.arange(7))
    assert torch.equal(merge_categories(joint, 1), torch.zeros(7, dtype=torch.int64))


def test_finer_categories_that_no_image_has_are_no_obstacle() -> None:
    joint = torch.eye(4)
    joint[2] = joint[:, 2] = 0
    assert len(merge_categories(joint, 2).unique()) == 2


def test_two_steps_are_a_walk_over_neighbours() -> None:
    joint = random_joint(5, seed=0)
    joint[3] = joint[:, 3] = 0  # no image has this one
    p = normalised(joint)
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for a in range(5):
        for via in (0, 1, 2, 4):
            for b in range(5):
                expected[a, b] += p[a, via] * p[via, b] / p[via].sum()
    walked = two_steps(joint)
    torch.testing.assert_close(walked, expected)
    torch.testing.assert_close(walked, walked.t())
    torch.testing.assert_close(walked.sum(dim=0), p.sum(dim=0))


#: How three parts of a class, a rare kind of it and another class are linked.
LINKS = torch.tensor([[90.0, 30, 30, 6, 0], [30, 90, 30, 6, 0], [30, 30, 90, 6, 0], [6, 6, 6, 20, 3], [0, 0, 0, 3, 20]])


def test_a_rare_kind_comes_to_the_class_that_its_neighbours_belong_to() -> None:
    """Two rare kinds are cheap to merge; most links of one lead to a class of many, whose parts are linked."""
    assert as_groups(merge_categories(LINKS, 2)) == {frozenset({0, 1, 2}), frozenset({3, 4})}
    assert as_groups(merge_categories(two_steps(LINKS), 2)) == {frozenset({0, 1, 2, 3}), frozenset({4})}


def finer(start: int = 0, after: int = 0) -> FinerCategories:
    torch.manual_seed(0)
    made = FinerCategories(nn.Linear(4, start + 5 + after), finer=5, categories=2, start=start)
    made.category.copy_(torch.tensor([0, 1, 1, 0, 1]))
    return made


def test_a_category_is_as_likely_as_its_finer_ones_together() -> None:
    encoder, x = finer(start=2, after=1), 5 * torch.randn(20, 4)
    own = encoder.encoder(x)
    q = own[:, 2:7].softmax(dim=1)
    outputs = encoder(x)
    assert outputs.shape == (20, 2 + 2 + 1)
    assert torch.equal(outputs[:, :2], own[:, :2])
    assert torch.equal(outputs[:, 4:], own[:, 7:])
    expected = torch.stack((q[:, 0] + q[:, 3], q[:, 1] + q[:, 2] + q[:, 4]), dim=1)
    torch.testing.assert_close(outputs[:, 2:4].exp(), expected)
    with encoder.unmerged():
        assert torch.equal(encoder(x), own)
    assert torch.equal(encoder(x), outputs)


def test_gradients_pass_through_the_merging() -> None:
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(finer().merge, logits)
    far = torch.tensor([[200.0, -200.0, -300.0, 0.0, -250.0]], requires_grad=True)  # no logarithm of zero
    merged = finer().merge(far)
    torch.testing.assert_close(merged, torch.tensor([[0.0, -400.0]]))
    (gradient,) = torch.autograd.grad(merged.sum(), far)
    assert gradient.isfinite().all()


def test_categories_are_chosen_by_two_steps() -> None:
    encoder = finer()
    encoder.choose(LINKS)
    assert encoder.merged
    assert encoder.category.tolist() == [0, 0, 0, 0, 1]


def test_the_term_is_about_finer_categories_until_they_are_merged() -> None:
    consistency = Consistency(change=STILL, finer=5, finer_epochs=3)
    encoder, x = finer(), torch.randn(12, 4, 1, 1)
    batch = Batch(x, torch.zeros(12, dtype=torch.int64), torch.arange(12), 0.0)
    loss = lambda: consistency.loss(batch, lambda x: encoder(x.flatten(1)), lambda x: x, encoder=encoder)  # noqa: E731
    fine = encoder.encoder(x.flatten(1)).softmax(dim=1)
    torch.testing.assert_close(loss(), -mutual_information(fine, fine).expand(12))
    encoder.choose(LINKS)
    coarse = encoder(x.flatten(1)).exp()
    assert coarse.shape == (12, 2)
    torch.testing.assert_close(loss(), -mutual_information(coarse, coarse).expand(12))


@pytest.mark.parametrize("neighbours", [0, 3])
def test_what_merges_categories_are_those_of_all_images_and_their_neighbours(neighbours: int) -> None:
    splits = make_splits()
    stream = Stream(splits.train, batch_size=7, seed=0, neighbours=neighbours)
    images = torch.cat(list(stream.all_images()))
    assert torch.equal(images, splits.train.images.float() / 255)
    consistency = Consistency(
        change=Affine(shift=0.3), finer=5, finer_epochs=1, neighbours=neighbours, neighbour_epochs=neighbours
    )
    torch.manual_seed(0)
    encoder = FinerCategories(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 5)), finer=5, categories=2)
    seen: list[Tensor] = []
    encoder.choose = seen.append  # type: ignore[method-assign, assignment]
    consistency.merge(encoder, stream, encoder)
    assert encoder.training
    encoder.eval()
    expected = torch.zeros(5, 5, dtype=torch.int64)
    with encoder.unmerged():
        own = encoder(images).argmax(dim=1)
        if neighbours:
            assert len(images) > NEIGHBOURS
            others = own[nearest(splits.train.images, NEIGHBOURS)]  # more than link images in training
        else:
            generator = torch.Generator().manual_seed(0)
            changed = [consistency.change.apply(images, generator) for _ in range(COPIES)]
            others = torch.stack([encoder(x).argmax(dim=1) for x in changed], dim=1)
    for one, row in zip(own.tolist(), others.tolist(), strict=True):
        for other in row:
            expected[one, other] += 1
    assert torch.equal(seen[0], expected)
    assert (expected > 0).sum() > 5  # several links


def test_what_another_training_has_merged_stays() -> None:
    encoder = finer()
    encoder.choose(LINKS)
    Consistency(finer=5, finer_epochs=1).merge(
        encoder, Stream(make_splits().train, 7, 0), lambda x: pytest.fail("looked")
    )
    assert encoder.category.tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("name", ["aae-finer", "flipped-implicit-finer"])
def test_a_model_with_finer_categories_has_as_many_as_its_prior(name: str, splits: Splits) -> None:
    experiment = small().override({"model": SMALL_MODELS[name].to_dict(), "train": {"epochs": 4}})
    trainer = build_trainer(experiment, splits)
    encoder = trainer.model.get_submodule("encoder")
    assert isinstance(encoder, FinerCategories)
    before = encoder.category.clone()
    trainer.fit()
    assert encoder.merged
    assert sorted(encoder.category.unique().tolist()) == [0, 1, 2]
    assert not torch.equal(encoder.category, before)
    with trainer.for_evaluation():
        x = torch.rand(5, 1, 8, 8)
        q = trainer.model.predict(x)
        assert q.shape == (5, 3)
        torch.testing.assert_close(q.sum(dim=1), torch.ones(5))
        torch.testing.assert_close(trainer.model.log_predict(x).exp().float(), q)


@pytest.mark.parametrize("name", ["aae-finer", "flipped-implicit-finer"])
def test_the_other_phases_wait_until_then(name: str, splits: Splits) -> None:
    experiment = small().override({"model": SMALL_MODELS[name].to_dict(), "train": {"epochs": 3}})
    trainer = build_trainer(experiment, splits)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    for _ in range(2 * trainer.steps_per_epoch):
        trainer.run_step()
    moved = {
        key.split(".")[0] for key, value in trainer.model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved == {"encoder"}
    trainer.run_step()
    moved = {
        key.split(".")[0] for key, value in trainer.model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved >= {"encoder", "decoder"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"finer": 5}, "go together"),
        ({"finer_epochs": 2.0}, "go together"),
        ({"finer": 5, "finer_epochs": 2.0, "agreement": "divergence"}, "needs agreement 'information'"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Consistency.from_dict(settings)


def test_finer_categories_are_more_and_without_labels() -> None:
    splits = make_splits()
    few = SMALL_MODELS["aae-finer"].override({"consistency.finer": 3})
    with pytest.raises(ConfigError, match=r"finer=3 categories are to be merged to the model's 3.*15 do well"):
        create(few, splits.shape, 3, seed=0)
    for name in ("pixelgan-consistent", "implicit-consistent"):
        labelled = SMALL_MODELS[name].override({"consistency.finer": 7, "consistency.finer_epochs": 1.0})
        with pytest.raises(ConfigError, match="labels say what they are"):
            create(labelled, splits.shape, 3, seed=0)


def test_finer_categories_are_not_ignored_with_an_encoder_of_ones_own() -> None:
    config = SMALL_MODELS["pixelgan-consistent"].override(
        {"supervised": False, "consistency.finer": 7, "consistency.finer_epochs": 1.0}
    )
    own = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(ConfigError, match="with one of your own set it to 0"):
        PixelGAN.create(config, (1, 8, 8), 3, encoder=own)


def test_the_term_may_have_larger_mini_batches_than_the_games(splits: Splits) -> None:
    model = SMALL_MODELS["flipped-implicit-finer"].override(
        {"consistency.batch_size": 24, "consistency.neighbours": 2, "consistency.neighbour_epochs": 1.0}
    )
    train = {"epochs": 3, "batch_size": 6}
    trainer = build_trainer(small().override({"model": model.to_dict(), "train": train}), splits)
    assert trainer.streams["pairs"].data is trainer.streams["images"].data  # in memory, and searched, once
    seen: dict[str, set[tuple[int, bool]]] = {}
    for group in trainer.groups:
        forward = group.forward
        names = " ".join(phase.name for phase in group.phases)

        def watched(batch: Batch, forward=forward, names=names) -> object:  # type: ignore[no-untyped-def]
            seen.setdefault(names, set()).add((len(batch.x), batch.near is not None))
            return forward(batch)

        object.__setattr__(group, "forward", watched)
    trainer.fit()
    assert seen.pop("agree") == {(24, True)}
    assert seen
    assert all(sizes == {(6, False)} for sizes in seen.values())
    encoder = trainer.model.get_submodule("encoder")
    assert isinstance(encoder, FinerCategories)
    assert encoder.merged


def test_a_training_that_would_never_merge_is_refused(splits: Splits) -> None:
    experiment = small().override({"model": SMALL_MODELS["aae-finer"].to_dict(), "train": {"epochs": 2}})
    with pytest.raises(ConfigError, match=r"finer_epochs=2 of train.epochs=2: .* never be merged"):
        build_trainer(experiment, splits)


def test_a_shorter_training_merges_earlier() -> None:
    experiment = get("aae-mnist-30-consistent").override(
        {"model.consistency.finer": 60, "model.consistency.finer_epochs": 2.0}
    )
    shorter = with_epochs(experiment, experiment.train.epochs // 2)
    assert shorter.model.consistency.finer_epochs == 1.0  # type: ignore[union-attr]
