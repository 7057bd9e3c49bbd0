"""Where a model runs and in which arithmetic."""

from typing import Literal

import torch

from luthier.errors import RecipeError

Precision = Literal["bf16", "fp16", "fp32"]


def choose_device(asked: str) -> str:
    """The kind of device: what was asked for, or the best one there is.

    Raises RecipeError where the device asked for is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(device for device, available in there.items() if available)
    if asked not in there:
        raise RecipeError(f"training.device: no device is called {asked}; known: auto, {', '.join(there)}")
    if not there[asked]:
        raise RecipeError(f"training.device: this machine has no {asked} (say auto or cpu)")
    return asked


def choose_precision(asked: str, device: str) -> Precision:
    """The arithmetic: what was asked for, or bf16 where the device computes in it by itself.

    Raises RecipeError where the device cannot do what was asked for.
    """
    if asked == "auto":
        return "bf16" if _has_fast_bf16(device) else "fp16" if device == "cuda" else "fp32"
    if asked == "fp16" and device == "cpu":
        raise RecipeError("training.precision: fp16 needs a GPU (say bf16 or fp32 on this device)")
    return asked  # type: ignore[return-value]


def micro_batch_tokens(device: str) -> int | None:
    """How many tokens to compute at once: few enough for a CPU's caches, without bound on a GPU.

    Seconds on one thread, bf16, rows laid flat, in pieces of 1,024, 2,048 and 4,096 tokens: MiniLM, four steps of 32
    paragraphs, 5.8, 5.5, 5.7; SmolLM2-135M with LoRA, three steps of 16 chats, 9.5, 9.0, 9.0. Memory grows with them.
    """
    return 2048 if device == "cpu" else None


def _has_fast_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)  # Ampere; older ones emulate it
    return device == "cpu" and "avx512_bf16" in _cpu_flags()


def _cpu_flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return next((line for line in file if line.startswith("flags")), "")
    except OSError:  # no Linux
        return ""
