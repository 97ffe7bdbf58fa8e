"""Settings of the policy server; apart from it, so that the command line needs no WebSocket library to know them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count, Natural, NonNegative, Positive, Range, Seed
from score_rl.core.records import validate


@dataclass(frozen=True)
class ServerConfig:
    """Where and how to serve."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 opens the server to the network: give it an API key and TLS then."""
    port: Annotated[int, Range(0, 65535)] = 8000
    """TCP port; 0 chooses a free one."""
    seed: Seed = 0
    """Seed of the noise of clients that send none of their own."""
    frame_steps: Natural = 0
    """Control steps that a client with single frames is taken to run between two messages, unless it says so itself;
    0: the bundle's execute_steps, as clients with a chunk broker do."""
    batch_window_s: NonNegative = 0.002
    """Time that a request waits for others, to be decided together."""
    max_batch: Count = 32
    """Most requests decided together."""
    max_connections: Count = 64
    """Connections at a time, those that are still opening included."""
    max_message_bytes: Natural = 0
    """Largest message; 0: what the bundle's arrays need, 256 KiB at least, 16 MiB more where entries are ignored."""
    rename: tuple[str, ...] = ()
    """Clients' names for what the policy reads, as CLIENT_NAME=KEY, e.g. observation/state=state."""
    ignore: tuple[str, ...] = ()
    """Entries of clients' messages that the policy does not read, as patterns, e.g. 'observation/*image*'."""
    open_timeout_s: Positive = 5.0
    """Time for the TLS and WebSocket handshakes."""
    ping_interval_s: Positive = 10.0
    """Time between pings; a client that leaves one unanswered for as long is dropped."""
    idle_timeout_s: Positive = 600.0
    """Time without a complete message after which a client is dropped."""
    decide_timeout_s: Positive = 5.0
    """Time for one answer, and for the client to take it."""
    shutdown_timeout_s: Positive = 5.0
    """Time that requests in work have when the server is told to stop."""
    tls_certificate: Path | None = None
    """Certificate chain (PEM); with `tls_key`, the server speaks wss:// only."""
    tls_key: Path | None = None
    """Private key (PEM) of the certificate."""


def check_config(config: ServerConfig) -> None:
    """Raise ScoreError for settings out of range."""
    validate(config)
    if (config.tls_certificate is None) != (config.tls_key is None):
        raise ScoreError("TLS needs both tls_certificate and tls_key")


def tls_context(config: ServerConfig) -> ssl.SSLContext | None:
    """TLS as configured, None without. Raises ScoreError where certificate or key cannot be used."""
    if config.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ScoreError(f"cannot use {config.tls_certificate} with {config.tls_key}: {error}") from error
    return context
