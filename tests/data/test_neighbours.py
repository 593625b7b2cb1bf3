"""Images that look alike."""

import pytest
import torch
from torch.nn import functional

from aegean.data import neighbours
from aegean.data.neighbours import AT_LEAST, BLOCK, nearest
from aegean.data.stream import Stream
from aegean.errors import ConfigError
from conftest import make_splits


def test_neighbours_are_those_of_a_naive_search() -> None:
    """Fewer numbers than principal components: distances are those of the smoothed images."""
    x = torch.randint(0, 256, (40, 2, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = functional.avg_pool2d(x.float(), 3, stride=1, padding=1).flatten(1)
    distance = torch.cdist(rows, rows).fill_diagonal_(torch.inf)
    assert torch.equal(nearest(x, 3), distance.argsort(dim=1)[:, :3])


def test_neighbours_of_vectors_are_not_smoothed() -> None:
    x = torch.randn(40, 6, 1, 1, generator=torch.Generator().manual_seed(0))
    distance = torch.cdist(x.flatten(1), x.flatten(1)).fill_diagonal_(torch.inf)
    assert torch.equal(nearest(x, 3), distance.argsort(dim=1)[:, :3])


def test_large_images_and_many_blocks() -> None:
    """Pairs of equal images are each other's neighbours, whatever their size; none is its own."""
    for shape in ((6, 3, 70, 50), (BLOCK // 2 + 1, 1, 6, 6)):
        x = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        found = nearest(torch.cat((x, x)), 2)
        place = torch.arange(2 * len(x))
        assert torch.equal(found[:, 0], (place + len(x)) % (2 * len(x)))
        assert not (found == place[:, None]).any()


def test_the_same_images_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that differ in labels share what was found, and so do fewer neighbours; other images and more do not."""
    searched = []

    def search(data: torch.Tensor, count: int) -> torch.Tensor:
        searched.append(count)
        return torch.zeros(len(data), count, dtype=torch.int64)

    monkeypatch.setattr(neighbours, "_search", search)
    data = make_splits().train
    for labelled in (data, data.without_labels(torch.tensor([0, 3]))):
        stream = Stream(labelled, 6, 0, neighbours=2)
        stream.batch(0)
    assert searched == [AT_LEAST]
    assert nearest(data.images, 1).shape == (len(data), 1)
    assert searched == [AT_LEAST]
    nearest(data.images.clone(), 2)
    nearest(data.images[:9].clone(), 2)  # of nine images there are eight others
    nearest(data.images, AT_LEAST + 1)
    assert searched == [AT_LEAST, AT_LEAST, 8, AT_LEAST + 1]


@pytest.mark.parametrize("count", [-1, 0])
def test_as_many_neighbours_as_images_are_refused(count: int) -> None:
    data = make_splits().train
    with pytest.raises(ConfigError, match=f"neighbours of each of {len(data)}"):
        Stream(data, 6, 0, neighbours=count or len(data))


@pytest.mark.parametrize("binarize", [None, "sample", "threshold"])
def test_mini_batches_come_with_one_of_the_neighbours_drawn_anew(binarize: str | None) -> None:
    data = make_splits().train
    alike = nearest(data.images, 2)
    stream = Stream(data, 6, 0, "images", binarize, neighbours=2)  # type: ignore[arg-type]
    drawn = set()
    for step in range(8):
        batch, again = stream.batch(step), stream.batch(step)
        assert batch.near is not None
        assert again.near is not None
        assert torch.equal(batch.near, again.near)  # a pure function of the step
        if binarize == "sample":
            assert set(batch.near.unique().tolist()) <= {0.0, 1.0}
            continue
        level = (lambda x: (x > 0.5).float()) if binarize else (lambda x: x)
        for image, index in zip(batch.near, batch.index.tolist(), strict=True):
            of = [torch.equal(image, level(data.images[other].float() / 255)) for other in alike[index].tolist()]
            assert any(of)
            drawn |= {of.index(True)}
    assert binarize or drawn == {0, 1}


def test_a_stream_without_neighbours_is_what_it_was() -> None:
    data = make_splits().train
    with_them, without = Stream(data, 6, 0, neighbours=1).batch(3), Stream(data, 6, 0).batch(3)
    assert torch.equal(with_them.x, without.x)
    assert without.near is None
