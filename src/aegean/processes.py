"""What a part must know where several processes share one mini-batch, each of them with some of its rows.

Outside `sharing`, and so in every training by one process, nothing here changes anything. Inside, most parts need not
know: what they compute for a row depends on that row alone, and the numbers that they draw are taken care of. Only
what is computed *across* the rows of a mini-batch has to ask here for the other rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.overrides import TorchFunctionMode

from aegean.errors import TrainingError, UnsupportedError


@dataclass(frozen=True)
class _Share:
    """The rows of this process: the `rank`-th of `size` parts with `rows` rows each."""

    rank: int
    size: int
    rows: int


_share: ContextVar[_Share | None] = ContextVar("share", default=None)


@contextmanager
def sharing(rank: int, size: int, rows: int) -> Iterator[None]:
    """Compute on a part of a mini-batch for the length of a `with` block.

    All random numbers that PyTorch draws in it are those of the whole mini-batch, of which the rows of this process are
    handed out; so all generators stay in step, and the numbers are those that one process would have drawn. Which
    dimension the rows are in is told from the shape: the first, if its size is a multiple of `rows` (several blocks of
    all rows, one after the other), else the first of exactly that size. Where there is none, all processes share the
    numbers.

    Args:
        rank: of this process, from 0.
        size: how many processes there are.
        rows: rows of each process.
    """
    share = _Share(rank, size, rows)
    token = _share.set(share)
    try:
        with _DrawsOfTheWhole(share):
            yield
    finally:
        _share.reset(token)


def sharers() -> int:
    """Return how many processes share the mini-batch at hand."""
    share = _share.get()
    return 1 if share is None else share.size


def batch_mean(value: Tensor) -> Tensor:
    """Return the mean over the processes of what each has averaged over its rows; differentiable.

    Args:
        value: of the same shape in all processes.
    """
    return value if _share.get() is None else _Mean.apply(value)  # type: ignore[no-untyped-call]


def all_rows(x: Tensor) -> Tensor:
    """Return the rows of all processes in the order of the mini-batch, (n, ...) to (size n, ...), without gradient."""
    share = _share.get()
    if share is None:
        return x
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(share.size)]
    with one_message():
        dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


def own_rows(x: Tensor) -> Tensor:
    """Return the rows of this process, (size n, ...) to (n, ...)."""
    share = _share.get()
    return x if share is None else x.chunk(share.size)[share.rank]


@contextmanager
def one_message() -> Iterator[None]:
    """Turn the failure of an exchange into a sentence: nearly always, another process has ended before.

    Raises:
        TrainingError: an exchange failed.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()
        raise TrainingError(
            "This process stopped because it lost another one; see what that one said. The last checkpoint is kept. "
            f"({reason[-1] if reason else type(error).__name__})"
        ) from None


class _Mean(torch.autograd.Function):
    """The mean over processes; so is its gradient, as the loss is the mean of the losses of all processes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _mean(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _mean(gradient)


def _mean(value: Tensor) -> Tensor:
    total = value.detach().clone(memory_format=torch.contiguous_format)
    with one_message():
        dist.all_reduce(total)
    return total / dist.get_world_size()


# ---- random numbers -------------------------------------------------------------------------------------------------

#: Functions that draw and that no part of ours uses; refused where processes share a mini-batch.
_REFUSED: set[Callable[..., Any]] = {
    torch.bernoulli, torch.normal, torch.poisson, torch.rand_like, torch.randn_like, torch.randint_like,
    Tensor.bernoulli_, Tensor.normal_, Tensor.uniform_, Tensor.exponential_, Tensor.random_, Tensor.geometric_,
    Tensor.log_normal_, Tensor.cauchy_,
}  # fmt: skip


class _DrawsOfTheWhole(TorchFunctionMode):
    """Lets a process draw the numbers of all rows and keep those of its own."""

    def __init__(self, share: _Share) -> None:
        super().__init__()
        self.share = share

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.rand, torch.randn, torch.randint):
            return self._of_a_shape(function, args, kwargs)
        if function is torch.randperm and args[0] % self.share.rows == 0:
            return self._take(function(args[0] * self.share.size, *args[1:], **kwargs), 0)
        if function is torch.multinomial and args[0].dim() == 2 and len(args[0]) == self.share.rows:
            return self._take(function(all_rows(args[0]), *args[1:], **kwargs), 0)
        if function is torch.multinomial or function in _REFUSED:
            raise UnsupportedError(
                f"{function.__name__} cannot draw for a mini-batch that several processes share; use torch.rand, "
                "torch.randn, torch.randint, torch.randperm or torch.multinomial, or train in one process."
            )
        return function(*args, **kwargs)

    def _of_a_shape(self, function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        before, shape = _shape(function, args, kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name != "size"}
        rows = self.share.rows
        in_blocks = bool(shape) and shape[0] > 0 and shape[0] % rows == 0
        place = 0 if in_blocks else shape.index(rows) if rows in shape else None
        if place is None:
            return function(*before, shape, **kwargs)
        whole = (*shape[:place], shape[place] * self.share.size, *shape[place + 1 :])
        return self._take(function(*before, whole, **kwargs), place)

    def _take(self, drawn: Tensor, place: int) -> Tensor:
        """The rows of this process from each block of all rows."""
        share = self.share
        before, after = drawn.shape[:place], drawn.shape[place + 1 :]
        count = drawn.shape[place] // (share.size * share.rows)
        blocks = drawn.reshape(*before, count, share.size, share.rows, *after).select(place + 1, share.rank)
        return blocks.reshape(*before, count * share.rows, *after).contiguous()


def _shape(
    function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """What stands before the shape in a call of rand, randn or randint, and the shape."""
    if "size" in kwargs:
        return args, tuple(kwargs["size"])
    if function is torch.randint:
        return args[:-1], tuple(args[-1])
    return (), tuple(args[0]) if args and isinstance(args[0], Sequence) else args
