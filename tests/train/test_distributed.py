"""Two processes that share every mini-batch train what one process trains on the whole of it."""

import copy
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.cli import app
from aegean.data import Digits
from aegean.errors import CheckpointError, ConfigError, OutputError, TrainingError, UnsupportedError
from aegean.experiment import Experiment
from aegean.files import lock
from aegean.models import create
from aegean.models.consistency import mutual_information, neighbours_of
from aegean.nn.augment import Jitter
from aegean.nn.kernels.batch_norm_relu import BatchNormReLU
from aegean.priors import Categorical
from aegean.processes import all_rows, own_rows, sharing
from aegean.run import Run
from aegean.train import Adam, TrainConfig, Trainer
from aegean.train.distributed import ALONE, JoinedBatchNorm, Processes, join, join_batch_norm
from aegean.train.precision import choose_device
from conftest import SMALL_MODELS, make_splits

#: All models, and one more with few numbers for its batch normalisation and codes that are drawn together.
MODELS = SMALL_MODELS | {
    "pixelgan-across": SMALL_MODELS["pixelgan-matching"].override(
        {"prior.stratified": True, "encoder": {"kind": "mlp", "widths": [16], "batch_norm": "all"}}
    ),
}

TINY = Experiment(
    name="tiny",
    title="tiny",
    data=Digits(test=0.2, validation=100),
    model=SMALL_MODELS["aae"].override({"encoder.batch_norm": "hidden"}),
    train=TrainConfig(
        epochs=2, batch_size=300, ema=0.9, precision="float32", device="cpu",
        optimizers={"default": Adam(rate=1e-3, eps=1e-3)},
    ),
)  # fmt: skip


def in_two_processes(work: Callable[[Processes], object], folder: Path) -> list[object]:
    """Do work in two forked processes connected by gloo on the loopback interface; return what each returned.

    A process is a fork of this one, so that nothing is imported twice. What is returned goes through `torch.save`.
    """
    port = free_port()
    children = []
    for rank in range(2):
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of forks beside threads
            child = os.fork()
        if child == 0:
            try:
                os.environ |= variables(rank, port)
                torch.save(work(join()), folder / f"{rank}.pt")
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def variables(rank: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip


def train(name: str, processes: Processes, steps: int = 3) -> dict[str, Tensor]:
    """Weights, statistics, averages, metrics and the generator after a few steps."""
    splits = make_splits()
    config = TrainConfig(
        batch_size=24, labelled_batch_size=10, precision="float32", device="cpu", ema=0.9,
        optimizers={"default": Adam(rate=1e-3, eps=1e-3, clip_norm=5.0)},
    )  # fmt: skip
    model = create(MODELS[name], splits.shape, splits.classes, seed=1)
    streams = splits.streams(24, 10, seed=1, neighbours=neighbours_of(model.config))
    trainer = Trainer(model, config, streams, processes=processes)
    for _ in range(steps):
        trainer.run_step()
    assert trainer.ema is not None
    found = {f"model/{name}": value.detach().clone() for name, value in model.state_dict().items()}
    found |= {f"average/{name}": value for name, value in trainer.ema.average.items()}
    found |= {f"mean/{name}": value / trainer._means.counts[name] for name, value in trainer._means.sums.items()}
    return found | {"rng": model.rng.get_state()}


def assert_equal_to_rounding(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(
                tensor, second[name], rtol=2e-4, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}"
            )
        else:
            assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    """What both processes have after training each of the small models."""
    torch.set_num_threads(1)
    return in_two_processes(  # type: ignore[return-value]
        lambda processes: {name: train(name, processes) for name in MODELS}, tmp_path_factory.mktemp("two")
    )


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_train_what_one_trains(name: str, trained_by_two: list[dict[str, dict[str, Tensor]]]) -> None:
    """Every model: adversaries, batch normalisation, noise, dropout, stratified codes, averages, clipped gradients."""
    alone = train(name, ALONE)
    first, second = (found[name] for found in trained_by_two)
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key  # the processes do not drift apart
    assert_equal_to_rounding(first, alone)


# ---- a run ----------------------------------------------------------------------------------------------------------


def test_any_process_may_be_stopped_and_one_process_may_go_on(tmp_path: Path) -> None:
    whole = Run.create(tmp_path / "whole", TINY)
    whole.train()

    def interrupted(processes: Processes) -> object:
        run = Run.create(tmp_path / f"named by {processes.rank}", TINY)
        stepped = Trainer.run_step

        def step(trainer: Trainer) -> None:
            stepped(trainer)
            if trainer.step == 3 and processes.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        Trainer.run_step = step  # type: ignore[method-assign]
        reports: list[float] = []
        outcome = run.train(lambda progress: reports.append(progress.epoch))
        return [outcome.ended, outcome.step, run.folder.name, len(reports) > 0]

    first, second = in_two_processes(interrupted, tmp_path)
    assert first == ["interrupted", 3, "named by 0", True]
    assert second == ["interrupted", 3, "named by 0", False]  # the first process alone reports

    def go_on(processes: Processes) -> object:
        Run.open(tmp_path / "both").train()
        return None

    run = Run.open(tmp_path / "named by 0")
    shutil.copytree(run.folder, tmp_path / "both")
    assert run.train().ended == "finished"
    in_two_processes(go_on, tmp_path)
    for other in (run, Run.open(tmp_path / "both")):
        assert_equal_to_rounding(other.model().state_dict(), whole.model().state_dict())
        for row, expected in zip(other.metrics(), whole.metrics(), strict=True):
            assert row == pytest.approx(expected | {"seconds": row["seconds"]}, rel=1e-3, abs=1e-3)


def test_one_process_that_fails_ends_the_others_with_a_sentence(tmp_path: Path) -> None:
    """The first one finds the folder locked; the second one, which has no lock, loses it."""
    Run.create(tmp_path / "run", TINY)

    def refused(processes: Processes) -> str:
        with (tmp_path / "run" / "README.txt").open("a") as other:
            if processes.first:
                assert lock(other)
            try:
                Run.open(tmp_path / "run").train()
            except OutputError as error:
                dist.destroy_process_group()
                return str(error)
            except TrainingError as error:
                return str(error)
        return "nothing happened"

    first, second = in_two_processes(refused, tmp_path)
    assert "another process trains this run" in str(first)
    assert "lost another one; see what that one said" in str(second)


def test_what_only_one_process_meets_ends_both_alike(tmp_path: Path) -> None:
    def meet(processes: Processes) -> list[str]:
        said = []
        for name, spoil in (("step", lambda trainer: setattr(trainer, "step", 2 * processes.rank)), ("loss", _poison)):
            splits = make_splits()
            config = TrainConfig(batch_size=24, labelled_batch_size=10, precision="float32", device="cpu")
            model = create(SMALL_MODELS["vae"], splits.shape, splits.classes, seed=1)
            trainer = Trainer(model, config, splits.streams(24, 10, seed=1), processes=processes)
            if name == "step" or processes.rank == 1:
                spoil(trainer)
            try:
                trainer.fit()
            except (CheckpointError, TrainingError) as error:
                said.append(str(error))
        return said

    first, second = in_two_processes(meet, tmp_path)
    assert first == second
    different, not_finite = first  # type: ignore[misc]
    assert "different checkpoints" in different
    assert "became NaN or infinite at step 0" in not_finite


def test_processes_start_alike_and_stay_so(tmp_path: Path) -> None:
    """Though each makes other weights and noise, and the first one alone evaluates, with noise."""

    def work(processes: Processes) -> dict[str, Tensor]:
        splits = make_splits()
        config = TrainConfig(batch_size=24, labelled_batch_size=10, epochs=2, precision="float32", device="cpu")
        model = create(SMALL_MODELS["aae"], splits.shape, splits.classes, seed=processes.rank)

        def evaluate() -> dict[str, float]:
            return {"drawn": torch.rand(1, generator=model.rng).item()}

        trainer = Trainer(model, config, splits.streams(24, 10, seed=1), processes=processes)
        trainer.fit(evaluate=evaluate if processes.first else None)
        return model.state_dict() | {"rng": model.rng.get_state()}

    first, second = in_two_processes(work, tmp_path)
    for name, tensor in first.items():  # type: ignore[attr-defined]
        assert torch.equal(tensor, second[name]), name  # type: ignore[index]


def _poison(trainer: Trainer) -> None:
    """Make the first phase's loss NaN."""
    phase = next(iter(trainer.phases.values()))
    loss = phase.loss
    spoilt = dataclasses.replace(phase, loss=lambda batch: loss(batch) * float("nan"))
    trainer.groups[0] = dataclasses.replace(trainer.groups[0], phases=(spoilt,))


def test_torchrun_trains_from_the_command_line(tmp_path: Path) -> None:
    """As a person types it: one run, one voice, and what one process trains."""
    (tmp_path / "tiny.yaml").write_text(TINY.to_yaml())
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1",
        f"--master_port={free_port()}", "-m", "aegean", "train", "tiny.yaml",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("run: runs/tiny") == 2  # when it starts, and at its end
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny"]
    run, whole = Run.open(tmp_path / "runs" / "tiny"), Run.create(tmp_path / "whole", TINY)
    whole.train()
    assert_equal_to_rounding(run.model().state_dict(), whole.model().state_dict())
    assert run.evaluation() == pytest.approx(whole.evaluate(), rel=1e-3)


# ---- its parts ------------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_shared_equally_are_refused() -> None:
    splits = make_splits()
    model = create(SMALL_MODELS["pixelgan-supervised"], splits.shape, splits.classes)
    for sizes, sentence in (
        ((20, 9, 0), r"train\.batch_size is 20, which 3 processes cannot share equally; set it to 18 or 21"),
        ((21, 2, 0), r"train\.labelled_batch_size is 2, which 3 processes cannot share equally; set it to 3\."),
        ((21, 3, 31), r"model\.consistency\.batch_size is 31, which 3 processes cannot share equally; set it to 30 or"),
    ):
        config = TrainConfig(batch_size=sizes[0], labelled_batch_size=sizes[1], device="cpu")
        with pytest.raises(ConfigError, match=sentence):
            streams = splits.streams(*sizes[:2], seed=0, pairs=sizes[2])
            Trainer(model, config, streams, processes=Processes(0, 3))


def draws(rows: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [
        torch.rand(rows, 4),
        torch.randn((2 * rows, 4)),  # real and fake, one after the other
        torch.randn(size=(2, rows, 3)).transpose(0, 1),
        torch.rand(6, rows).t(),
        torch.randint(9, (rows,)),
        torch.randint(2, 9, size=(rows, 2)),
        torch.rand(rows, 0),
    ]


def test_each_process_has_its_rows_of_what_one_process_draws() -> None:
    whole = draws(14)
    for rank in range(2):
        with sharing(rank, 2, rows=7):
            own = draws(7)
            common = torch.rand(()), torch.randn(3, 2), torch.randperm(5)
        own_part = slice(7 * rank, 7 * rank + 7)
        for place, (part, all_of_it) in enumerate(zip(own, whole, strict=True)):
            expected = all_of_it[own_part]
            if place == 1:
                expected = torch.cat((all_of_it[:14][own_part], all_of_it[14:][own_part]))
            assert torch.equal(part, expected), place
        draws(14)
        assert torch.equal(common[0], torch.rand(()))  # what has no rows is common to all, and generators stay in step
        assert torch.equal(common[1], torch.randn(3, 2))
        assert torch.equal(common[2], torch.randperm(5))


def test_draws_whose_rows_are_unknown_are_refused() -> None:
    with sharing(0, 2, rows=7):
        for draw in (lambda: torch.rand_like(torch.zeros(7)), lambda: torch.zeros(7).normal_()):
            with pytest.raises(UnsupportedError, match=r"several processes share; use torch\.rand"):
                draw()
        with pytest.raises(UnsupportedError, match="multinomial"):
            torch.multinomial(torch.ones(3), 7, replacement=True)
    torch.rand_like(torch.zeros(7))


def across_rows(x: Tensor) -> list[Tensor]:
    """What is computed across the rows of a mini-batch, (n, 6)."""
    rng = torch.Generator().manual_seed(0)
    labels = (torch.arange(10) % 4 - 1).where(torch.arange(10) < 5, -1)
    labels = labels if len(x) == 10 else own_rows(labels)
    return [
        Jitter(swap=0.5).apply(x[:, :, None, None], rng)[:, :, 0, 0],
        Categorical(categories=3, stratified=True).sample(len(x), labels, rng),
        torch.multinomial(x.softmax(dim=1), 2, generator=rng),
        mutual_information(x.softmax(dim=1), x.flip(1).softmax(dim=1)).expand(len(x)),
        Adversary(loss="kl", logarithmic=True).generator_loss(x[:, 0]),
    ]


def test_what_is_computed_across_rows_sees_all_of_them(tmp_path: Path) -> None:
    x = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))

    def compute(processes: Processes) -> list[Tensor]:
        with sharing(processes.rank, 2, rows=5):
            assert torch.equal(all_rows(own_rows(x)), x)
            return [part.clone() for part in across_rows(own_rows(x))]

    found = [torch.cat(parts) for parts in zip(*in_two_processes(compute, tmp_path), strict=True)]  # type: ignore[call-overload]
    for place, (joined, expected) in enumerate(zip(found, across_rows(x), strict=True)):
        torch.testing.assert_close(joined, expected, msg=lambda text, n=place: f"{n}: {text}")


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=None), BatchNormReLU(3)])
def test_joined_batch_normalisation_is_the_layer_in_whose_place_it_stands(layer: nn.BatchNorm2d) -> None:
    reference = copy.deepcopy(layer)
    network = nn.Sequential(nn.Conv2d(3, 3, 1), layer)
    weight, names = layer.weight, list(network.state_dict())
    join_batch_norm(network)
    joined = network[1]
    assert isinstance(joined, JoinedBatchNorm)
    assert joined.weight is weight
    assert list(network.state_dict()) == names
    for _ in range(2):
        x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1
        torch.testing.assert_close(joined(x), reference(x))
        assert_equal_to_rounding(joined.state_dict(), reference.state_dict())
    torch.testing.assert_close(joined.eval()(x), reference.eval()(x))


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(1, 0).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="one GPU for all processes; say cuda"):
        choose_device("cuda:0")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="Device 'cuda:1' cannot be used"):
            choose_device("cuda")
    assert choose_device("cpu").type == "cpu"


def test_what_one_process_does_is_refused_to_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(0, 0).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"aegean recipes is for one process; .* aegean train and aegean resume"):
        app(["recipes", "list"], standalone_mode=False)
