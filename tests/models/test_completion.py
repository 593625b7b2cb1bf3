"""Completed images against the distribution that they must come from, summed over all images of a few pixels."""

import itertools

import pytest
import torch
from torch import Tensor

from aegean.errors import ConfigError, DataError, UnsupportedError
from aegean.models import Model, create
from aegean.models.completion import code_posterior, complete, precede
from aegean.priors import Categorical
from conftest import SMALL_MODELS, make_splits

TINY = (1, 2, 2)
#: Every binary image of 2x2 pixels.
ALL = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4))).view(16, *TINY)
TOP = torch.tensor([[True, True], [False, False]])
BOTTOM = ~TOP


def tiny(name: str, **changes: object) -> Model:
    """A model of 2x2 images whose pixels depend strongly on each other and on the code."""
    model = create(SMALL_MODELS[name].override(changes), TINY, 3, seed=1).eval()
    with torch.no_grad():
        for weight in getattr(model, "decoder", getattr(model, "network", None)).parameters():
            weight.mul_(2.0)
    return model


def joint(model: Model, draws: int = 5000) -> Tensor:
    """p(x) of every image, (16,)."""
    if model.kind == "pixelcnn":
        return model.reconstruction_log_prob(ALL).exp()
    if isinstance(model.prior, Categorical):
        codes = torch.eye(3)
        log_prior = model.prior.log_prob(codes)
    else:
        codes = model.prior.sample(draws, generator=torch.Generator().manual_seed(7))
        log_prior = torch.full((draws,), -torch.tensor(float(draws)).log())
    images, z = ALL.repeat(len(codes), 1, 1, 1), codes.repeat_interleave(16, dim=0)
    terms = model.conditional_log_prob(images, z).view(-1, 16) + log_prior[:, None]
    return terms.logsumexp(dim=0).exp()


def expected(p: Tensor, x: Tensor, known: Tensor) -> Tensor:
    """p(image | known pixels of x) of every image, (16,)."""
    agrees = ((x == ALL) | ~known).flatten(1).all(dim=1)
    return p * agrees / (p * agrees).sum()


def frequencies(images: Tensor) -> Tensor:
    code = (images.flatten(1) * torch.tensor([8.0, 4.0, 2.0, 1.0])).sum(dim=1).long()
    return torch.bincount(code, minlength=16) / len(images)


@pytest.mark.parametrize("name", ["pixelgan-categorical", "pixelgan-gaussian", "pixelcnn"])
def test_below_known_pixels_completions_come_from_the_conditional_distribution(name: str) -> None:
    model = tiny(name)
    with torch.no_grad():
        p = joint(model)
    assert p.sum().item() == pytest.approx(1, abs=1e-4)
    for x in (ALL[5], ALL[12]):
        drawn = model.complete(x.expand(4000, *TINY), TOP, torch.Generator().manual_seed(0), candidates=200)
        torch.testing.assert_close(frequencies(drawn), expected(p, x, TOP), atol=0.05, rtol=0)
        assert (expected(p, x, TOP) - expected(p, ALL[0], TOP)).abs().max() > 0.1  # what is known matters


@pytest.mark.parametrize("name", ["pixelgan-categorical", "pixelgan-gaussian", "pixelcnn"])
def test_above_known_pixels_many_candidates_come_near_it_and_one_does_not(name: str) -> None:
    model = tiny(name)
    with torch.no_grad():
        p = joint(model)
    x, distances = ALL[2], []
    for candidates in (1, 150):
        drawn = model.complete(x.expand(1000, *TINY), BOTTOM, torch.Generator().manual_seed(0), candidates=candidates)
        distances.append((frequencies(drawn) - expected(p, x, BOTTOM)).abs().sum().item() / 2)
    assert distances[1] < 0.08
    assert distances[0] > 0.15


def test_the_posterior_of_categories_is_bayes_rule_summed_over_all_completions() -> None:
    prior = [0.6, 0.3, 0.1]
    model = tiny("pixelgan-categorical", **{"prior.probabilities": prior})
    codes = torch.eye(3)
    known = torch.tensor([[True, True], [True, False]])
    with torch.no_grad():
        joint_k = torch.stack(
            [
                model.conditional_log_prob(ALL, code.expand(16, 3)).exp() * p
                for code, p in zip(codes, prior, strict=True)
            ]
        )
    found = code_posterior(
        model.decoder, model.likelihood, ALL, known.expand(16, 1, 2, 2), codes, model.prior.log_prob(codes)
    ).exp()
    for x, weights in zip(ALL, found, strict=True):
        agrees = ((x == ALL) | ~known).flatten(1).all(dim=1)
        bayes = (joint_k * agrees).sum(dim=1)
        torch.testing.assert_close(weights, bayes / bayes.sum())
    assert found.std(dim=0).max() > 0.05


@pytest.mark.parametrize("name", ["pixelgan-supervised", "pixelgan-gaussian", "pixelcnn"])
def test_known_pixels_are_kept_and_unknown_ones_are_not_looked_at(name: str) -> None:
    model = create(SMALL_MODELS[name], (1, 8, 8), 3, seed=0).eval()
    x = make_splits().streams(6, 6, seed=0)["images"].batch(0).x
    scattered = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    top = torch.arange(8)[:, None].expand(8, 8) < 3
    for known in (top, ~top, scattered):
        other = torch.where(known, x, 1 - x)
        drawn, again = (
            model.complete(images, known, torch.Generator().manual_seed(3), candidates=4) for images in (x, other)
        )
        assert torch.equal(drawn, again)
        kept = known.expand_as(x)
        assert torch.equal(drawn[kept], x[kept])
        assert set(drawn[~kept].unique().tolist()) == {0.0, 1.0}


def test_masks_may_differ_between_images_and_decide_whether_known_pixels_come_first() -> None:
    first = torch.tensor([[True, True], [True, False]]).expand(1, 1, 2, 2)
    assert precede(first)
    assert precede(torch.ones_like(first))
    assert precede(torch.zeros_like(first))
    assert not precede(~first)
    assert not precede(torch.cat((first, ~first)))
    model = tiny("pixelcnn")
    drawn = model.complete(ALL[5:7], torch.cat((first, ~first)), torch.Generator().manual_seed(0), candidates=3)
    assert torch.equal(drawn[first.expand(1, *TINY).nonzero(as_tuple=True)], ALL[5][first[0].expand(TINY)])
    assert drawn[1, 0, 1, 1] == ALL[6, 0, 1, 1]


def test_the_work_is_reported() -> None:
    steps: list[tuple[int, int]] = []
    model = tiny("pixelgan-categorical")
    model.complete(ALL, TOP, progress=lambda done, work: steps.append((done, work)))
    assert steps == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]  # three categories and two rows
    steps.clear()
    model.complete(ALL.repeat(5, 1, 1, 1), BOTTOM, candidates=4, progress=lambda done, work: steps.append((done, work)))
    assert steps == [(2, 6), (4, 6), (6, 6)]  # six candidates, so that each category has two; 200 images at a time


def test_what_cannot_be_completed_is_refused() -> None:
    model = tiny("pixelcnn")
    with pytest.raises(ConfigError, match=r"images of shape \(1, 2, 2\); found \(16, 1, 4, 1\)"):
        model.complete(ALL.view(16, 1, 4, 1), TOP)
    for known in (TOP.float(), torch.ones(3, 2, dtype=torch.bool), TOP.expand(3, 1, 2, 2)):
        with pytest.raises(ConfigError, match="must be boolean and of shape"):
            model.complete(ALL, known)
    with pytest.raises(ConfigError, match="0 candidates"):
        complete(model.network, model.likelihood, None, ALL, TOP, candidates=0)
    with pytest.raises(DataError, match=r"must be in \[0, 1\]; found 0 to 255; divide by 255"):
        model.complete(255 * ALL, TOP)
    for name, reason in (("aae", "PixelCNN decoder"), ("pixelgan-matching", "without reconstruction")):
        other = create(SMALL_MODELS[name], (1, 8, 8), 3, seed=0)
        assert not other.can("complete")
        with pytest.raises(UnsupportedError, match=reason):
            other.complete(torch.zeros(1, 1, 8, 8), torch.ones(8, 8, dtype=torch.bool))
    assert model.can("complete")
