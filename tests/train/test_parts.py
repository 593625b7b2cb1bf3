"""Optimisers, precision, averages, warnings, logs and checkpoints, each by itself."""

import errno
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from aegean.adversary import Adversary
from aegean.data import Splits
from aegean.errors import CheckpointError, ConfigError, OutputError
from aegean.models import AAE, VAE, Model, create
from aegean.models.base import load_weights
from aegean.train import SGD, Adam, TrainConfig
from aegean.train.checkpoint import list_checkpoints, load_trainer_state, save_checkpoint
from aegean.train.ema import EMA
from aegean.train.health import HealthMonitor
from aegean.train.log import MetricsLog, read_metrics
from aegean.train.optimizers import laid_out_like
from aegean.train.precision import autocast, choose_device, choose_precision, keep_freed_memory
from conftest import SMALL_MODELS

# ---- optimisers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SGD(rate=0.1, momentum=0.9), Adam(rate=0.1, betas=(0.5, 0.9))])
def test_a_fused_optimiser_steps_a_channels_last_weight_like_a_plain_one(config: SGD | Adam) -> None:
    """The fused CPU kernels ignore strides, so a gradient in another layout would reach the wrong elements."""
    torch.manual_seed(0)
    start, gradients = torch.randn(4, 3, 5, 5), torch.randn(3, 4, 3, 5, 5)
    fused = nn.Parameter(start.clone().to(memory_format=torch.channels_last))
    plain = nn.Parameter(start.clone())
    optimizer = config.build([fused])
    reference = (
        torch.optim.SGD([plain], lr=0.1, momentum=0.9)
        if isinstance(config, SGD)
        else torch.optim.Adam([plain], lr=0.1, betas=(0.5, 0.9))
    )
    for gradient in gradients:
        fused.grad = laid_out_like(gradient, fused)
        plain.grad = gradient
        optimizer.step()
        reference.step()
    torch.testing.assert_close(fused.detach().contiguous(), plain.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "sgd", "momentum": 1.5},
        {"rate": -1.0},
        {"rate": {"start": 1.0, "end": -1.0, "epochs": 1.0}},
        {"betas": [1.5, 0.9]},
        {"betas": [0.9, 1.0]},
        {"drops": [[1.0, -0.1]]},
        {"drops": [[math.nan, 0.1]]},
        {"drops": [[math.inf, 0.1]]},
        {"drops": [[1.0, math.inf]]},
        {"weight_decay": -1.0},
        {"weight_decay": math.inf},
        {"eps": math.inf},
        {"clip_norm": 0.0},
        {"clip_norm": math.nan},
    ],
    ids=str,
)
def test_rates_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    *_, name = bad
    with pytest.raises(ConfigError, match=rf"optimizers.{name}"):
        TrainConfig.from_dict({"optimizers": {"default": {"kind": "adam", **bad}}})


# ---- precision -----------------------------------------------------------------------------------------------------


def test_precision_is_what_was_asked_for() -> None:
    device = choose_device("cpu")
    assert choose_precision("float32", device) is torch.float32
    assert choose_precision("bfloat16", device) is torch.bfloat16
    assert choose_precision("auto", device) in (torch.float32, torch.bfloat16)
    linear, x = nn.Linear(2, 2), torch.ones(1, 2)
    for dtype in (torch.float32, torch.bfloat16):  # an option that were ignored would be a defect
        with autocast(device, dtype):
            assert linear(x).dtype is dtype


@pytest.mark.parametrize("name", ["toaster", "meta"])
def test_a_device_that_computes_nothing_is_a_clear_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' cannot be used"):
        choose_device(name)


def test_keeping_freed_memory_works_where_there_is_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_freed_memory()
    for platform in ("darwin", "win32"):
        monkeypatch.setattr("sys.platform", platform)
        keep_freed_memory()
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())  # musl has no mallopt
    keep_freed_memory()


# ---- average -------------------------------------------------------------------------------------------------------


def test_the_average_is_the_exponential_one_after_its_warm_up() -> None:
    model = nn.Linear(1, 1, bias=False).requires_grad_(False)
    ema = EMA(model, decay=0.8)
    expected = float(model.weight)
    for step in range(1, 60):
        with torch.no_grad():
            model.weight.fill_(step)
        ema.update()
        decay = min(0.8, step / (step + 10))
        expected = decay * expected + (1 - decay) * step
    assert float(ema.average["weight"]) == pytest.approx(expected, rel=1e-5)
    with ema.applied():
        assert float(model.weight) == pytest.approx(expected, rel=1e-5)
    assert float(model.weight) == 59


def test_with_an_average_the_saved_model_is_the_average(splits: Splits, tmp_path: Path) -> None:
    from test_loop import trainer_of

    trainer = trainer_of("aae", splits, tmp_path, epochs=2, ema=0.9)
    trainer.fit()
    saved = Model.from_pretrained(list_checkpoints(tmp_path / "checkpoints")[-1])
    assert trainer.ema is not None
    for name, tensor in saved.state_dict().items():
        assert torch.equal(tensor, trainer.ema.average[name])
    assert any(not torch.equal(a, b) for a, b in zip(saved.parameters(), trainer.model.parameters(), strict=True))


# ---- warnings ------------------------------------------------------------------------------------------------------


def test_an_adversary_that_never_leaves_chance_is_reported_once() -> None:
    monitor = HealthMonitor()
    chance = 2 * math.log(2)
    metrics = {"discriminate": chance + 0.001, "discriminate/chance": chance}
    assert [bool(monitor.check(metrics)) for _ in range(5)] == [False, False, True, False, False]


@pytest.mark.parametrize("loss", ["least-squares", "wasserstein", "jensen-shannon", "kl", "reverse-kl"])
def test_an_adversary_that_never_starts_is_reported_whatever_its_loss(loss: str) -> None:
    chance = Adversary.from_dict({"loss": loss}, "test").chance_level[0]
    dead = [{"discriminate": chance + sign * 1e-5, "discriminate/chance": chance} for sign in (1, -1, 1)]
    monitor = HealthMonitor()
    assert [bool(monitor.check(metrics)) for metrics in dead] == [False, False, True]
    monitor = HealthMonitor()
    assert not monitor.check({"discriminate": chance - 0.05, "discriminate/chance": chance})
    assert not any(monitor.check(metrics) for metrics in dead * 2)


def test_an_adversary_that_begins_late_has_as_much_time() -> None:
    monitor = HealthMonitor()
    chance = 2 * math.log(2)
    assert not any(monitor.check({"agree": -1.0}) for _ in range(5))
    restored = HealthMonitor()
    metrics = {"discriminate": chance, "discriminate/chance": chance}
    assert not any(monitor.check(metrics) for _ in range(2))
    restored.load(json.loads(json.dumps(monitor.state())))
    assert "after 3 epochs" in restored.check(metrics)[0]


def test_an_adversary_that_is_back_at_chance_is_not_reported() -> None:
    monitor = HealthMonitor()
    chance = 2 * math.log(2)
    assert not monitor.check({"discriminate": 0.9, "discriminate/chance": chance})
    restored = HealthMonitor()
    restored.load(json.loads(json.dumps(monitor.state())))
    for _ in range(7):
        assert not restored.check({"discriminate": chance, "discriminate/chance": chance})


def test_a_collapsed_cluster_is_reported_once() -> None:
    monitor = HealthMonitor()
    usage = {"discriminate/usage": [0.5, 0.4995, 0.0005]}
    fair = {"discriminate/usage": [0.4, 0.3, 0.3]}
    found = [monitor.check(metrics) for metrics in [usage] * 4 + [fair] + [usage] * 7]
    assert [len(warnings) for warnings in found] == [0] * 9 + [1, 0, 0]  # five epochs in a row, once
    assert "After 10 epochs 1 of 3 clusters had collapsed (for example cluster 2 held 0.05 %" in found[9][0]


def test_a_real_adversary_that_cannot_learn_is_reported(splits: Splits) -> None:
    from test_loop import trainer_of

    frozen = {"default": Adam(rate=1e-3), "discriminate": SGD(rate=0.0)}
    trainer = trainer_of("aae", splits, epochs=4, optimizers=frozen)
    with torch.no_grad():
        for weight in trainer.model.discriminator.parameters():
            weight.zero_()
    assert any("has not started after 3 epochs" in warning for warning in trainer.fit().warnings)
    working = trainer_of("aae", splits, epochs=4, optimizers={"default": Adam(rate=1e-2)})
    assert not working.fit().warnings


# ---- log -----------------------------------------------------------------------------------------------------------


def test_the_log_survives_a_line_cut_off_by_a_crash(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for epoch in range(1, 4):
        log.append({"epoch": epoch, "step": 10 * epoch, "loss": 1.0})
    with log.path.open("a") as stream:
        stream.write('{"epoch": 4, "st')
    assert [row["epoch"] for row in read_metrics(log.path)] == [1, 2, 3]
    log.truncate(20)
    assert [row["epoch"] for row in read_metrics(log.path)] == [1, 2]


def test_tensorboard_files_are_written_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is an extra")
    MetricsLog(tmp_path, tensorboard=True).append({"epoch": 1, "step": 10, "loss": 1.0})
    assert list((tmp_path / "tensorboard").glob("events*"))


# ---- checkpoints ---------------------------------------------------------------------------------------------------


def small_model(name: str = "aae") -> Model:
    return create(SMALL_MODELS[name], (1, 8, 8), 3, seed=3)


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_save_pretrained_and_from_pretrained_give_the_same_model(name: str, tmp_path: Path) -> None:
    model = small_model(name)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = Model.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert (loaded.config, loaded.shape, loaded.classes) == (model.config, model.shape, model.classes)
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    small_model("aae").save_pretrained(tmp_path)
    assert isinstance(AAE.from_pretrained(tmp_path), AAE)
    with pytest.raises(CheckpointError, match="holds the model 'aae', not 'vae'"):
        VAE.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="holds another model"):
        load_weights(small_model("vae"), tmp_path / "model.safetensors")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "trainer.safetensors", "trainer.json"])
@pytest.mark.parametrize("keep", [0, 1, 8, 100, -3])
def test_a_truncated_checkpoint_is_one_clear_error(file: str, keep: int, splits: Splits, tmp_path: Path) -> None:
    from test_loop import trainer_of

    trainer_of("aae", splits, tmp_path, epochs=1).fit()
    checkpoint = list_checkpoints(tmp_path / "checkpoints")[-1]
    raw = (checkpoint / file).read_bytes()
    (checkpoint / file).write_bytes(raw[:keep])
    with pytest.raises(CheckpointError, match=checkpoint.name):
        if file == "config.json":
            Model.from_pretrained(checkpoint)
        else:
            trainer_of("aae", splits).load(checkpoint)


def test_a_missing_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no saved model here"):
        Model.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model": {"kind": "aaae"}, "shape": [1, 8, 8], "classes": 0}')
    with pytest.raises(CheckpointError, match=r"unknown model 'aaae'; did you mean 'aae'\?"):
        Model.from_pretrained(tmp_path)


#: What a trainer saves beside tensors.
VALUES = {"step": 1, "steps_per_epoch": 1, "seconds": 1.5, "counts": {}, "ema_steps": 0, "health": {}, "warnings": []}


@pytest.mark.parametrize("wrong", [None, {"step": "1"}, {"counts": 3}, {"counts": {"a": "b"}}, {"warnings": None}])
def test_values_of_other_kinds_than_a_trainer_saves_are_damage(wrong: dict[str, object] | None, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path, 1, small_model(), {}, VALUES)
    assert load_trainer_state(checkpoint) == ({}, VALUES)
    (checkpoint / "trainer.json").write_text("{}" if wrong is None else json.dumps(VALUES | wrong))
    with pytest.raises(CheckpointError, match=r"trainer\.json: damaged or truncated\.$"):
        load_trainer_state(checkpoint)


@pytest.mark.parametrize("file", ["model.safetensors", "trainer.safetensors", "trainer.json"])
def test_a_damaged_checkpoint_names_the_one_before_it(file: str, tmp_path: Path) -> None:
    older, newer = (save_checkpoint(tmp_path, step, small_model(), {}, VALUES) for step in (1, 2))
    (newer / file).write_bytes((newer / file).read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=f"Remove the folder {newer} to go on from {older.name} beside it"):
        load_trainer_state(newer)
    assert load_trainer_state(older)[1] == VALUES
    (older / file).write_bytes(b"")
    with pytest.raises(CheckpointError, match=older.name) as raised:  # nothing is before it
        load_trainer_state(older)
    assert "Remove" not in str(raised.value)


def test_only_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 3):
        save_checkpoint(tmp_path, step, small_model(), {"rng": torch.zeros(1)}, VALUES | {"step": step})
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    assert len(list(tmp_path.iterdir())) == 2
    tensors, values = load_trainer_state(tmp_path / "step-00000003")
    assert values == VALUES | {"step": 3}
    assert torch.equal(tensors["rng"], torch.zeros(1))


def test_a_full_disk_keeps_what_was_saved_and_leaves_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 1, small_model(), {}, VALUES)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("aegean.files.os.fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        save_checkpoint(tmp_path, 2, small_model(), {}, VALUES | {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert load_trainer_state(list_checkpoints(tmp_path)[-1])[1] == VALUES
