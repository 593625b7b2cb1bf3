"""The loop of phases, on the four cases that strain it, and against loops written out by hand."""

import copy
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aegean.data import Splits
from aegean.data.stream import Batch
from aegean.errors import CheckpointError, ConfigError, TrainingError
from aegean.models import AAE, Group, Model, Moment, Phase, create
from aegean.models.consistency import neighbours_of
from aegean.models.vae import VAEConfig
from aegean.train import SGD, Adam, TrainConfig, Trainer
from aegean.train.checkpoint import list_checkpoints
from aegean.train.log import MetricsLog
from conftest import SMALL_MODELS, make_splits


def trainer_of(name: str, splits: Splits, folder: Path | None = None, **settings: object) -> Trainer:
    defaults: dict[str, object] = {"batch_size": 10, "labelled_batch_size": 6, "precision": "float32", "device": "cpu"}
    config = TrainConfig(**(defaults | settings))  # type: ignore[arg-type]
    model = create(SMALL_MODELS[name], splits.shape, splits.classes, seed=1)
    neighbours = neighbours_of(model.config)
    streams = splits.streams(config.batch_size, config.labelled_batch_size, seed=1, neighbours=neighbours)
    return Trainer(model, config, streams, folder)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def state(trainer: Trainer) -> dict[str, Tensor]:
    """Everything that training changes."""
    tensors = {f"model/{name}": tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    for phase, optimizer in trainer.optimizers.items():
        for index, entries in optimizer.state_dict()["state"].items():
            tensors |= {f"{phase}/{index}/{key}": value.clone() for key, value in entries.items()}
    tensors["rng"] = trainer.model.rng.get_state()
    return tensors


def assert_same_bits(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_a_phase_changes_the_networks_that_it_names_and_no_others(name: str, splits: Splits) -> None:
    trainer = trainer_of(name, splits, optimizers={"default": SGD(rate=0.1)})
    names = {id(weight): key for key, weight in trainer.model.named_parameters()}
    trainer.model.train()
    assert trainer.phases
    for group in trainer.groups:
        for phase in group.phases:
            before = weights(trainer.model)
            trainer._run_group(
                Group(group.forward, group.uses, (phase,), group.simultaneous), trainer.streams[phase.stream].batch(0)
            )
            after = weights(trainer.model)
            changed = {key for key in before if not torch.equal(before[key], after[key])}
            named = {names[id(weight)] for network in phase.updates for weight in network.parameters()}
            assert changed
            assert changed <= named, phase.name
            for network in phase.updates:  # each of them did change
                assert changed & {names[id(weight)] for weight in network.parameters()}, phase.name


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_weights_that_a_phase_does_not_update_get_no_gradient(name: str, splits: Splits) -> None:
    trainer = trainer_of(name, splits)
    trainer.run_step()
    assert all(weight.grad is None for weight in trainer.model.parameters())


def test_the_encoder_of_an_aae_has_one_optimiser_state_a_phase(splits: Splits) -> None:
    trainer = trainer_of("aae", splits, optimizers={"default": Adam(rate=1e-3)})
    trainer.run_step()
    encoder = next(trainer.model.encoder.parameters())
    first, second = (trainer.optimizers[name].state[encoder]["exp_avg"] for name in ("reconstruct", "confuse"))
    assert not torch.equal(first, second)
    assert encoder not in trainer.optimizers["discriminate"].state


def test_an_aae_trains_exactly_like_a_loop_written_out_by_hand(splits: Splits) -> None:
    optimizers = {
        "reconstruct": SGD(rate=0.01, momentum=0.9),
        "discriminate": SGD(rate=0.1, momentum=0.1),
        "confuse": Adam(rate=1e-3),
    }
    trainer = trainer_of("aae", splits, optimizers=optimizers)
    model = create(SMALL_MODELS["aae"], splits.shape, splits.classes, seed=1)
    assert isinstance(model, AAE)
    reconstruct = torch.optim.SGD([*model.encoder.parameters(), *model.decoder.parameters()], lr=0.01, momentum=0.9)
    discriminate = torch.optim.SGD(model.discriminator.parameters(), lr=0.1, momentum=0.1)
    confuse = torch.optim.Adam(model.encoder.parameters(), lr=1e-3)
    stream = splits.streams(10, 6, seed=1)["images"]
    for step in range(6):
        trainer.run_step()
        x = stream.batch(step).x
        noise = 0.1 * torch.randn(x.shape, generator=model.rng)
        z = model.encoder(x + noise)
        rebuilt = model.decoder(z).sigmoid()
        loss = 0.5 * (rebuilt - x).square().sum((1, 2, 3)) + 0.5 * 64 * math.log(2 * math.pi)
        _step(reconstruct, loss.mean(), model)

        z = model.encoder(x + 0.1 * torch.randn(x.shape, generator=model.rng))  # the codes of both other phases
        prior = torch.randn(len(x), 3, generator=model.rng)
        d_real, d_fake = model.discriminator(prior), model.discriminator(z.detach())
        ones, zeros = torch.ones_like(d_real), torch.zeros_like(d_real)
        loss = F.binary_cross_entropy_with_logits(d_real, ones) + F.binary_cross_entropy_with_logits(d_fake, zeros)
        _step(discriminate, loss, model)
        loss = F.binary_cross_entropy_with_logits(model.discriminator(z), ones)
        _step(confuse, loss, model)
    for (name, ours), theirs in zip(trainer.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=name)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, model: nn.Module) -> None:
    model.zero_grad()
    loss.backward()
    optimizer.step()


def test_simultaneous_phases_are_differentiated_before_any_network_is_stepped(splits: Splits) -> None:
    """With plain SGD the steps of a VAE/GAN are the gradients at the weights before the step, all three of them."""
    rate = 0.01
    trainer = trainer_of("vae-gan", splits, optimizers={"default": SGD(rate=rate)})
    reference = copy.deepcopy(trainer.model)
    reference.seed_noise(1)
    trainer.model.seed_noise(1)
    batch = trainer.streams["images"].batch(0)
    reference.train()
    (group,) = reference.phases()
    assert isinstance(group, Group)
    before = weights(trainer.model)
    trainer.run_step()
    after = weights(trainer.model)
    shared = group.forward(batch)
    keys = {id(weight): key for key, weight in reference.named_parameters()}
    seen = set()
    for phase in group.phases:
        updated = [weight for network in phase.updates for weight in network.parameters()]
        gradients = torch.autograd.grad(phase.loss(batch, shared).mean(), updated, retain_graph=True)
        for weight, gradient in zip(updated, gradients, strict=True):
            key = keys[id(weight)]
            seen.add(key)
            torch.testing.assert_close(after[key], before[key] - rate * gradient, rtol=1e-5, atol=1e-7, msg=key)
    assert seen == set(before)


class Counting(Model):
    """Counts how often its phases run, and on which labels."""

    kind = "counting"
    config_class = VAEConfig

    def __init__(self) -> None:
        super().__init__(VAEConfig(), (1, 8, 8), 3)
        self.a, self.b = nn.Linear(1, 1), nn.Linear(1, 1)
        self.runs: list[tuple[str, Tensor]] = []

    def loss(self, name: str, network: nn.Module) -> Callable[[Batch], Tensor]:
        def loss(batch: Batch) -> Tensor:
            self.runs.append((name, batch.index))
            return network(batch.x.mean((1, 2, 3))[:, None]).square().flatten()

        return loss

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("always", self.loss("always", self.a), (self.a,)),
            Phase("third", self.loss("third", self.b), (self.b,), every=3),
            Phase("late", self.loss("late", self.b), (self.b,), every=2, after=1.1),
            Phase("twice", self.loss("twice", self.a), (self.a,), repeat=2),
            Phase("labels", self.loss("labels", self.b), (self.b,), stream="labelled"),
        )


def test_phases_run_every_kth_step_k_times_a_step_and_after_a_warm_up(splits: Splits) -> None:
    trainer = Trainer(Counting(), TrainConfig(batch_size=10), splits.streams(10, 6, seed=1))
    ran: list[list[str]] = []
    for _ in range(9):
        trainer.model.runs.clear()
        trainer.run_step()
        ran.append([name for name, _ in trainer.model.runs])
        indices = dict(enumerate(index for name, index in trainer.model.runs if name in ("always", "twice")))
        assert torch.equal(indices[0], indices[1])  # the first repeat reads the step's own batch
        assert not torch.equal(indices[1], indices[2])  # the second one other images
    assert [step for step in range(9) if "third" in ran[step]] == [0, 3, 6]
    assert trainer.steps_per_epoch == 4
    assert [step for step in range(9) if "late" in ran[step]] == [5, 7]
    assert all(names.count("twice") == 2 and names.count("always") == 1 for names in ran)


def test_a_moment_comes_once_before_its_step_and_sees_the_images(splits: Splits, tmp_path: Path) -> None:
    had: list[tuple[int, int]] = []

    class Waiting(Counting):
        def moments(self) -> tuple[Moment, ...]:
            return (Moment(1.1, lambda stream: had.append((len(stream.data), len(self.runs)))),)

    def new() -> Trainer:
        return Trainer(Waiting(), TrainConfig(batch_size=10, epochs=2), splits.streams(10, 6, seed=1), tmp_path)

    trainer = new()
    for _ in range(5):
        trainer.run_step()
    assert not had
    before = len(trainer.model.runs)  # type: ignore[arg-type]
    trainer.save()
    trainer.run_step()
    assert had == [(len(splits.train), before)]
    trainer.run_step()
    assert len(had) == 1
    trainer.save()
    for checkpoint, more in zip(list_checkpoints(tmp_path / "checkpoints"), (1, 0), strict=True):
        resumed = new()
        resumed.load(checkpoint)
        had.clear()
        resumed.run_step()
        assert len(had) == more  # one that was not had yet is not lost


class Product(Model):
    """The loss a b x; the gradient of each factor is the other one."""

    kind = "product"
    config_class = VAEConfig

    def __init__(self) -> None:
        super().__init__(VAEConfig(), (1, 8, 8))
        self.a, self.b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

    def phases(self) -> tuple[Group, ...]:
        loss = lambda batch, shared: shared  # noqa: E731
        return (
            Group(
                forward=lambda batch: self.a(self.b(torch.ones(len(batch.x), 1))).flatten(),
                uses=(self.a, self.b),
                phases=(Phase("first", loss, (self.a,)), Phase("second", loss, (self.b,))),
                simultaneous=True,
            ),
        )


def test_simultaneous_steps_do_not_see_each_other_whatever_their_order(splits: Splits) -> None:
    trainer = Trainer(
        Product(),
        TrainConfig(batch_size=10, optimizers={"default": SGD(rate=0.1)}, precision="float32"),
        splits.streams(10, 6, seed=1),
    )
    a, b = (weight.item() for weight in trainer.model.parameters())
    trainer.run_step()
    after = [weight.item() for weight in trainer.model.parameters()]
    assert after == pytest.approx([a - 0.1 * b, b - 0.1 * a])


class Weighed(Model):
    """One channels-last weight, whose gradient comes out contiguous."""

    kind = "weighed"
    config_class = VAEConfig

    def __init__(self) -> None:
        super().__init__(VAEConfig(), (1, 8, 8))
        self.part = nn.Conv2d(3, 4, 5, bias=False).to(memory_format=torch.channels_last)
        self.gradient = torch.arange(300.0).view(4, 3, 5, 5)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("only", lambda batch: (self.part.weight * self.gradient).sum().expand(10), (self.part,)),)


def test_each_gradient_reaches_its_own_weight_in_any_memory_layout(splits: Splits) -> None:
    settings = TrainConfig(batch_size=10, optimizers={"default": SGD(rate=1.0)}, precision="float32")
    trainer = Trainer(Weighed(), settings, splits.streams(10, 6, seed=1))
    before = trainer.model.part.weight.detach().clone()
    trainer.run_step()
    torch.testing.assert_close(before - trainer.model.part.weight, trainer.model.gradient, rtol=1e-4, atol=1e-4)


def test_the_labelled_stream_has_labels_only_and_an_epoch_is_a_pass_over_all_images(splits: Splits) -> None:
    trainer = trainer_of("pixelgan-supervised", splits, epochs=1)
    assert trainer.steps_per_epoch == len(splits.train) // 10 == 4
    seen: list[Tensor] = []
    original = trainer.phases["classify"].loss
    object.__setattr__(trainer.phases["classify"], "loss", lambda batch: seen.append(batch.y) or original(batch))
    trainer.fit()
    assert trainer.step == 4
    assert len(seen) == 4
    assert all((y >= 0).all() for y in seen)


def test_a_shared_forward_pass_gives_the_gradients_of_separate_ones(splits: Splits) -> None:
    model = create(SMALL_MODELS["pixelgan-categorical"], splits.shape, splits.classes, seed=1)
    batch = splits.streams(10, 6, seed=1)["images"].batch(0)
    group = next(item for item in model.phases() if isinstance(item, Group))
    confuse = group.phases[1]
    parameters = [weight for network in confuse.updates for weight in network.parameters()]
    gradients = []
    for separate in (False, True):
        model.seed_noise(7)
        shared = group.forward(batch)
        group.phases[0].loss(batch, shared)
        if separate:
            model.seed_noise(7)
            shared = group.forward(batch)
        gradients.append(torch.autograd.grad(confuse.loss(batch, shared).mean(), parameters))
    for first, second in zip(*gradients, strict=True):
        assert torch.equal(first, second)


def test_alternating_phases_may_not_step_what_their_shared_forward_pass_uses() -> None:
    network, other = nn.Linear(1, 1), nn.Linear(1, 1)
    first, last = Phase("first", lambda: None, (network,)), Phase("last", lambda: None, (other,))
    with pytest.raises(ConfigError, match="'first' updates a network of the shared forward pass"):
        Group(lambda batch: None, (network,), (first, last))
    Group(lambda batch: None, (network,), (first, last), simultaneous=True)
    Group(lambda batch: None, (network,), (last, first))


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("name", SMALL_MODELS)
def test_training_2n_steps_equals_training_n_and_resuming_bit_for_bit(
    name: str, ema: float | None, splits: Splits, tmp_path: Path
) -> None:
    optimizers = {"default": Adam(rate=1e-3, drops=((2, 0.1),))}
    whole = trainer_of(name, splits, tmp_path / "whole", epochs=4, ema=ema, optimizers=optimizers)
    whole.fit()
    first = trainer_of(name, splits, tmp_path / "parts", epochs=2, ema=ema, optimizers=optimizers)
    first.fit()
    torch.manual_seed(12345)  # nothing may depend on the global generator
    second = trainer_of(name, splits, tmp_path / "parts", epochs=4, ema=ema, optimizers=optimizers)
    second.load(list_checkpoints(tmp_path / "parts" / "checkpoints")[-1])
    second.fit()
    assert_same_bits(state(whole), state(second))
    rows = [
        [
            {key: value for key, value in json.loads(line).items() if key != "seconds"}
            for line in (tmp_path / part / "metrics.jsonl").read_text().splitlines()
        ]
        for part in ("whole", "parts")
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4


def test_an_interrupted_epoch_goes_on_exactly_in_the_middle(splits: Splits, tmp_path: Path) -> None:
    whole = trainer_of("pixelgan-supervised", splits, tmp_path / "whole", epochs=3)
    whole.fit()
    first = trainer_of("pixelgan-supervised", splits, tmp_path / "parts", epochs=3)
    inner = first.run_step

    def interrupted_step() -> None:
        inner()
        if first.step == 6:  # in the middle of the second epoch
            signal.raise_signal(signal.SIGINT)

    first.run_step = interrupted_step  # type: ignore[method-assign]
    outcome = first.fit()
    assert (outcome.ended, outcome.step) == ("interrupted", 6)
    second = trainer_of("pixelgan-supervised", splits, tmp_path / "parts", epochs=3)
    second.load(list_checkpoints(tmp_path / "parts" / "checkpoints")[-1])
    assert second.step == 6
    assert second.fit().ended == "finished"
    assert_same_bits(state(whole), state(second))
    logs = [(tmp_path / part / "metrics.jsonl").read_text().splitlines() for part in ("whole", "parts")]
    strip = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in log] for log in logs]
    assert strip[0] == strip[1]


def test_ctrl_c_before_the_first_step_is_saved_as_any_other(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees the log may interrupt: the first thing a run writes comes after the handlers of signals."""
    inner = MetricsLog.truncate

    def interrupted_truncate(log: MetricsLog, step: int) -> None:
        inner(log, step)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "truncate", interrupted_truncate)
        outcome = trainer_of("pixelgan-supervised", splits, tmp_path / "parts", epochs=2).fit()
    assert (outcome.ended, outcome.step) == ("interrupted", 0)
    resumed = trainer_of("pixelgan-supervised", splits, tmp_path / "parts", epochs=2)
    resumed.load(list_checkpoints(tmp_path / "parts" / "checkpoints")[-1])
    assert resumed.fit().ended == "finished"
    whole = trainer_of("pixelgan-supervised", splits, epochs=2)
    whole.fit()
    assert_same_bits(state(whole), state(resumed))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(splits: Splits) -> None:
    runs = [trainer_of("pixelgan-supervised", splits, epochs=1) for _ in range(2)]
    for run in runs:
        torch.manual_seed(id(run) % 1000)
        run.fit()
    assert_same_bits(state(runs[0]), state(runs[1]))
    other = create(SMALL_MODELS["pixelgan-supervised"], splits.shape, splits.classes, seed=2)
    assert not torch.equal(next(other.parameters()), next(runs[0].model.parameters()))


def test_a_nan_stops_the_run_with_phase_and_step_and_keeps_the_last_checkpoint(splits: Splits, tmp_path: Path) -> None:
    trainer = trainer_of("aae", splits, tmp_path, epochs=2)
    trainer.fit()
    kept = list_checkpoints(tmp_path / "checkpoints")
    again = trainer_of("aae", splits, tmp_path, epochs=4)
    again.load(kept[-1])
    with torch.no_grad():
        next(iter(again.model.discriminator.parameters())).fill_(math.nan)
    with pytest.raises(TrainingError, match=r"'discriminate' became NaN or infinite at step 8 .*last good checkpoint"):
        again.fit()
    assert list_checkpoints(tmp_path / "checkpoints") == kept


def test_weights_that_are_nan_are_never_saved(splits: Splits, tmp_path: Path) -> None:
    trainer = trainer_of("aae", splits, tmp_path)
    with torch.no_grad():
        next(iter(trainer.model.decoder.parameters())).fill_(math.nan)
    with pytest.raises(TrainingError, match="decoder"):
        trainer.save()
    assert not list_checkpoints(tmp_path / "checkpoints")


def test_a_phase_without_its_stream_an_unknown_phase_and_a_missing_optimiser_are_refused(splits: Splits) -> None:
    unlabelled = make_splits(labels_per_class=0)
    with pytest.raises(ConfigError, match=r"'classify' reads the stream 'labelled'.*give some labels"):
        trainer_of("pixelgan-supervised", unlabelled)
    with pytest.raises(ConfigError, match=r"no phase 'reconstuct'; did you mean 'reconstruct'\?"):
        trainer_of("aae", splits, optimizers={"default": SGD(), "reconstuct": SGD()})
    with pytest.raises(ConfigError, match="'discriminate' has no optimiser"):
        trainer_of("aae", splits, optimizers={"reconstruct": SGD()})


def test_a_checkpoint_of_another_model_or_of_other_data_is_refused(splits: Splits, tmp_path: Path) -> None:
    trainer_of("aae", splits, tmp_path, epochs=1).fit()
    checkpoint = list_checkpoints(tmp_path / "checkpoints")[-1]
    with pytest.raises(CheckpointError, match="another model"):
        trainer_of("vae", splits).load(checkpoint)
    with pytest.raises(CheckpointError, match="4 steps an epoch"):
        trainer_of("aae", make_splits(n=80)).load(checkpoint)


def test_the_learning_rate_follows_the_schedule_of_its_phase(splits: Splits) -> None:
    optimizers = {"default": SGD(rate=0.1, drops=((1, 0.1), (2, 0.5)))}
    trainer = trainer_of("vae", splits, optimizers=optimizers)
    rates = []
    for _ in range(12):
        trainer.run_step()
        rates.append(trainer.optimizers["elbo"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.1] * 4 + [0.01] * 4 + [0.005] * 4)


def test_gradients_are_clipped_where_asked(splits: Splits) -> None:
    plain = trainer_of("vae", splits, optimizers={"default": SGD(rate=1.0)})
    clipped = trainer_of("vae", splits, optimizers={"default": SGD(rate=1.0, clip_norm=0.01)})
    moved = []
    for trainer in (plain, clipped):
        before = weights(trainer.model)
        trainer.run_step()
        after = weights(trainer.model)
        moved.append(math.sqrt(sum(float((after[key] - before[key]).square().sum()) for key in before)))
    assert moved[0] > 0.1
    assert moved[1] == pytest.approx(0.01, rel=1e-3)


def test_progress_and_outcome_say_where_training_stands(splits: Splits, tmp_path: Path) -> None:
    seen = []
    outcome = trainer_of("aae", splits, tmp_path, epochs=2).fit(seen.append, lambda: {"validation/error": 1.0})
    assert (outcome.ended, outcome.step) == ("finished", 8)
    last = seen[-1]
    assert (last.step, last.steps, last.epoch, last.epochs) == (8, 8, 2.0, 2)
    assert last.images_per_second > 0
    assert last.seconds_left == 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"reconstruct", "discriminate", "confuse", "discriminate/real_accuracy", "validation/error"} <= rows[
        0
    ].keys()
