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

__all__ = [
    "Answer",
    "ChunkBroker",
    "ClientConfig",
    "Metadata",
    "PolicyClient",
    "PolicyError",
    "PolicyRefused",
    "PolicyUnavailable",
]
