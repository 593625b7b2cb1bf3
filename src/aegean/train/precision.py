"""Devices and number formats: bfloat16 where the hardware computes in it natively, float32 elsewhere."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager
from typing import Literal

import torch

from aegean.errors import ConfigError
from aegean.train.distributed import launched

PrecisionName = Literal["auto", "float32", "bfloat16"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; `"auto"` takes a CUDA GPU where there is one.

    Of several processes that torchrun has started, each gets a GPU of its own.

    Raises:
        ConfigError: no such device here, or all processes would share one GPU.
    """
    several = launched()[1] > 1
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if several and name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    elif several and name.startswith("cuda"):
        raise ConfigError(f"train.device {name!r} is one GPU for all processes; say cuda, and each gets its own.")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the device "meta" makes tensors, but they hold nothing
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"Device {name!r} cannot be used ({reason}); leave it out to let Aegean choose.") from None
    return device


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware (AMX or AVX512-BF16; CUDA from sm80)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return any(
            getattr(torch.cpu, probe, lambda: False)()
            for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        )
    return False


def choose_precision(name: PrecisionName, device: torch.device) -> torch.dtype:
    """Return the number format of network passes; weights, losses and statistics are float32 always."""
    if name == "auto":
        return torch.bfloat16 if has_native_bfloat16(device) else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Return the context in which networks run. One context a pass: it caches the cast weights while it lasts."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def keep_freed_memory() -> None:
    """Let the C library reuse the memory of a training step for the next one, where it is glibc.

    By default glibc returns large blocks to the system when they are freed and asks for them again in the next
    layer; every first touch of such a page is a page fault. Keeping them saves these faults (how much time that is
    depends on the machine: `docs/decisions`, number 10), at the price of holding on to the largest amount of memory
    that was ever in use.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
    mallopt(top_pad, 256 << 20)
