import numpy as np
import pytest
import torch

from aegean.data import ImageData, as_float, as_uint8, from_arrays
from aegean.errors import DataError

LEVELS = torch.arange(256, dtype=torch.uint8)


def some_data(n=6):
    images = torch.arange(n * 4, dtype=torch.uint8).reshape(n, 1, 2, 2)
    labels = torch.tensor([0, 1, -1, 1, 0, -1][:n])
    return ImageData(images, labels, ("cat", "dog"), tuple("abcdef"[:n]))


def test_properties_and_counts():
    data = some_data()
    assert (len(data), data.shape, data.classes) == (6, (1, 2, 2), 2)
    assert data.counts() == {"cat": 2, "dog": 2}


def test_subset_keeps_images_labels_and_names_together():
    part = some_data().subset(torch.tensor([3, 0]))
    assert torch.equal(part.images, some_data().images[[3, 0]])
    assert part.labels.tolist() == [1, 0]
    assert part.names == ("d", "a")


def test_without_labels_keeps_the_asked_ones_and_changes_nothing_else():
    data = some_data()
    assert data.without_labels().labels.tolist() == [-1] * 6
    assert data.without_labels(keep=torch.tensor([1, 2])).labels.tolist() == [-1, 1, -1, -1, -1, -1]
    assert data.labels.tolist() == [0, 1, -1, 1, 0, -1]


def test_no_images_and_vectors_are_data_too():
    assert len(some_data().subset(torch.tensor([], dtype=torch.int64))) == 0
    vectors = ImageData(torch.zeros(3, 17, 1, 1, dtype=torch.uint8), torch.full((3,), -1))
    assert vectors.shape == (17, 1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(6, 1, 2, 2).double()}, "must be uint8 or float32 .*from_arrays"),
        ({"images": torch.zeros(6, 2, 2, dtype=torch.uint8)}, r"not torch.uint8 of \(6, 2, 2\)"),
        ({"images": torch.zeros(6, 1, 0, 2, dtype=torch.uint8)}, r"\(6, 1, 0, 2\)"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, r"6 images must be int64 of shape \(6,\).*-1"),
        ({"labels": torch.zeros(6)}, "must be int64"),
        ({"labels": torch.tensor([0, 1, 2, 0, 0, 0])}, "from 0 to 2, but there are 2 class names"),
        ({"labels": torch.tensor([0, 1, -2, 0, 0, 0])}, "from -2 to 1"),
        ({"class_names": ("cat", "cat")}, "must differ"),
        ({"names": ("a",)}, "6 images have 1 names"),
    ],
)
def test_parts_that_do_not_fit(changes, message):
    data = some_data()
    parts = {
        "images": data.images,
        "labels": data.labels,
        "class_names": data.class_names,
        "names": data.names,
    }
    with pytest.raises(DataError, match=message):
        ImageData(**(parts | changes))


def test_float_and_back_is_exact_for_every_level():
    x = as_float(LEVELS)
    assert x.dtype == torch.float32
    assert torch.equal(x.double(), (LEVELS.double() / 255).float().double())
    assert (x.min(), x.max()) == (0, 1)
    assert torch.equal(as_uint8(x), LEVELS)


def test_as_uint8_clamps_instead_of_wrapping_around():
    assert as_uint8(torch.tensor([-0.1, 1.1, 0.5])).tolist() == [0, 255, 128]


def test_threshold_is_half():
    x = as_float(LEVELS, "threshold")
    assert torch.equal(x, (LEVELS.double() / 255 > 0.5).float())


def test_sample_is_black_and_white_with_grey_as_the_mean():
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([as_float(LEVELS, "sample", generator) for _ in range(2000)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert draws[:, 0].sum() == 0
    assert draws[:, 255].sum() == 2000
    # The standard error is at most 0.5 / sqrt(2000) = 0.011; five of them.
    assert (draws.mean(0) - LEVELS.float() / 255).abs().max() < 0.056


def test_sample_does_not_touch_the_global_generator():
    before = torch.get_rng_state()
    as_float(LEVELS, "sample", torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
def test_from_arrays_accepts_grey_colour_and_both_layouts(library):
    grey = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert torch.equal(from_arrays(library(grey)).images, torch.as_tensor(grey)[:, None])
    colour = np.arange(72, dtype=np.uint8).reshape(2, 3, 4, 3)
    last = from_arrays(library(colour)).images
    assert last.shape == (2, 3, 3, 4)
    assert last[1, 2, 0, 3] == colour[1, 0, 3, 2]
    first = from_arrays(library(np.ascontiguousarray(colour.transpose(0, 3, 1, 2))), layout="nchw").images
    assert torch.equal(first, last)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_from_arrays_rounds_floats(dtype):
    images = np.array([[[0.0, 1.0, 0.5, 0.25]]], dtype=dtype)
    assert from_arrays(images).images.flatten().tolist() == [0, 255, 128, 64]


def test_from_arrays_takes_bool_as_black_and_white():
    assert from_arrays(np.array([[[True, False]]])).images.flatten().tolist() == [255, 0]


def test_from_arrays_copies():
    images = np.zeros((1, 2, 2), dtype=np.uint8)
    data = from_arrays(images)
    images[:] = 9
    assert data.images.sum() == 0


@pytest.mark.parametrize(
    ("labels", "class_names", "codes", "names"),
    [
        (None, None, [-1, -1, -1], ()),
        (None, ["x"], [-1, -1, -1], ("x",)),
        ([7, -1, 3], None, [1, -1, 0], ("3", "7")),
        (np.array([0, 1, 2], dtype=np.uint8), None, [0, 1, 2], ("0", "1", "2")),
        (torch.tensor([1, 0, -1]), ["a", "b", "c"], [1, 0, -1], ("a", "b", "c")),
        (["dog", "", "cat"], None, [1, -1, 0], ("cat", "dog")),
        (["dog", "", "cat"], ["dog", "cat"], [0, -1, 1], ("dog", "cat")),
        ([-1, -1, -1], None, [-1, -1, -1], ()),
    ],
)
def test_from_arrays_labels(labels, class_names, codes, names):
    data = from_arrays(np.zeros((3, 2, 2), np.uint8), labels, class_names)
    assert data.labels.tolist() == codes
    assert data.class_names == names


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 4)), None, r"shape \(3, 4\); expected \(n, h, w\)"),
        (np.zeros((1, 2, 2)) + np.nan, None, "NaN"),
        (np.zeros((1, 2, 2)) + np.inf, None, "NaN or infinite"),
        (np.full((1, 2, 2), 255.0), None, r"from 255 to 255; .* \[0, 1\]\. Rescale"),
        (np.full((1, 2, 2), -0.5), None, "from -0.5"),
        (np.zeros((1, 2, 2), np.int64), None, "int64; expected uint8 .*astype"),
        (np.zeros((2, 3, 32, 32), np.uint8), None, 'say layout="nchw"'),
        (np.zeros((2, 2, 2), np.uint8), [0], r"2 images must be int64 of shape \(2,\)"),
        (np.zeros((2, 2, 2), np.uint8), [0.5, 1.0], "float64; expected integers"),
        (np.zeros((2, 2, 2), np.uint8), [-3, 0], "label -3 is negative"),
    ],
)
def test_from_arrays_refuses_what_it_would_have_to_guess(images, labels, message):
    with pytest.raises(DataError, match=message):
        from_arrays(images, labels)


def test_from_arrays_names_an_unknown_class():
    with pytest.raises(DataError, match=r"'bird' is not among the class names: cat, dog"):
        from_arrays(np.zeros((1, 2, 2), np.uint8), ["bird"], ["cat", "dog"])
