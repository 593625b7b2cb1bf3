import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.config import Config
from aegean.errors import ConfigError
from aegean.schedules import Anneal, Scheduled, is_never_negative, value_at

numbers = st.floats(-100, 100)
spans = st.floats(0.1, 100)
shapes = st.sampled_from(["linear", "cosine"])


class Holder(Config):
    weight: Scheduled = 0.0


@settings(max_examples=50, deadline=None)
@given(numbers, numbers, spans, spans, shapes)
def test_is_constant_before_and_after_and_stays_between(start, end, epochs, begin, shape):
    anneal = Anneal(start=start, end=end, epochs=epochs, begin=begin, shape=shape)
    assert anneal.value(0.0) == anneal.value(begin) == start
    assert anneal.value(2 * (begin + epochs)) == end
    values = [anneal.value(begin + epochs * i / 20) for i in range(21)]
    assert values == pytest.approx(sorted(values, reverse=start > end))
    assert values[10] == pytest.approx((start + end) / 2, abs=1e-9)


def test_linear_and_cosine_differ_between_the_ends_as_their_formulas_say():
    linear = Anneal(start=1.0, end=3.0, epochs=4.0, begin=2.0)
    cosine = Anneal(start=1.0, end=3.0, epochs=4.0, begin=2.0, shape="cosine")
    assert linear.value(3.0) == pytest.approx(1.5)
    assert cosine.value(3.0) == pytest.approx(1.0 + 2.0 * (1.0 - math.cos(math.pi / 4)) / 2.0)


def test_value_at_takes_a_constant_or_an_anneal():
    assert value_at(0.3, 12.5) == 0.3
    assert value_at(Anneal(start=0.3, end=0.0, epochs=10.0), 5.0) == pytest.approx(0.15)


def test_a_setting_takes_a_number_or_an_anneal_and_survives_a_file():
    assert Holder(weight=1).weight == 1
    annealed = Holder(weight=Anneal(start=1.0, end=0.0, epochs=5.0))
    assert Holder.from_dict(annealed.to_dict()) == annealed
    assert Holder.from_dict({"weight": {"start": 1, "end": 0, "epochs": 5}}) == annealed


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"epochs": -1},
        {"begin": -1.0, "epochs": 1},
        {"end": math.inf, "epochs": 1},
        {"shape": "square", "epochs": 1},
    ],
)
def test_impossible_schedules_are_refused(bad):
    with pytest.raises(ConfigError):
        Anneal(**{"start": 1.0, "end": 0.0, **bad})


def test_is_never_negative_looks_at_both_ends():
    assert is_never_negative(0.0)
    assert not is_never_negative(-0.1)
    assert is_never_negative(Anneal(start=1.0, end=0.0, epochs=1.0))
    assert not is_never_negative(Anneal(start=1.0, end=-1.0, epochs=1.0))
    assert not is_never_negative(Anneal(start=-1.0, end=1.0, epochs=1.0))
