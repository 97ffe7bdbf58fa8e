"""Random streams named by what they are for, so that adding one never shifts another."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*key: int | str) -> int:
    """Seed in [0, 2**53) that depends on the key alone: the same on every machine, exact in JSON.

    >>> derive_seed("evaluation", 3) == derive_seed("evaluation", 3) != derive_seed("evaluation", "3")
    True
    """
    return int.from_bytes(_digest(key)[:8], "big") >> 11


def rng(*key: int | str) -> np.random.Generator:
    """Numpy generator of the stream named by the key, e.g. `rng("collect", robot_seed, episode)`."""
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(_digest(key)[:16], "big")))


def torch_generator(*key: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    """Torch generator of the stream named by the key."""
    return torch.Generator(device=device).manual_seed(derive_seed(*key))


@contextmanager
def seeded(*key: int | str, device: str = "cpu") -> Iterator[None]:
    """Run the body with torch's global generators, of the CPU and of the device, seeded by the key; their outer state
    comes back unchanged."""
    cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.device(device)] if cuda else []):
        torch.default_generator.manual_seed(derive_seed(*key))
        if cuda:  # not `torch.manual_seed`, which also seeds devices whose state would not come back
            with torch.cuda.device(device):
                torch.cuda.manual_seed(derive_seed(*key))
        yield


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch, for libraries that draw from them."""
    random.seed(seed)
    np.random.seed(derive_seed("numpy", seed) % 2**32)
    torch.manual_seed(seed)


def _digest(key: tuple[int | str, ...]) -> bytes:
    """SHA-256 of the key; JSON keeps 3 and "3" apart and cannot run two parts together."""
    if not key:
        raise TypeError("a random stream needs a key")
    plain = [part if isinstance(part, str) else int(part) for part in key]
    return hashlib.sha256(json.dumps(plain).encode()).digest()
