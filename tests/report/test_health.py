import math

import pytest

from aegean.adversary import Adversary
from aegean.errors import DataError
from aegean.report.health import AdversaryHealth

CHANCE = 2 * math.log(2)
LOSSES = ["non-saturating", "minimax", "least-squares", "wasserstein", "jensen-shannon", "kl", "reverse-kl"]


def health(*losses, **given):
    return AdversaryHealth(name="codes", discriminator_loss=list(enumerate(losses, start=1)), **given)


def test_a_loss_that_never_left_chance():
    assert health(*[CHANCE, CHANCE * 1.01, CHANCE * 0.99] * 5).verdict == "never started"


def test_back_at_chance_after_it_had_started_is_what_success_looks_like():
    assert health(CHANCE, 1.0, 1.2, *[CHANCE] * 30).verdict == "working"


def test_accuracies_decide_whether_it_is_overpowered():
    assert health(1.0, 0.5, real_accuracy=0.97, fake_accuracy=0.99).verdict == "overpowered"
    assert health(1.0, 0.1, real_accuracy=0.8, fake_accuracy=0.99).verdict == "working"
    assert health(1.0, 0.1, real_accuracy=0.99, fake_accuracy=0.8).verdict == "working"


def test_without_accuracies_the_loss_decides():
    assert health(1.0, 0.2).verdict == "overpowered"
    assert health(0.2, 1.0).verdict == "working"
    assert health(0.2, 0.3).verdict == "working"


def test_chance_is_that_of_the_loss():
    assert health(1.0, 1.0, discriminator_chance=1.0).verdict == "never started"
    assert health(CHANCE, CHANCE, discriminator_chance=1.0).verdict == "working"


@pytest.mark.parametrize("loss", LOSSES)
def test_a_dead_discriminator_is_found_out_whatever_the_loss(loss):
    chance = Adversary(loss=loss).chance_level[0]
    dead = [chance + noise for noise in (1e-5, -1e-5)] * 10
    assert health(*dead, discriminator_chance=chance).verdict == "never started"
    assert health(*dead, chance - 0.05, *dead, discriminator_chance=chance).verdict == "working"


def test_a_divergence_has_no_scale_to_be_overpowered_by():
    assert health(-0.1, -3.0, discriminator_chance=0.0).verdict == "working"
    accurate = {"real_accuracy": 0.99, "fake_accuracy": 0.99}
    assert health(-0.1, -3.0, discriminator_chance=0.0, **accurate).verdict == "overpowered"


@pytest.mark.parametrize("last", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_at_the_end(last):
    assert health(1.0, 1.1, last).verdict == "diverged"


def test_the_final_loss_is_the_mean_of_the_last_tenth():
    assert health(*range(20)).final_loss == pytest.approx(18.5)
    assert health(3.0, 4.0).final_loss == 4.0


def test_a_history_is_needed():
    with pytest.raises(DataError, match="codes: no losses"):
        health()
