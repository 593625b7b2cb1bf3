"""What the benchmarks of classes and clusters do with seeds, settings and names of clusters; nothing is trained."""

import json
from pathlib import Path

import numpy as np
import pytest

from aegean.errors import DataError
from benchmarks import cluster, labels, peers
from benchmarks.seeds import collect

SETTINGS = {"data": "digits", "minutes": None}


class Methods:
    """Two methods whose figures are made up; the second one of a seed can be interrupted."""

    def __init__(self) -> None:
        self.measured: list[tuple[int, str]] = []
        self.interrupt = -1

    def __call__(self, seed: int):
        return {name: lambda name=name: self._measure(seed, name) for name in ("ours", "theirs")}

    def _measure(self, seed: int, name: str) -> dict[str, float]:
        if name == "theirs" and seed == self.interrupt:
            raise KeyboardInterrupt
        self.measured.append((seed, name))
        return {"error %": float(seed if name == "ours" else 2 * seed)}


def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    methods = Methods()
    methods.interrupt = 1
    with pytest.raises(KeyboardInterrupt):
        collect("made-up", methods, range(3), SETTINGS, tmp_path)
    assert methods.measured == [(0, "ours"), (0, "theirs"), (1, "ours")]
    methods.interrupt = -1
    figures = collect("made-up", methods, range(3), SETTINGS, tmp_path)
    assert methods.measured[3:] == [(1, "theirs"), (2, "ours"), (2, "theirs")]
    assert figures["theirs: error %"] == 2
    assert figures["theirs: error %, standard deviation"] == 2
    assert figures["seeds"] == 3


def test_means_are_over_all_seeds_on_record_that_are_whole(tmp_path: Path) -> None:
    methods = Methods()
    collect("made-up", methods, [0], SETTINGS, tmp_path)
    methods.interrupt = 1
    with pytest.raises(KeyboardInterrupt):
        collect("made-up", methods, [1], SETTINGS, tmp_path)
    figures = collect("made-up", methods, [4], SETTINGS, tmp_path)  # another process, another core
    assert (figures["ours: error %"], figures["seeds"]) == (2, 2)


def test_seeds_of_other_settings_do_not_mix(tmp_path: Path) -> None:
    collect("made-up", Methods(), [0], SETTINGS, tmp_path)
    with pytest.raises(DataError, match=r"seed-0\.json was measured with .*remove it"):
        collect("made-up", Methods(), [0], SETTINGS | {"minutes": 20}, tmp_path)
    with pytest.raises(DataError, match="remove it"):
        collect("made-up", Methods(), [1], SETTINGS | {"minutes": 20}, tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}}', json.dumps({"settings": SETTINGS, "methods": 1})])
def test_a_damaged_seed_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "made-up").mkdir()
    (tmp_path / "made-up" / "seed-0.json").write_text(text)
    with pytest.raises(DataError, match="not the figures of a seed"):
        collect("made-up", Methods(), [0], SETTINGS, tmp_path)


def test_tries_are_judged_on_images_of_the_training_set() -> None:
    """Validation images are none of the test images, and all methods of a seed see the same ones."""
    final = labels.load(labels.settings_of(), 10, 3)
    tried = labels.load(labels.settings_of() | {"judged on": "validation images"}, 10, 3)
    assert (len(final.test), len(tried.test), len(tried.train)) == (360, 360, len(final.train) - 360)
    held_out = {image.tobytes() for image in final.test}
    assert sum(image.tobytes() in held_out for image in tried.test) < 5  # equal by chance only
    assert (final.labels >= 0).sum() == (tried.labels >= 0).sum() == 100
    assert np.array_equal(final.truth[final.labels >= 0], final.labels[final.labels >= 0])


def test_clusters_are_named_by_training_images_alone() -> None:
    images = np.zeros((1, 2, 2), dtype=np.uint8)
    data = labels.Data(images, np.full(6, -1), np.array([3, 3, 5, 5, 5, 7]), images, np.array([3, 5, 7, 7]))
    train = np.array([0, 0, 0, 1, 1, 2])  # named 3, 5 and 7
    assert cluster.error(train, np.array([0, 1, 2, 1]), data) == 25
    assert cluster.error(train, np.array([2, 0, 1, 1]), data) == 100


def test_settings_are_chosen_on_labels_that_the_method_does_not_see() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2)).astype(np.float32)
    y = np.where(np.arange(60) < 30, np.arange(60) % 2, -1)
    seen = []

    def predict(x: np.ndarray, hidden: np.ndarray, new: np.ndarray, right: bool) -> np.ndarray:
        seen.append((hidden >= 0).sum())
        assert (hidden[30:] == -1).all()
        truth = np.array([np.flatnonzero((x == row).all(axis=1))[0] % 2 for row in new])
        return truth if right else 1 - truth

    assert peers._best(predict, [{"right": False}, {"right": True}], x, y) == {"right": True}
    assert set(seen) == {24}
    assert peers._best(predict, [{"right": True}, {"right": True}], x, y) == {"right": True}
    lonely = np.where(np.arange(60) < 2, np.arange(60) % 2, -1)  # nothing to hide
    assert peers._best(predict, [{"right": False}, {"right": True}], x, lonely) == {"right": False}


def test_of_many_images_all_with_a_label_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "FEWER", 10)
    x = np.arange(100, dtype=np.float32)[:, None]
    y = np.where(np.arange(100) % 7 == 0, 1, -1)
    fewer, known = peers.fewer(x, y)
    assert len(fewer) == 10 + (y >= 0).sum()
    assert (known >= 0).sum() == (y >= 0).sum()
    assert np.array_equal(y[fewer[:, 0].astype(int)], known)
