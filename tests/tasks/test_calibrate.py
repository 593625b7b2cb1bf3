"""One temperature for probabilities, and the choice of what to label next."""

import math

import pytest
import torch

from aegean.data import ImageData
from aegean.errors import DataError
from aegean.tasks.calibrate import COLDEST, cross_fitted, fit_temperature
from aegean.tasks.classes import Classes
from aegean.tasks.folds import Unseen
from aegean.tasks.next_labels import choose_next


def drawn(temperature: float, n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `temperature` times too sure of labels drawn from them, and these labels."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).flatten()
    return (temperature * logits).log_softmax(dim=1), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.08)


def test_no_mistake_among_few_labels_does_not_make_certain() -> None:
    """Ten right answers of probability 0.9: eleven of twelve is what they say for sure (Platt), not certainty."""
    log_q = torch.tensor([[0.9, 0.1]]).log().expand(10, 2)
    temperature = fit_temperature(log_q, torch.zeros(10, dtype=torch.int64))
    assert temperature > 2 * COLDEST
    assert float((log_q[0] / temperature).softmax(dim=0)[0]) == pytest.approx(11 / 12, abs=1e-3)


def test_impossible_answers_stay_finite() -> None:
    log_q = torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]])
    assert math.isfinite(fit_temperature(log_q, torch.tensor([1, 1])))
    with pytest.raises(DataError, match="one label a prediction"):
        fit_temperature(log_q, torch.tensor([1]))


def test_no_image_has_a_part_in_its_own_temperature() -> None:
    log_q, labels = drawn(3.0, 300)
    parts = torch.arange(300) % 3
    probabilities = cross_fitted(log_q, labels, parts)
    for part in range(3):
        expected = (log_q / fit_temperature(log_q[parts != part], labels[parts != part])).softmax(dim=1)
        torch.testing.assert_close(probabilities[parts == part], expected[parts == part])
    alone = cross_fitted(log_q, labels, torch.zeros(300, dtype=torch.int64))
    assert not torch.allclose(alone, (log_q / fit_temperature(log_q, labels)).softmax(dim=1))
    one = cross_fitted(log_q[:1], labels[:1], torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(one, log_q[:1].exp())


def test_uncertain_images_that_differ_are_chosen() -> None:
    """Four groups of doubtful images far apart, and many sure ones: one of each group is chosen, no sure one."""
    generator = torch.Generator().manual_seed(0)
    centres = 10 * torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    codes = torch.cat((centres.repeat_interleave(8, dim=0), torch.full((200, 2), 5.0))) + 0.1 * torch.randn(
        232, 2, generator=generator
    )
    first = torch.cat((torch.linspace(0.5, 0.6, 32), torch.full((200,), 0.99)))
    probabilities = torch.stack((first, 1 - first), dim=1)
    chosen = choose_next(probabilities, codes, 4)
    assert sorted((chosen // 8).tolist()) == [0, 1, 2, 3]
    assert int(chosen.max()) < 32
    doubt = -first[chosen]
    assert (doubt.diff() <= 0).all()
    assert choose_next(probabilities, codes, 1000)[:32].tolist() == list(range(32))
    assert len(choose_next(probabilities, codes, 0)) == 0
    same = choose_next(probabilities, torch.zeros(232, 2), 3)
    assert len(set(same.tolist())) == 3


def test_an_error_no_better_than_guessing_is_called_so() -> None:
    data = ImageData(torch.zeros(20, 1, 4, 4, dtype=torch.uint8), torch.full((20,), -1), ("a", "b"))
    labels = torch.arange(20) % 2
    for wrong, expected in ((0, False), (8, True)):
        predicted = torch.where(torch.arange(20) < wrong, 1 - labels, labels)
        unseen = Unseen(torch.arange(20), labels, torch.eye(2)[predicted].mul(0.8).add(0.1).log(), labels)
        sentences = Classes(data, torch.zeros(20, 2), unseen, labels[:0]).sentences()
        assert any("no better than guessing" in sentence for sentence in sentences) is expected
        assert f"{20 - wrong} of 20 images whose label was hidden" in sentences[0]
