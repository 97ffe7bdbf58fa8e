"""Drives a policy of `score serve` or `score export` from a robot's computer."""

from typing import TYPE_CHECKING, Any

from score_client.broker import ChunkBroker
from score_client.interface import (
    Answer,
    ArraySpec,
    Interface,
    Metadata,
    PolicyError,
    PolicyRefused,
    PolicyUnavailable,
)
from score_client.onnx_policy import OnnxPolicy

if TYPE_CHECKING:
    from score_client.client import ClientConfig, PolicyClient

__all__ = [
    "Answer",
    "ArraySpec",
    "ChunkBroker",
    "ClientConfig",
    "Interface",
    "Metadata",
    "OnnxPolicy",
    "PolicyClient",
    "PolicyError",
    "PolicyRefused",
    "PolicyUnavailable",
]


def __getattr__(name: str) -> Any:
    """The client of a server needs websockets and msgpack, which an exported policy does without."""
    if name not in ("ClientConfig", "PolicyClient"):
        raise AttributeError(f"module 'score_client' has no attribute '{name}'")
    from score_client import client

    return getattr(client, name)
