"""Ranks: processes that learn together, as `torchrun` starts them. Without it there is one, and nothing to exchange.

Every function is a no-op for one rank, which therefore computes to the bit what a plain process does. Results of an
exchange are the same bits on every rank.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn

from score_rl.core.errors import ScoreError


def launched() -> int:
    """Ranks that torchrun's environment variables announce; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join() -> None:
    """Meet the other ranks, over gloo on the CPU and nccl on CUDA; calling it again does nothing."""
    if launched() > 1 and not _joined():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        distributed.init_process_group()


def rank() -> int:
    """Number of this rank; 0, the one that writes files, also before `join`."""
    return distributed.get_rank() if _joined() else 0


def count() -> int:
    """How many ranks there are; 1 before `join`."""
    return distributed.get_world_size() if _joined() else 1


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()  # some builds of torch go without


def gather(value: Any) -> list[Any]:
    """What every rank gave, in their order, at every rank; plain values, as in JSON."""
    if count() == 1:
        return [value]
    data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(count())]
    distributed.all_gather(sizes, torch.tensor([len(data)]))
    longest = int(max(sizes))
    padded = [torch.zeros(longest, dtype=torch.uint8) for _ in range(count())]
    distributed.all_gather(padded, nn.functional.pad(data, (0, longest - len(data))))
    return [json.loads(bytes(part[: int(size)].tolist())) for part, size in zip(padded, sizes)]


def agree(value: Any, what: str) -> None:
    """Wait for all ranks. Raises ScoreError, at every one of them, where they do not hold the same plain value."""
    values = gather(value)
    if any(other != values[0] for other in values):
        raise ScoreError(f"the ranks differ in {what}: {values}")


def mean(tensor: Tensor) -> Tensor:
    """Mean of a floating tensor over the ranks, elementwise; it may be the tensor itself."""
    if count() == 1:
        return tensor
    total = tensor.detach().clone()
    distributed.all_reduce(total)
    return total / count()


def mean_figures(figures: Mapping[str, float]) -> dict[str, float]:
    """Mean of named numbers over the ranks."""
    if count() == 1:
        return dict(figures)
    return dict(zip(figures, mean(torch.tensor(list(figures.values()), dtype=torch.float64)).tolist()))


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients of all parameters that have one by their mean over the ranks, in one exchange."""
    if count() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    averaged = mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, averaged.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(part.view_as(gradient))


def moments(rows: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and variance (biased) over the rows (n, ...) of all ranks, and their number; n is the same everywhere."""
    own = rows.mean(dim=0), rows.var(dim=0, unbiased=False)
    if count() == 1:
        return *own, len(rows)
    middle = mean(own[0])
    return middle, mean(own[1] + (own[0] - middle).square()), len(rows) * count()


def standardized(values: Tensor) -> Tensor:
    """Values with mean 0 and standard deviation 1 over all ranks."""
    if count() == 1:
        return (values - values.mean()) / (values.std() + 1e-8)
    middle, variance, n = moments(values.flatten())
    return (values - middle) / ((variance * n / (n - 1)).sqrt() + 1e-8)
