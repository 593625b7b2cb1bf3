"""Several processes that train one model: each computes on its rows of every mini-batch.

What they exchange is little: the weights at the start, the mean of each phase's gradients and metrics, and whether to
stop. Everything else is the same in all of them, because it is a function of the step. The first process alone writes
and judges.
"""

import itertools
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from aegean.data.stream import Batch, Stream
from aegean.errors import ConfigError, TrainingError
from aegean.nn.kernels.batch_norm_relu import BatchNormReLU
from aegean.processes import batch_mean, one_message, sharers, sharing

#: How long a process waits for the others: the first one may evaluate for hours. If it dies, the others end at once.
PATIENCE = timedelta(days=2)

#: Bytes of a text that the first process tells the others.
MAX_TEXT = 16_384

#: The settings of those streams whose batch size is not `train.batch_size`.
BATCH_SIZES = {"labelled": "train.labelled_batch_size", "pairs": "model.consistency.batch_size"}


@dataclass(frozen=True)
class Processes:
    """The processes that train together; the default is one alone, for which nothing here does anything.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, judges and speaks."""
        return self.rank == 0

    def check(self, streams: Iterable[Stream]) -> None:
        """Refuse mini-batches of which not every process gets as many rows.

        Raises:
            ConfigError: a batch size is no multiple of the number of processes.
        """
        for stream in streams:
            if stream.batch_size % self.size:
                setting = BATCH_SIZES.get(stream.name, "train.batch_size")
                lower = stream.batch_size // self.size * self.size
                near = " or ".join(str(size) for size in (lower, lower + self.size) if size)
                raise ConfigError(
                    f"{setting} is {stream.batch_size}, which {self.size} processes cannot share equally; "
                    f"set it to {near}."
                )

    def rows(self, batch: Batch) -> Batch:
        """Return the rows of this process: of n rows, n / size that follow each other."""
        if self.size == 1:
            return batch
        n = len(batch.x) // self.size
        own = slice(self.rank * n, (self.rank + 1) * n)
        near = None if batch.near is None else batch.near[own]
        return Batch(batch.x[own], batch.y[own], batch.index[own], batch.epoch, near)

    def sharing(self, batch: Batch) -> AbstractContextManager[None]:
        """Return the context of all computation on a mini-batch, see `aegean.processes.sharing`."""
        return nullcontext() if self.size == 1 else sharing(self.rank, self.size, len(batch.x))

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the means over the processes, exchanged in one message."""
        if self.size == 1 or not tensors:
            return list(tensors)
        total = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with one_message():
            dist.all_reduce(total)
        total /= self.size
        ends = itertools.accumulate(tensor.numel() for tensor in tensors)
        return [total[end - t.numel() : end].view(t.shape) for t, end in zip(tensors, ends, strict=True)]

    def mean_gradients(self, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """Return the means over the processes; None, where a loss does not touch a weight, stays None."""
        if self.size == 1:
            return gradients
        means = iter(self.mean([gradient for gradient in gradients if gradient is not None]))
        return tuple(None if gradient is None else next(means) for gradient in gradients)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any of the processes."""
        if self.size == 1:
            return flag
        found = torch.tensor([int(flag)])  # on the CPU, so that no GPU is waited for
        with one_message():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def copy(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                whole = tensor.detach().contiguous()
                with one_message():
                    dist.broadcast(whole, 0)
                tensor.detach().copy_(whole)

    def text(self, value: str) -> str:
        """Return the text of the first process."""
        encoded = value.encode()[:MAX_TEXT]
        message = torch.zeros(MAX_TEXT, dtype=torch.uint8)
        message[: len(encoded)] = torch.frombuffer(bytearray(encoded), dtype=torch.uint8) if encoded else 0
        self.copy([message])
        return bytes(message.tolist()).rstrip(b"\0").decode()

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.any(False)


#: One process, which shares nothing.
ALONE = Processes()


def launched() -> tuple[int, int]:
    """Return this process's rank, and how many processes torchrun has started; (0, 1) without torchrun."""
    try:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        raise ConfigError("RANK and WORLD_SIZE must be numbers, as torchrun sets them; unset them.") from None


def join() -> Processes:
    """Return the processes that torchrun has started, connected with each other; one alone without torchrun.

    CPU tensors go by gloo, those of a GPU by NCCL.

    Raises:
        ConfigError: the variables that torchrun sets are wrong.
        TrainingError: the processes do not find each other.
    """
    rank, size = launched()
    if size == 1:
        return ALONE
    if not dist.is_initialized():
        try:
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"The {size} processes cannot find each other ({error}); start them with torchrun."
            ) from None
    return Processes(rank, size)


# ---- batch normalisation --------------------------------------------------------------------------------------------


class JoinedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with the statistics of the whole mini-batch, in place of a layer that is given."""

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.then_relu = isinstance(layer, BatchNormReLU)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, ...) to the same shape; the statistics are float32."""
        output = self._normalised(x) if self.training or self.running_mean is None else super().forward(x)
        return output.relu() if self.then_relu else output

    def _normalised(self, x: Tensor) -> Tensor:
        others = [place for place in range(x.dim()) if place != 1]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        mean = batch_mean(x.float().mean(others))  # (channels,)
        centred = x.float() - mean.view(shape)
        variance = batch_mean(centred.square().mean(others))  # (channels,)
        self._follow(mean.detach(), variance.detach(), x.numel() // x.shape[1])
        output = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            output = output * self.weight.view(shape) + self.bias.view(shape)
        return output.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, values: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        values *= sharers()
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (values / max(values - 1, 1)), share)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any shape that the layer in whose place this stands has taken."""


def join_batch_norm(model: nn.Module) -> None:
    """Let all batch normalisation of a model use the statistics of the whole mini-batch; weights and names stay."""
    joined: dict[int, JoinedBatchNorm] = {}
    for name, part in list(model.named_modules(remove_duplicate=False)):
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not isinstance(part, JoinedBatchNorm):
            place, _, own = name.rpartition(".")
            setattr(model.get_submodule(place), own, joined.setdefault(id(part), JoinedBatchNorm(part)))
