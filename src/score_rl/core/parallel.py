"""Rows of a batch computed side by side, without a thread pool that spins.

torch's own threads wait busily, and cost more than they give beside a simulator that uses all cores; these sleep.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from score_rl.core.errors import unknown_choice

ROWS_PER_BLOCK = 64
"""Blocks have this many rows on every machine, so that results do not depend on its number of cores."""


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has; ranks of torchrun share them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def map_rows(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """`function(*tensors)` for functions of tensors (n, ...) that treat rows independently; without gradients.

    On the CPU, blocks of 64 rows run on all cores. torch's own threads are not used in addition: it is meant to run
    with `torch.set_num_threads(1)`.
    """
    if torch.compiler.is_compiling():  # a graph for any number of rows knows no blocks
        return _without_gradients(function, tensors)
    n = len(tensors[0])
    if n <= ROWS_PER_BLOCK or tensors[0].device.type != "cpu":
        return _without_gradients(function, tensors)
    blocks = zip(*(tensor.split(ROWS_PER_BLOCK) for tensor in tensors))
    return torch.cat(list(_workers().map(lambda block: _without_gradients(function, block), blocks)))


def _without_gradients(function: Callable[..., Tensor], tensors: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():  # whether gradients are recorded is known per thread
        return function(*tensors)


@lru_cache(maxsize=1)
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_cores(), thread_name_prefix="rows")


def check_device(device: str) -> None:
    """Raise ScoreError where torch cannot compute on a device of this name."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        known = ("cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())))
        if torch.cuda.is_available():
            known = (*known, "cuda")
        raise unknown_choice("device", device, known) from error
