"""The one training loop: on every mini-batch it runs a model's phases in order.

The loop knows nothing of any model. It prints nothing; the caller is told of progress through callbacks.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from aegean.data.stream import Batch, Stream
from aegean.errors import CheckpointError, ConfigError, TrainingError, did_you_mean
from aegean.models.base import Group, Model, Phase, load_weights
from aegean.train.checkpoint import load_optimizer, load_trainer_state, optimizer_tensors, save_checkpoint
from aegean.train.distributed import ALONE, Processes, join_batch_norm
from aegean.train.ema import EMA
from aegean.train.health import HealthMonitor
from aegean.train.interruptions import explain_memory, stop_at_signals
from aegean.train.log import Means, MetricsLog
from aegean.train.optimizers import laid_out_like
from aegean.train.precision import autocast, choose_device, choose_precision, keep_freed_memory
from aegean.train.settings import TrainConfig

#: Seconds between two calls of the progress callback.
PROGRESS_SECONDS = 0.25


@dataclass(frozen=True)
class Progress:
    """Where a training stands, for a progress bar."""

    epoch: float
    epochs: int
    step: int
    steps: int
    images_per_second: float
    seconds_left: float
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a training ended: `finished`, or `interrupted` by Ctrl-C or SIGTERM with everything saved."""

    ended: Literal["finished", "interrupted"]
    step: int
    seconds: float
    warnings: tuple[str, ...]


class Trainer:
    """Runs the phases of a model over streams of mini-batches.

    Args:
        model: created with `Model.create`, so that it owns its noise.
        config: how to train.
        streams: `"images"`, and `"labelled"` and `"pairs"` where a phase reads them. An epoch is one pass over the
            images.
        folder: the run's folder, for checkpoints and `metrics.jsonl`; None writes nothing.
        processes: those that train this model together, each with its rows of every mini-batch. All have the same
            model and streams; one of them has the folder.

    Raises:
        ConfigError: a phase has no stream or optimiser, an optimiser names no phase, or the processes cannot share a
            mini-batch equally.
    """

    def __init__(
        self,
        model: Model,
        config: TrainConfig,
        streams: Mapping[str, Stream],
        folder: Path | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        processes.check(streams.values())
        if processes.size > 1:
            join_batch_norm(model)
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.model = model.to(self.device)
        self.config = config
        self.folder = folder
        moved = {id(stream.data): stream.data.to(self.device) for stream in streams.values()}  # shared ones once
        self.streams = {name: replace(stream, data=moved[id(stream.data)]) for name, stream in streams.items()}
        self.groups = [item if isinstance(item, Group) else _alone(item) for item in model.phases()]
        self.moments = model.moments()
        self.phases = {phase.name: phase for group in self.groups for phase in group.phases}
        self._check_phases()
        self.parameters = {
            name: list(dict.fromkeys(weight for network in phase.updates for weight in network.parameters()))
            for name, phase in self.phases.items()
        }
        self.optimizers = {name: config.optimizer(name).build(self.parameters[name]) for name in self.phases}
        self.ema = EMA(model, config.ema) if config.ema is not None else None
        self.health = HealthMonitor()
        self.warnings: list[str] = []
        self.steps_per_epoch = self.streams["images"].steps_per_epoch
        self.step = 0
        self.seconds = 0.0
        self._means = Means()
        self._losses: dict[str, float] = {}
        self._first_bad = {name: torch.full((), -1, device=self.device) for name in self.phases}

    def _check_phases(self) -> None:
        count = sum(len(group.phases) for group in self.groups)
        if count != len(self.phases):
            raise ConfigError("Two phases of the model have the same name.")
        for name, phase in self.phases.items():
            if phase.stream not in self.streams:
                remedy = "give some labels, or choose a model without this phase"
                raise ConfigError(f"The phase {name!r} reads the stream {phase.stream!r}, but there is none; {remedy}.")
        for name in self.config.optimizers:
            if name != "default" and name not in self.phases:
                raise ConfigError(f"train.optimizers: the model has no phase {name!r}{did_you_mean(name, self.phases)}")

    # ---- one step -------------------------------------------------------------------------------------------------

    def run_step(self) -> None:
        """Run every phase that is due on the next mini-batch."""
        self._have_moments()
        self.model.train()
        epoch = self.step / self.steps_per_epoch
        batches: dict[tuple[str, int], Batch] = {}
        for group in self.groups:
            first = group.phases[0]
            if not first.due(self.step, self.steps_per_epoch):
                continue
            for repeat in range(first.repeat):
                key = (first.stream, repeat)
                if key not in batches:
                    whole = self.streams[first.stream].batch(self.step, epoch=epoch, repeat=repeat)
                    batches[key] = self.processes.rows(whole)
                with self.processes.sharing(batches[key]):
                    self._run_group(group, batches[key])
        if self.ema is not None:
            self.ema.update()
        self.step += 1

    def _have_moments(self) -> None:
        """Let the model do what is to be done before this step; all processes then have what the first one found."""
        for moment in self.moments:
            if self.step == math.ceil(moment.after * self.steps_per_epoch):
                with autocast(self.device, self.precision):
                    moment.act(self.streams["images"])
                self.processes.copy(list(self.model.buffers()))

    def _run_group(self, group: Group, batch: Batch) -> None:
        with autocast(self.device, self.precision):
            shared = group.forward(batch)
        waiting = []
        for phase in group.phases:
            # A context for each phase: autocast caches cast weights, and the phase before has just changed some.
            with autocast(self.device, self.precision):
                loss = (phase.loss(batch) if shared is None else phase.loss(batch, shared)).float().mean()
            self._record(phase.name, loss)
            keep = shared is not None and phase is not group.phases[-1]
            # Gradients of this phase's networks alone: whatever else the loss touches is neither computed nor changed.
            gradients = self.processes.mean_gradients(
                torch.autograd.grad(loss, self.parameters[phase.name], allow_unused=True, retain_graph=keep)
            )
            if group.simultaneous:
                waiting.append((phase, gradients))
            else:
                self._apply(phase, gradients, batch.epoch)
        for phase, gradients in waiting:
            self._apply(phase, gradients, batch.epoch)

    def _apply(self, phase: Phase, gradients: tuple[Tensor | None, ...], epoch: float) -> None:
        settings = self.config.optimizer(phase.name)
        optimizer = self.optimizers[phase.name]
        for weight, gradient in zip(self.parameters[phase.name], gradients, strict=True):
            weight.grad = None if gradient is None else laid_out_like(gradient, weight)
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters[phase.name], settings.clip_norm)
        for options in optimizer.param_groups:
            options["lr"] = settings.rate_at(epoch)
        optimizer.step()
        for weight in self.parameters[phase.name]:
            weight.grad = None

    def _record(self, name: str, loss: Tensor) -> None:
        names = [name, *(f"{name}/{metric}" for metric in self.model.observed)]
        value, *observed = self.processes.mean((loss.detach(), *self.model.observed.values()))
        for metric, tensor in zip(names, (value, *observed), strict=True):
            self._means.add(metric, tensor)
        self.model.observed = {}
        if self.device.type == "cpu":
            if not math.isfinite(value.item()):
                raise self._not_finite(name, self.step)
        else:  # reading would wait for the device; the step is noted there, and read at intervals
            bad = self._first_bad[name]
            bad.copy_(torch.where((bad < 0) & ~torch.isfinite(value), self.step, bad))

    def _check_finite(self) -> None:
        if self.device.type != "cpu":
            for name, bad in self._first_bad.items():
                step = int(bad)
                if step >= 0:
                    raise self._not_finite(name, step)

    def _not_finite(self, name: str, step: int) -> TrainingError:
        return TrainingError(
            f"Training stopped: the loss of phase {name!r} became NaN or infinite at step {step} "
            f"(epoch {step / self.steps_per_epoch:.2f}). The last good checkpoint is kept. Lower the phase's "
            "learning rate, set its clip_norm, or use precision float32."
        )

    # ---- many steps -----------------------------------------------------------------------------------------------

    def fit(
        self,
        progress: Callable[[Progress], None] | None = None,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
    ) -> Outcome:
        """Train until `config.epochs` are done, or until Ctrl-C or SIGTERM reaches one of the processes.

        Args:
            progress: called a few times a second.
            evaluate: returns metrics of the model as it is (on validation images); called every
                `config.evaluate_every` epochs with the averaged weights, if there are any, in evaluation mode.

        Raises:
            TrainingError: a loss became NaN or infinite, or memory ended.
            OutputError: a checkpoint or the log cannot be written.
        """
        total = self.config.epochs * self.steps_per_epoch
        first_step, before = self.step, self.seconds
        with stop_at_signals() as stop:  # before the first file, which tells others that the training runs
            log = MetricsLog(self.folder, self.config.tensorboard) if self.folder else None
            if log:
                log.truncate(self.step)
            started = saved = time.monotonic()
            reported = started - PROGRESS_SECONDS
            self._start_together()
            while self.step < total and not self.processes.any(stop.is_set()):
                with explain_memory(self.step):
                    self.run_step()
                now = time.monotonic()
                self.seconds = before + now - started
                if progress and now - reported >= PROGRESS_SECONDS:
                    self._check_finite()
                    progress(self._progress(total, (now - started) / (self.step - first_step)))
                    reported = now
                if self.step % self.steps_per_epoch == 0:
                    self._end_epoch(log, evaluate)
                if now - saved >= 60 * self.config.checkpoint_minutes:
                    self.save()
                    saved = now
            self.save()
        ended: Literal["finished", "interrupted"] = "interrupted" if self.step < total else "finished"
        if progress and self.step > first_step:
            progress(self._progress(total, (self.seconds - before) / (self.step - first_step)))
        return Outcome(ended, self.step, self.seconds, tuple(self.warnings))

    def _share_noise(self) -> None:
        state = self.model.rng.get_state()
        self.processes.copy([state])
        self.model.rng.set_state(state)

    def _start_together(self) -> None:
        """Give all processes the weights and the noise of the first one, and check that all are at its step."""
        step = torch.tensor(self.step)
        self.processes.copy([step, *self.model.state_dict().values()])
        self._share_noise()
        if self.processes.any(int(step) != self.step):
            raise CheckpointError(
                "The processes have loaded different checkpoints; let all of them see the same folder of the run."
            )

    def _end_epoch(self, log: MetricsLog | None, evaluate: Callable[[], Mapping[str, float]] | None) -> None:
        self._check_finite()
        epoch = self.step // self.steps_per_epoch
        metrics = self._means.read()
        self._losses = {name: metrics[name] for name in self.phases if name in metrics}
        self._means = Means()
        self.warnings += self.health.check(metrics)
        if evaluate and self.config.evaluate_every and epoch % self.config.evaluate_every == 0:
            with self.for_evaluation():
                metrics |= evaluate()
        self._share_noise()  # the first process alone has evaluated, and may have drawn
        if log:
            log.append({"epoch": epoch, "step": self.step, "seconds": round(self.seconds, 3), **metrics})

    def _progress(self, total: int, seconds_per_step: float) -> Progress:
        means = self._means.read()
        if means:  # none are left right after the end of an epoch
            self._losses = {name: value for name, value in means.items() if name in self.phases}
        return Progress(
            epoch=self.step / self.steps_per_epoch,
            epochs=self.config.epochs,
            step=self.step,
            steps=total,
            images_per_second=self.streams["images"].batch_size / seconds_per_step,
            seconds_left=(total - self.step) * seconds_per_step,
            losses=self._losses,
        )

    @contextmanager
    def for_evaluation(self) -> Iterator[None]:
        """Put the model into evaluation mode with the averaged weights, if there are any, for a `with` block."""
        self.model.eval()
        try:
            if self.ema is None:
                yield
            else:
                with self.ema.applied():
                    yield
        finally:
            self.model.train()

    # ---- state ----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint, unless there is no folder.

        Raises:
            TrainingError: a weight is NaN or infinite; nothing is written, the last good checkpoint stays.
            OutputError: the folder cannot be written.
        """
        if self.folder is None:
            return
        self._check_finite()
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise TrainingError(f"Training stopped: {name!r} became NaN or infinite before step {self.step}.")
        tensors = {"rng": self.model.rng.get_state()}
        for phase, optimizer in self.optimizers.items():
            tensors |= optimizer_tensors(optimizer, f"optimizer/{phase}")
        tensors |= {f"mean/{name}": tensor for name, tensor in self._means.sums.items()}
        values = {
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "seconds": self.seconds,
            "counts": self._means.counts,
            "ema_steps": self.ema.steps if self.ema else 0,
            "health": self.health.state(),
            "warnings": self.warnings,
        }
        # The saved model is the one to use: the average, where there is one, with the weights in training beside it.
        if self.ema is not None:
            tensors |= {f"weights/{name}": tensor.clone() for name, tensor in self.model.state_dict().items()}
        with self.for_evaluation():
            save_checkpoint(self.folder / "checkpoints", self.step, self.model, tensors, values)

    def load(self, checkpoint: Path) -> None:
        """Go on exactly from a checkpoint of this run.

        Raises:
            CheckpointError: damaged, or of another model, optimiser or data set.
        """
        tensors, values = load_trainer_state(checkpoint)
        load_weights(self.model, checkpoint / "model.safetensors")
        try:
            if values["steps_per_epoch"] != self.steps_per_epoch:
                raise CheckpointError(
                    f"{checkpoint}: was made with {values['steps_per_epoch']} steps an epoch, the data now gives "
                    f"{self.steps_per_epoch}; restore the data, or train anew."
                )
            self.step, self.seconds = values["step"], values["seconds"]
            self.model.rng.set_state(tensors["rng"])
            for phase, optimizer in self.optimizers.items():
                load_optimizer(optimizer, f"optimizer/{phase}", tensors)
            if self.ema is not None:
                self.ema.load(self.model.state_dict(), values["ema_steps"])
                self.model.load_state_dict({name: tensors[f"weights/{name}"] for name in self.ema.average})
            sums = {name: tensors[f"mean/{name}"].to(self.device) for name in values["counts"]}
            self._means = Means(sums, dict(values["counts"]))
            self.health.load(values["health"])
            self.warnings = list(values["warnings"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{checkpoint}: incomplete, or of other settings ({error}).") from None


def _alone(phase: Phase) -> Group:
    return Group(forward=lambda batch: None, uses=(), phases=(phase,))
