from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.data import ImageData, Stream
from aegean.errors import ConfigError


def some_stream(n=10, batch_size=3, seed=0, **options):
    """A stream whose images carry their own index as their grey value."""
    images = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1).expand(n, 1, 2, 3).clone()
    return Stream(ImageData(images, torch.arange(n) - 1, tuple(map(str, range(n)))), batch_size, seed, **options)


def epoch_of(stream, epoch):
    steps = stream.steps_per_epoch
    return [stream.batch(step) for step in range(epoch * steps, (epoch + 1) * steps)]


def test_a_batch_holds_what_it_says():
    batch = some_stream().batch(5)
    assert batch.x.dtype == torch.float32
    assert batch.x.shape == (3, 1, 2, 3)
    assert torch.equal(batch.x[:, 0, 0, 0] * 255, batch.index.float())
    assert torch.equal(batch.y, batch.index - 1)
    assert batch.epoch == 5 / 3


def test_the_loop_may_name_the_epoch():
    assert some_stream().batch(5, epoch=0.25).epoch == 0.25


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), batch_size=st.integers(1, 60), seed=st.integers(0, 2**40), epoch=st.integers(0, 5))
def test_an_epoch_repeats_none_and_loses_only_what_does_not_fill_a_batch(n, batch_size, seed, epoch):
    batches = epoch_of(some_stream(n, batch_size, seed), epoch)
    assert all(len(batch.index) == batch_size for batch in batches)
    seen = Counter(torch.cat([batch.index for batch in batches]).tolist())
    if batch_size <= n:
        assert set(seen.values()) == {1}
        assert len(seen) == n - n % batch_size
    else:
        assert len(batches) == 1
        assert len(seen) == n
        assert max(seen.values()) - min(seen.values()) <= 1


def test_images_that_miss_one_epoch_come_in_another():
    stream = some_stream(n=10, batch_size=3)
    seen = {int(i) for epoch in range(20) for batch in epoch_of(stream, epoch) for i in batch.index}
    assert seen == set(range(10))


def test_epochs_seeds_names_and_repeats_have_orders_of_their_own():
    stream = some_stream(n=100, batch_size=100)
    orders = [
        stream.batch(0),
        stream.batch(1),
        stream.batch(0, repeat=1),
        replace(stream, seed=1).batch(0),
        replace(stream, name="labelled").batch(0),
    ]
    assert len({tuple(batch.index.tolist()) for batch in orders}) == len(orders)


@pytest.mark.parametrize("binarize", [None, "threshold", "sample"])
def test_a_batch_is_a_function_of_the_step_alone(binarize):
    forward = some_stream(n=250, batch_size=20, binarize=binarize)
    first = [forward.batch(step) for step in range(30)]
    torch.rand(7)  # the global generator has no part in it
    backward = some_stream(n=250, batch_size=20, binarize=binarize)
    for step in reversed(range(30)):
        again = backward.batch(step)
        assert torch.equal(again.index, first[step].index)
        assert torch.equal(again.x, first[step].x)


def test_changing_a_batch_does_not_change_later_ones():
    stream = some_stream()
    before = stream.batch(0)
    kept = before.index.clone()
    before.index.zero_()
    before.x.zero_()
    before.y.zero_()
    after = stream.batch(0)
    assert torch.equal(after.index, kept)
    assert torch.equal(after.y, kept - 1)
    assert torch.equal(after.x[:, 0, 0, 0] * 255, kept.float())


def test_sampling_draws_anew_at_every_visit():
    images = torch.full((4, 1, 8, 8), 128, dtype=torch.uint8)
    stream = Stream(ImageData(images, torch.full((4,), -1)), 4, 0, binarize="sample")
    draws = [
        stream.batch(0).x,
        stream.batch(1).x,
        stream.batch(0, repeat=1).x,
        replace(stream, seed=1).batch(0).x,
    ]
    assert all(set(x.unique().tolist()) == {0.0, 1.0} for x in draws)
    assert not any(torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])


def test_fewer_images_than_a_batch_come_around_again():
    stream = some_stream(n=30, batch_size=100)
    assert stream.steps_per_epoch == 1
    assert set(Counter(stream.batch(0).index.tolist()).values()) == {3, 4}
    assert stream.batch(7).epoch == 7


def test_a_stream_that_is_there_already_is_not_copied():
    stream = some_stream()
    assert stream.to("cpu").data.images.data_ptr() == stream.data.images.data_ptr()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("binarize", [None, "threshold", "sample"])
def test_batches_are_made_on_the_device_of_the_data(binarize):
    here = some_stream(n=50, batch_size=20, binarize=binarize)
    there = here.to("cuda")
    for step in range(5):
        batch = there.batch(step)
        assert {batch.x.device.type, batch.y.device.type, batch.index.device.type} == {"cuda"}
        assert torch.equal(batch.index.cpu(), here.batch(step).index)
        if binarize != "sample":
            assert torch.equal(batch.x.cpu(), here.batch(step).x)


def test_nothing_to_stream():
    with pytest.raises(ConfigError, match="'labelled' has no images; give it some"):
        some_stream(n=0, name="labelled")
    with pytest.raises(ConfigError, match="batch size of 0; it must be at least 1"):
        some_stream(batch_size=0)
