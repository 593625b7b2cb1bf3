from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.data import DataSettings, ImageData, Splits, SplitSettings
from aegean.errors import ConfigError, DataError


def some_data(n=90, classes=3, unlabelled=0):
    """Images that carry their own index as their grey value."""
    images = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1)
    labels = torch.arange(n) % classes
    labels[:unlabelled] = -1
    return ImageData(images, labels, tuple(f"class{k}" for k in range(classes)))


def identities(data):
    return set(data.images.flatten().tolist())


@settings(max_examples=60, deadline=None)
@given(
    chosen=st.builds(
        SplitSettings,
        test=st.integers(0, 30),
        validation=st.integers(0, 30),
        labels_per_class=st.none() | st.integers(0, 5),
        split_seed=st.integers(0, 1000),
        label_seed=st.integers(0, 1000),
    ),
    unlabelled=st.integers(0, 10),
)
def test_splits_are_disjoint_and_hide_what_they_should(chosen, unlabelled):
    source = some_data(unlabelled=unlabelled)
    splits = chosen.split(source)
    parts = [identities(part) for part in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in parts] == [
        90 - chosen.test - chosen.validation,
        chosen.validation,
        chosen.test,
    ]
    assert set.union(*parts) == set(range(90))
    for part in (splits.validation, splits.test, replace(splits.train, labels=splits.train_truth)):
        assert torch.equal(part.labels, source.labels[part.images.flatten().long()])
    seen = splits.train.labels[splits.labelled]
    assert torch.equal(seen, splits.train_truth[splits.labelled])
    assert torch.equal(splits.labelled, torch.nonzero(splits.train.labels != -1).flatten())
    if chosen.labels_per_class is None:
        assert torch.equal(splits.train.labels, splits.train_truth)
    else:
        assert torch.bincount(seen, minlength=3).tolist() == [chosen.labels_per_class] * 3
    assert splits.pool.tolist() == list(range(len(splits.train)))


def test_the_pool_may_leave_out_the_labelled_images():
    splits = SplitSettings(labels_per_class=4, pool_includes_labelled=False, test=0).split(some_data())
    assert not set(splits.pool.tolist()) & set(splits.labelled.tolist())
    assert len(splits.pool) == 90 - 12
    stream = splits.streams(batch_size=78, labelled_batch_size=12, seed=0)["images"]
    assert set((stream.batch(0).x * 255).round().flatten().long().tolist()) == identities(
        splits.train.subset(splits.pool)
    )


def test_seeds_of_split_and_labels_are_independent():
    def chosen(**seeds):
        splits = SplitSettings(labels_per_class=5, **seeds).split(some_data())
        return identities(splits.test), identities(splits.train.subset(splits.labelled))

    assert chosen() == chosen()
    assert chosen(label_seed=1)[0] == chosen()[0]
    assert chosen(label_seed=1)[1] != chosen()[1]
    assert chosen(split_seed=1)[0] != chosen()[0]


def test_a_share_is_rounded_up():
    for share, n in ((0.2, 360), (0.07, 126), (0.1, 180), (0.5, 899)):
        assert len(SplitSettings(test=share).split(some_data_of(1797)).test) == n
    assert len(SplitSettings(test=0.07).split(some_data_of(100)).test) == 7


def some_data_of(n):
    return ImageData(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64), ("a",))


@pytest.mark.parametrize("test", [1.0, -0.1, -1, "half", True])
def test_sizes_that_are_neither_a_number_nor_a_share(test):
    with pytest.raises(ConfigError, match="test"):
        SplitSettings(test=test)


@pytest.mark.parametrize("test", [3, 0, 0.25, 0.0])
def test_sizes_survive_a_file(test):
    again = SplitSettings.from_dict(SplitSettings(test=test).to_dict())
    assert again.test == test
    assert type(again.test) is type(test)


def test_too_few_images_and_labels():
    with pytest.raises(DataError, match=r"arrays: 80 test and 10 validation .* none of 90 for training; hold out"):
        SplitSettings(test=80, validation=10).split(some_data())
    with pytest.raises(DataError, match=r"Class 'class0' has 27 labelled training images, but 28"):
        SplitSettings(labels_per_class=28, test=0.1).split(some_data())


def test_the_description_counts():
    splits = SplitSettings(labels_per_class=2, test=10, validation=5, split_seed=3).split(some_data(), "birds")
    for part in (
        "birds",
        "75 training",
        "6 labelled",
        "2 a class",
        "5 validation",
        "10 test",
        "split seed 3",
    ):
        assert part in splits.description


def test_streams_and_binarization():
    splits = SplitSettings(labels_per_class=2, binarize="threshold", test=0).split(some_data(n=240))
    streams = splits.streams(batch_size=50, labelled_batch_size=4, seed=0)
    assert sorted(streams) == ["images", "labelled"]
    assert set(streams["images"].batch(0).x.unique().tolist()) == {0.0, 1.0}
    labelled = streams["labelled"].batch(0)
    assert labelled.x.shape[0] == 4
    assert (labelled.y >= 0).all()
    unlabelled = replace(splits, train=splits.train.without_labels())
    assert sorted(unlabelled.streams(50, 4, seed=0)) == ["images"]


def test_pairs_may_come_in_mini_batches_of_their_own():
    splits = SplitSettings(labels_per_class=0, test=0).split(some_data(n=240))
    streams = splits.streams(batch_size=50, labelled_batch_size=4, seed=0, neighbours=3, pairs=80)
    assert sorted(streams) == ["images", "pairs"]
    images, pairs = (streams[name].batch(0) for name in ("images", "pairs"))
    assert len(images.x) == 50
    assert images.near is None
    assert len(pairs.x) == len(pairs.near) == 80
    assert not set(images.index.tolist()) <= set(pairs.index.tolist())  # another order


def test_labels_that_training_must_not_see_are_not_in_the_streams():
    splits = SplitSettings(labels_per_class=2, test=0).split(some_data())
    batch = splits.streams(batch_size=90, labelled_batch_size=6, seed=0)["images"].batch(0)
    assert int((batch.y >= 0).sum()) == 6


def test_sets_that_do_not_fit():
    data = some_data()
    pool = torch.arange(90)
    wider = ImageData(torch.zeros(2, 1, 1, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), data.class_names)
    with pytest.raises(DataError, match=r"test images \(1, 1, 2\) and 3"):
        Splits(data, data, wider, data.labels, pool)
    with pytest.raises(DataError, match="validation images"):
        Splits(data, replace(data, class_names=("a", "b", "c")), data, data.labels, pool)
    with pytest.raises(DataError, match="differs from the true one"):
        Splits(data, data, data, (data.labels + 1) % 3, pool)
    with pytest.raises(DataError, match="train_truth"):
        Splits(data, data, data, data.labels[:-1], pool)


def test_the_base_has_no_images():
    with pytest.raises(NotImplementedError):
        DataSettings().load()
