"""What ends a training before its time: signals, and the end of memory."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aegean.errors import TrainingError


@contextmanager
def stop_at_signals() -> Iterator[threading.Event]:
    """Let the first Ctrl-C or SIGTERM inside a `with` block set an event; the second one ends the program."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield stop
        return

    def request_stop(number: int, frame: object) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore()


def is_end_of_memory(error: Exception) -> bool:
    """Whether this is what PyTorch raises where memory ends, or would have to be larger than any."""
    known = ("allocate memory", "not enough memory", "storage size calculation overflowed")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(part in str(error).lower() for part in known)


@contextmanager
def explain_memory(step: int) -> Iterator[None]:
    """Turn what PyTorch raises where memory ends into a sentence.

    Raises:
        TrainingError: memory has ended at this step.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_end_of_memory(error):
            raise
        raise TrainingError(
            f"Training stopped: out of memory at step {step}. The last checkpoint is kept. Use a smaller "
            "train.batch_size or smaller networks, or close other programs; then aegean resume goes on."
        ) from None
