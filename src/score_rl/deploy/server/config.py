"""Settings of the policy server; apart from it, so that the command line needs no WebSocket library to know them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from score_rl.core.errors import ScoreError


@dataclass(frozen=True)
class ServerConfig:
    """Where and how to serve."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 opens the server to the network: give it an API key and TLS then."""
    port: int = 8000
    """TCP port; 0 chooses a free one."""
    seed: int = 0
    """Seed of the noise of clients that send none of their own."""
    frame_steps: int = 0
    """Control steps that a client with single frames is taken to run between two messages, unless it says so itself;
    0: the bundle's execute_steps, as clients with a chunk broker do."""
    batch_window_s: float = 0.002
    """Time that a request waits for others, to be decided together."""
    max_batch: int = 32
    """Most requests decided together."""
    max_connections: int = 64
    """Connections at a time, those that are still opening included."""
    max_message_bytes: int = 262144
    """Largest message."""
    open_timeout_s: float = 5.0
    """Time for the TLS and WebSocket handshakes."""
    ping_interval_s: float = 10.0
    """Time between pings; a client that leaves one unanswered for as long is dropped."""
    idle_timeout_s: float = 600.0
    """Time without a complete message after which a client is dropped."""
    decide_timeout_s: float = 5.0
    """Time for one answer, and for the client to take it."""
    shutdown_timeout_s: float = 5.0
    """Time that requests in work have when the server is told to stop."""
    tls_certificate: Path | None = None
    """Certificate chain (PEM); with `tls_key`, the server speaks wss:// only."""
    tls_key: Path | None = None
    """Private key (PEM) of the certificate."""


def check_config(config: ServerConfig) -> None:
    """Raise ScoreError for settings out of range."""
    if not 0 <= config.port <= 65535:
        raise ScoreError(f"port is {config.port}, expected 0 to 65535")
    for name in ("max_batch", "max_connections", "max_message_bytes"):
        if getattr(config, name) < 1:
            raise ScoreError(f"{name} is {getattr(config, name)}, expected at least 1")
    for name in ("open", "idle", "decide", "shutdown"):
        if not getattr(config, f"{name}_timeout_s") > 0:
            raise ScoreError(f"{name}_timeout_s must be positive, not {getattr(config, f'{name}_timeout_s')}")
    if not config.ping_interval_s > 0 or not config.batch_window_s >= 0:
        raise ScoreError("ping_interval_s must be positive, and batch_window_s not negative")
    if config.frame_steps < 0:
        raise ScoreError(f"frame_steps is {config.frame_steps}, expected 0 (the bundle's) or more")
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
