"""What identifies a policy: its specification and its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from score_rl.contracts import PolicySpec
from score_rl.core.files import to_plain


def fingerprint(spec: PolicySpec, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a policy's spec and of the tensors (a `state_dict`) that it decides with: see `FlowPolicy`."""
    digest = hashlib.sha256(json.dumps(to_plain(spec)).encode())
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
