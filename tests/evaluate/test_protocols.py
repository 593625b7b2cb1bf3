"""Protocols on models whose answers are known."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from aegean import reproduce
from aegean.errors import ConfigError, UnsupportedError
from aegean.evaluate import protocols, samples
from aegean.evaluate.apply import apply, evaluation
from aegean.evaluate.protocols import PROTOCOLS, ProtocolName, check_protocols, evaluate_model, protocol_names
from aegean.models import create
from aegean.priors import Empirical
from conftest import SMALL_MODELS, make_splits


def model_that_predicts(answer, supervised: bool, classes: int = 3):
    """A PixelGAN whose posterior is replaced by a function of the image."""
    name = "pixelgan-supervised" if supervised else "pixelgan-categorical"
    model = create(SMALL_MODELS[name], (1, 8, 8), classes, seed=0)
    model.predict = answer
    model.log_predict = lambda x: answer(x).log()
    return model


def by_corner(x: Tensor) -> Tensor:
    """The class of `make_splits`' images: the row whose left half is bright."""
    return (20 * x[:, 0, :3, :4].mean(dim=2)).softmax(dim=1)


def test_a_perfect_classifier_has_no_error() -> None:
    splits = make_splits()
    results = evaluate_model(model_that_predicts(by_corner, True), splits, "test")
    assert results["error"] == 0
    assert results["nats"] > 0
    assert evaluate_model(model_that_predicts(by_corner, True), splits, "validation")["error"] == 0


def test_errors_are_counted_in_percent_and_unlabelled_images_left_out() -> None:
    splits = make_splits()
    always_one = lambda x: torch.tensor([[0.1, 0.8, 0.1]]).expand(len(x), 3)  # noqa: E731
    results = evaluate_model(model_that_predicts(always_one, True), splits, "test")
    assert results["error"] == pytest.approx(100 * (splits.test.labels != 1).float().mean().item())
    labels = splits.test.labels.clone()
    labels[labels != 1] = -1
    only_ones = dataclasses.replace(splits, test=dataclasses.replace(splits.test, labels=labels))
    assert evaluate_model(model_that_predicts(always_one, True), only_ones, "test")["error"] == 0


def test_clusters_are_named_by_the_validation_images() -> None:
    shuffled = lambda x: by_corner(x)[:, [2, 0, 1]]  # noqa: E731
    results = evaluate_model(model_that_predicts(shuffled, False), make_splits(), "test")
    assert results["error"] == results["majority_error"] == results["hungarian_error"] == 0
    assert results["nmi"] == pytest.approx(1)
    assert (results["clusters"], results["collapsed"]) == (3, 0)


def test_without_validation_images_the_visible_labels_name_the_clusters_and_hidden_ones_do_not() -> None:
    splits = make_splits(validation=0)
    assert evaluate_model(model_that_predicts(by_corner, False), splits, "test")["error"] == 0
    hidden = make_splits(validation=0, labels_per_class=0)
    assert "error" not in evaluate_model(model_that_predicts(by_corner, False), hidden, "test")


def test_nothing_to_judge_on_gives_nothing() -> None:
    assert evaluate_model(model_that_predicts(by_corner, True), make_splits(validation=0), "validation") == {}


def test_apply_runs_in_evaluation_mode_by_batches_and_restores_the_mode() -> None:
    splits = make_splits()
    model = create(SMALL_MODELS["pixelgan-supervised"], (1, 8, 8), 3, seed=0).train()
    done: list[int] = []
    whole = apply(model, model.encode, splits.train.images)
    parts = apply(model, model.encode, splits.train.images, batch_size=7, progress=done.append)
    assert model.training
    torch.testing.assert_close(whole, parts)
    assert done == [7, 14, 21, 28, 35, 42]
    assert not parts.requires_grad
    with evaluation(model):
        assert not model.training


def test_binarised_models_see_binary_images() -> None:
    splits = make_splits()
    model = create(SMALL_MODELS["pixelgan-supervised"], (1, 8, 8), 3, seed=0)
    seen = apply(model, lambda x: x, splits.test.images, binarize="threshold")
    assert torch.equal(seen, (splits.test.images > 127).float())
    floats = apply(model, lambda x: x, splits.test.images.float() / 255, binarize="threshold")  # as in training
    assert torch.equal(floats, seen)
    drawn = [apply(model, lambda x: x, splits.test.images, binarize="sample", batch_size=5) for _ in range(2)]
    assert torch.equal(drawn[0], drawn[1])
    assert set(drawn[0].unique().tolist()) == {0.0, 1.0}


# ---- further protocols, by name -----------------------------------------------------------------------------------


def test_code_match_compares_the_codes_of_test_images_with_the_prior() -> None:
    """An encoder whose codes are the prior's draws passes; one whose codes are all 5 does not."""
    splits = make_splits(n=300, test=200, validation=0)
    found = {}
    for name, codes in (("same", lambda x: torch.randn(len(x), 3)), ("other", lambda x: torch.full((len(x), 3), 5.0))):
        model = create(SMALL_MODELS["aae"], (1, 8, 8), seed=0)
        model.draw_code = codes
        found[name] = evaluate_model(model, splits, "test", protocols=("code-match",))
    assert found["same"]["code_c2st"] < 65
    assert found["other"]["code_c2st"] == 100
    assert found["same"]["code_sliced_wasserstein"] < 2 * found["same"]["prior_sliced_wasserstein"]
    assert found["other"]["code_sliced_wasserstein"] == pytest.approx((25 + 1) ** 0.5, rel=0.1)


def test_of_a_category_and_a_style_the_style_is_compared() -> None:
    model = create(SMALL_MODELS["aae-classified"], (1, 8, 8), 3, seed=0)
    model.draw_code = lambda x: torch.cat((torch.full((len(x), 3), 7.0), torch.randn(len(x), 2)), dim=1)
    splits = make_splits(n=300, test=200, validation=0)
    assert evaluate_model(model, splits, "test", protocols=("code-match",))["code_c2st"] < 65


def test_parzen_is_of_the_models_samples(tmp_path: Path) -> None:
    """A model that draws the test images themselves scores more than one that draws grey; nothing stays behind."""
    splits = make_splits(n=80, test=30, validation=20)
    scores = {}
    for name, images in (("copies", splits.test.images / 255), ("grey", torch.full((1, 1, 8, 8), 0.5))):
        model = create(SMALL_MODELS["aae"], (1, 8, 8), seed=0)
        model.sample = lambda n, generator, of=images: of[torch.randint(len(of), (n,), generator=generator)]
        steps: list[tuple[str, int, int]] = []
        state = tmp_path / name
        found = evaluate_model(
            model, splits, "test", progress=lambda *step, to=steps: to.append(step), protocols=("parzen",), state=state
        )
        scores[name] = found["parzen"]
        assert found["parzen_standard_error"] > 0
        assert steps[-1][1:] == (10_000 * 50, 10_000 * 50)
        assert not list(state.glob("*"))
    assert scores["copies"] > scores["grey"] + 1


def test_cross_domain_asks_what_the_code_shows_in_the_other_domain(tmp_path: Path) -> None:
    """Codes at the other domain's classes: in order, in another order, and all at one."""
    centres, labels = 10 * torch.eye(3).repeat(5, 1), torch.arange(3).repeat(5)
    np.savez(tmp_path / "other.npz", codes=centres.numpy(), labels=labels.numpy())
    prior = Empirical(samples=str(tmp_path / "other.npz")).to_dict()
    splits = make_splits(n=90, test=30, validation=0)
    expected = {"same": (0.0, 0.0), "renamed": (100.0, 0.0), "one": (200 / 3, 200 / 3)}
    for name, (error, hungarian) in expected.items():
        model = create(SMALL_MODELS["aae"].override({"prior": prior}), (1, 8, 8), 3, seed=0)
        turned = {
            "same": lambda k: k,
            "renamed": lambda k: (k + 1) % 3,
            "one": lambda k: 0 * k,
        }[name]
        model.encode = lambda x, turned=turned: 10 * torch.eye(3)[turned(by_corner(x).argmax(1))]
        found = evaluate_model(model, splits, "test", protocols=("cross-domain",))
        assert found["cross_domain_error"] == pytest.approx(error)
        assert found["cross_domain_hungarian_error"] == pytest.approx(hungarian)
    with pytest.raises(UnsupportedError, match="empirical prior"):
        evaluate_model(create(SMALL_MODELS["aae"], (1, 8, 8)), splits, "test", protocols=("cross-domain",))


def test_the_marginal_of_a_categorical_code_is_exact_and_no_less_likely_than_its_largest_term() -> None:
    splits = make_splits(n=40, test=10, validation=5)
    model = create(SMALL_MODELS["pixelgan-supervised"], (1, 8, 8), 3, seed=0).eval()
    found = evaluate_model(model, splits, "test", protocols=("marginal",))
    x = splits.test.images / 255
    with torch.no_grad():
        terms = torch.stack([model.conditional_log_prob(x, torch.eye(3)[k].expand(10, 3)) for k in range(3)])
        conditional = -model.reconstruction_log_prob(x).mean()
    assert found["marginal_nats"] == pytest.approx(float(-(terms.logsumexp(0) - math.log(3)).mean()), rel=1e-5)
    assert found["conditional_nats"] == pytest.approx(float(conditional), rel=1e-5)


@pytest.mark.parametrize("name", ["aae", "pixelgan-supervised"])
def test_the_marginal_of_one_image_has_no_standard_error(name: str) -> None:
    splits = make_splits(n=40, test=1, validation=2)
    found = evaluate_model(create(SMALL_MODELS[name], (1, 8, 8), 3), splits, "test", protocols=("marginal",))
    assert {"marginal_nats", "conditional_nats"} <= found.keys()
    assert "marginal_nats_standard_error" not in found
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("implicit", "bits-back"),
        ("infogan", None),
        ("ali", None),
        ("aae-universal", "code-match"),
        ("aae-gaussian", "parzen"),
    ],
)
def test_the_same_model_gets_the_same_numbers_again_without_the_global_generator(
    monkeypatch: pytest.MonkeyPatch, name: str, protocol: ProtocolName | None
) -> None:
    few = lambda *given: samples._parzen(*given, 100, "parzen")  # noqa: E731
    monkeypatch.setitem(PROTOCOLS, "parzen", PROTOCOLS["parzen"]._replace(measure=few))
    splits = make_splits(n=80, test=30, validation=20)
    if protocol == "parzen":
        splits = dataclasses.replace(splits, binarize="sample")
    model = create(SMALL_MODELS[name], (1, 8, 8), 3, seed=0)
    state, protocols = torch.get_rng_state(), (protocol,) if protocol else ()
    first, second = (evaluate_model(model, splits, "test", protocols=protocols) for _ in range(2))
    assert first == second
    assert torch.equal(state, torch.get_rng_state())


def test_baselines_of_images_that_are_drawn_are_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, ...]] = []
    monkeypatch.setattr(reproduce, "compare_baselines", lambda *given: seen.append(given) or {})
    splits = dataclasses.replace(make_splits(), binarize="sample")
    state = torch.get_rng_state()
    reproduce.baselines(splits)
    reproduce.baselines(splits)
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][2], seen[1][2])
    assert torch.equal(state, torch.get_rng_state())


def test_the_marginal_of_a_continuous_code_bounds_that_of_a_code_that_is_ignored() -> None:
    """A decoder that ignores z has p(x) = p(x|z), which importance weighting meets from one side."""
    splits = make_splits(n=40, test=10, validation=5)
    model = create(SMALL_MODELS["aae"], (1, 8, 8), seed=0).eval()
    model.decoder = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.Unflatten(1, (1, 8, 8)))
    for weight in model.decoder.parameters():
        torch.nn.init.zeros_(weight)
    model.encode = lambda x: torch.zeros(len(x), 3)
    found = evaluate_model(model, splits, "test", protocols=("marginal",))
    assert found["marginal_nats"] == pytest.approx(found["conditional_nats"], abs=0.2)
    with pytest.raises(UnsupportedError, match="marginal"):
        evaluate_model(create(SMALL_MODELS["vae-gan"], (1, 8, 8)), splits, "test", protocols=("marginal",))


def test_bits_back_is_the_mean_of_both_log_ratios_over_the_test_images() -> None:
    model, splits = create(SMALL_MODELS["implicit-supervised"], (1, 8, 8), 3, seed=0).train(), make_splits()
    found = evaluate_model(model, splits, "test", protocols=("bits-back",))
    with torch.inference_mode():
        expected = model.eval().extra_nats(splits.test.images.float() / 255).mean(dim=0)
    values = [found["extra_reconstruction_nats"], found["extra_code_nats"]]
    torch.testing.assert_close(torch.tensor(values), expected)
    with pytest.raises(UnsupportedError, match="for implicit autoencoders, not 'ali'"):
        evaluate_model(create(SMALL_MODELS["ali"], (1, 8, 8), 3), splits, "test", protocols=("bits-back",))


def test_what_a_protocol_lacks_is_found_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    model, measured = create(SMALL_MODELS["aae"], (1, 8, 8)), list[str]()
    first = PROTOCOLS["parzen"]._replace(measure=lambda *_: measured.append("parzen") or {})
    monkeypatch.setitem(PROTOCOLS, "parzen", first)
    monkeypatch.setattr(protocols, "apply", lambda *_, **__: measured.append("nats"))
    with pytest.raises(UnsupportedError, match="'bits-back' is for implicit autoencoders"):
        evaluate_model(model, make_splits(), "test", protocols=("parzen", "bits-back"))
    assert measured == []


def test_without_test_images_nothing_is_asked_of_a_protocol() -> None:
    model = create(SMALL_MODELS["aae"], (1, 8, 8))
    check_protocols(("bits-back",), model, make_splits(test=0))
    assert evaluate_model(model, make_splits(test=0), "test", protocols=("bits-back",)) == {}


def test_what_a_protocol_lacks_is_said() -> None:
    with pytest.raises(UnsupportedError, match="validation images"):
        evaluate_model(create(SMALL_MODELS["aae"], (1, 8, 8)), make_splits(validation=0), "test", protocols=("parzen",))
    with pytest.raises(UnsupportedError, match="vae-gan"):
        evaluate_model(create(SMALL_MODELS["vae-gan"], (1, 8, 8)), make_splits(), "test", protocols=("code-match",))
    with pytest.raises(UnsupportedError, match="proposal"):
        check_protocols(("marginal",), create(SMALL_MODELS["aae"], (1, 8, 8)), make_splits(validation=0))
    with pytest.raises(ConfigError, match="did you mean 'parzen-10m'"):
        protocol_names(["parzen-10"])
    assert protocol_names(["parzen", "code-match"]) == ("parzen", "code-match")
