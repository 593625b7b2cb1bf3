import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from aegean.data import MNIST, SVHN, Digits, check
from aegean.errors import ConfigError


def images_of(data):
    return {image.numpy().tobytes() for image in data.images}


def test_digits_are_all_there_with_their_levels():
    splits = Digits(test=0).load()
    levels, labels = load_digits(return_X_y=True)
    assert splits.train.images.flatten(1).tolist() == np.rint(levels * 255 / 16).astype(int).tolist()
    assert len(splits.train.images.unique()) == 17
    assert splits.train.labels.tolist() == labels.tolist()
    assert splits.train.class_names == tuple("0123456789")


def test_digits_have_the_split_of_the_literature():
    splits = Digits(labels_per_class=10).load()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1437, 0, 360)
    assert len(splits.labelled) == 100
    assert set(splits.train.counts().values()) == {10}
    assert all(abs(count - 36) <= 1 for count in splits.test.counts().values())
    assert not images_of(splits.train) & images_of(splits.test)


def test_digits_validation_comes_out_of_train():
    plain, tuned = Digits().load(), Digits(validation=200).load()
    assert (len(tuned.train), len(tuned.validation), len(tuned.test)) == (1237, 200, 360)
    assert torch.equal(plain.test.images, tuned.test.images)
    assert not images_of(tuned.validation) & (images_of(tuned.train) | images_of(tuned.test))


def test_some_digits_only():
    splits = Digits(classes=(7, 3), test=0).load()
    assert splits.train.class_names == ("7", "3")
    whole = Digits(test=0).load().train
    for label, digit in enumerate((7, 3)):
        mine = splits.train.images[splits.train.labels == label]
        assert torch.equal(mine, whole.images[whole.labels == digit])


@pytest.mark.parametrize("source", [Digits, MNIST, SVHN])
@pytest.mark.parametrize("classes", [(), (1, 1), (10,), (-1, 2)])
def test_classes_that_are_not_digits(source, classes):
    with pytest.raises(ConfigError, match=r"classes: .*different digits from 0 to 9"):
        source(classes=classes)


def test_check_counts_hidden_labels_too():
    report = check(Digits(labels_per_class=1, validation=100))
    assert report.images == report.labelled == 1797
    assert report.sizes == {"8x8": 1797}
    assert report.classes["0"] == 178
    for part in ("1797 in grey", "1797 of 8x8", "0 (178)"):
        assert part in str(report)
