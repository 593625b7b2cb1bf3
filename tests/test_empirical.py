"""A prior of given rows."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from aegean.data.stream import Batch
from aegean.errors import ConfigError, UnsupportedError
from aegean.models import AAEConfig, create
from aegean.priors import Empirical, check_prior
from aegean.train import TrainConfig, Trainer
from conftest import SMALL, SMALL_MODELS, make_splits


def save(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_draws_are_rows_and_each_is_as_likely(tmp_path: Path) -> None:
    codes = np.arange(8.0).reshape(4, 2)
    prior = Empirical(samples=save(tmp_path / "a.npz", codes=codes))
    assert (prior.dim, prior.components) == (2, None)
    draws = prior.sample(40_000, generator=torch.Generator().manual_seed(0))
    assert draws.dtype == torch.float32
    rows, counts = draws.unique(dim=0, return_counts=True)
    assert torch.equal(rows, torch.from_numpy(codes).float())
    assert (counts / 40_000 - 0.25).abs().max() < 0.02
    with pytest.raises(UnsupportedError, match="no components"):
        prior.sample(2, labels=torch.zeros(2, dtype=torch.int64))


def test_labels_choose_a_row_of_their_class(tmp_path: Path) -> None:
    labels = np.array([2, 0, 1, 0, 2, 2])
    codes = np.stack([labels, np.arange(6)], axis=1).astype(float)
    prior = Empirical(samples=save(tmp_path / "a.npz", codes=codes, labels=labels))
    assert prior.components == 3
    wanted = torch.arange(3000) % 3
    draws = prior.sample(3000, wanted, torch.Generator().manual_seed(0))
    assert torch.equal(draws[:, 0].long(), wanted)
    for label in range(3):
        rows, counts = draws[wanted == label, 1].unique(return_counts=True)
        assert set(rows.long().tolist()) == set(np.flatnonzero(labels == label))
        assert counts.min() > 0.8 * counts.float().mean()
    free = prior.sample(600, torch.full((600,), -1), torch.Generator().manual_seed(0))
    assert len(free.unique(dim=0)) == 6


def test_digits_come_with_scikit_learn() -> None:
    prior = Empirical(samples="digits")
    images, labels = load_digits(return_X_y=True)
    assert (prior.dim, prior.components) == (64, 10)
    codes, classes = prior.table()
    np.testing.assert_allclose(codes.numpy(), images / 16, rtol=1e-6)
    assert torch.equal(classes, torch.from_numpy(labels))


def test_principal_components_have_unit_variance_and_keep_the_largest_spread(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(500, 3)) * [1.0, 5.0, 0.1] + 7
    prior = Empirical(samples=save(tmp_path / "a.npz", codes=codes), principal=2)
    kept, _ = prior.table()
    assert prior.dim == 2
    torch.testing.assert_close(kept.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(kept.std(0, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    correlation = np.corrcoef(kept[:, 0].numpy(), codes[:, 1])[0, 1]
    assert abs(correlation) > 0.99
    with pytest.raises(ConfigError, match="fewer than 4"):
        Empirical(samples=save(tmp_path / "a.npz", codes=codes), principal=4).table()


def test_it_is_a_prior_like_others_and_trains(tmp_path: Path) -> None:
    config = AAEConfig(
        prior=Empirical(samples="digits", principal=4),
        encoder=SMALL,
        decoder=SMALL,
        discriminator=SMALL,
        label_aware=True,
    )
    assert AAEConfig.from_dict(config.to_dict()) == config
    model = create(config, (1, 8, 8), classes=10)
    assert check_prior(model.prior, 4, 10) is model.prior
    assert model.sample(3, y=torch.tensor([0, 5, 9])).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("kind", ["aae", "pixelgan"])
def test_pairs_have_a_game_of_their_own_besides_that_of_all_images(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among all images, few of a mini-batch's labels are known; in a mini-batch of pairs, all are."""
    splits = make_splits(n=60, labels_per_class=2)
    for paired in (False, True):
        model = create(SMALL_MODELS[f"{kind}-pairs" if paired else f"{kind}-labels"], splits.shape, classes=3)
        known: dict[str, list[float]] = {"discriminator_loss": [], "confusion_loss": []}
        for name, shares in known.items():
            monkeypatch.setattr(model, name, spied(getattr(model, name), shares))
        Trainer(model, TrainConfig(), splits.streams(60, 6, seed=0)).run_step()
        for shares in known.values():
            assert len(shares) == 1 + paired
            assert shares[0] < 0.2
            assert shares[1:] == [1.0] * paired


def spied(loss: Callable[[Batch, torch.Tensor], torch.Tensor], shares: list[float]) -> Callable:
    def spy(batch: Batch, z: torch.Tensor) -> torch.Tensor:
        shares.append((batch.y >= 0).float().mean().item())
        return loss(batch, z)

    return spy


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"label_aware": False}, "know the labels"), ({"adversarial": False}, "adversarial")],
)
def test_pairs_without_labels_or_a_game_are_refused(changes: dict[str, bool], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SMALL_MODELS["pixelgan-labels"].override({"paired": True, **changes})
    with pytest.raises(ConfigError, match="know the labels"):
        SMALL_MODELS["aae-labels"].override({"paired": True, "label_aware": False})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros((3, 2))}, "codes"),
        ({"codes": np.zeros(3)}, "shape"),
        ({"codes": np.zeros((3, 2), dtype=int)}, "floats"),
        ({"codes": np.full((3, 2), np.nan)}, "finite"),
        ({"codes": np.zeros((3, 2)), "labels": np.zeros(2, dtype=int)}, "labels"),
        ({"codes": np.zeros((3, 2)), "labels": np.array([0, 2, 2])}, "none left out"),
        ({"codes": np.zeros((3, 2)), "labels": np.array([0, -1, 1])}, "labels"),
        ({"codes": np.array([[object()]])}, "npz"),
    ],
)
def test_files_that_are_not_as_described_are_refused(tmp_path: Path, arrays: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Empirical(samples=save(tmp_path / "a.npz", **arrays)).table()


def test_missing_damaged_and_swollen_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="missing"):
        Empirical(samples=str(tmp_path / "missing.npz")).table()
    damaged = tmp_path / "damaged.npz"
    np.savez(damaged, codes=np.zeros((100, 2)))
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(ConfigError, match=r"not an \.npz"):
        Empirical(samples=str(damaged)).table()
    swollen = io.BytesIO()
    with zipfile.ZipFile(swollen, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("codes.npy", bytes(200_000))
    (tmp_path / "swollen.npz").write_bytes(swollen.getvalue())
    monkeypatch.setattr("aegean.priors.empirical.MAX_BYTES", 100_000)
    with pytest.raises(ConfigError, match="unpacks"):
        Empirical(samples=str(tmp_path / "swollen.npz")).table()
