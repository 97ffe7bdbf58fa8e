"""Drives a policy of `score serve` from a robot's computer."""

from score_client.broker import ChunkBroker
from score_client.client import (
    Answer,
    ClientConfig,
    Metadata,
    PolicyClient,
    PolicyError,
    PolicyRefused,
    PolicyUnavailable,
)
from score_client.interface import ArraySpec, Interface

__all__ = [
    "Answer",
    "ArraySpec",
    "ChunkBroker",
    "ClientConfig",
    "Interface",
    "Metadata",
    "PolicyClient",
    "PolicyError",
    "PolicyRefused",
    "PolicyUnavailable",
]
