"""What identifies a policy: its specification and its weights."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from score_rl.contracts import FlowPolicy
from score_rl.core.errors import ScoreError


def fingerprint(policy: FlowPolicy) -> str:
    """SHA-256 of a policy's spec and weights (its `state_dict`).

    A policy that is no torch module provides `fingerprint() -> str` itself; ScoreError where it has neither.
    """
    if callable(own := getattr(policy, "fingerprint", None)):
        return own()
    if not isinstance(policy, nn.Module):
        name = type(policy).__name__
        raise ScoreError(f"{name} is no torch module: give it a method fingerprint() -> str that names its weights")
    digest = hashlib.sha256(repr(policy.spec).encode())
    for name, tensor in sorted(policy.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
