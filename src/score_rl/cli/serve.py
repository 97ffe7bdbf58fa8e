"""`score serve`: a bundle behind a WebSocket, for robots and for clients of openpi."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from score_rl.cli.common import Flat
from score_rl.core.access import read_api_key
from score_rl.core.extras import optional
from score_rl.core.ranges import Count
from score_rl.core.terminal import say
from score_rl.deploy.bundle.bundle import load_bundle
from score_rl.deploy.server.config import ServerConfig, check_config, tls_context


@dataclass(frozen=True)
class Serve:
    """Serve a bundle over a WebSocket in openpi's protocol; docs/serve.md tells what to send.

    Listens on this machine alone unless --host says otherwise. With the environment variable SCORE_API_KEY, or with
    --api-key-file, clients must show that key. Stops on SIGINT and SIGTERM, once running requests are answered.
    """

    bundle: Annotated[Path, tyro.conf.Positional] = Path("runs/bundle")
    """Folder of `score bundle`."""
    server: Flat[ServerConfig] = field(default_factory=ServerConfig)
    """Where and how."""
    stochastic: bool = False
    """Draw the steering's latent instead of using its mean."""
    api_key_file: Path | None = None
    """File whose first line is the API key."""
    threads: Count = 1
    """Threads of torch; a small policy is fastest with one."""

    def run(self) -> None:
        """Serve until told to stop."""
        with optional("serving"):
            from score_rl.deploy.server.server import PolicyServer, serve_until_stopped

        check_config(self.server)
        key, tls = read_api_key(self.api_key_file), tls_context(self.server) is not None
        bundle = load_bundle(self.bundle, deterministic=not self.stochastic)
        torch.set_num_threads(self.threads)
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
        if warning := exposure(self.server.host, key, tls):
            say(f"warning: {warning}", style="yellow")

        def ready(server: PolicyServer) -> None:
            scheme = "wss" if tls else "ws"
            say(f"serving {self.bundle} on {scheme}://{self.server.host}:{server.port}")

        counters = asyncio.run(serve_until_stopped(bundle, self.server, key, ready))
        say(f"stopped: {counters['decisions']} decisions, {counters['refused']} refusals")


def exposure(host: str, key: str | None, tls: bool) -> str | None:
    """What is wrong with serving on an address, or None."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if local or (key is not None and tls):
        return None
    lacks = " and ".join([*([] if key is not None else ["an API key"]), *([] if tls else ["TLS"])])
    where = host or "every address of this machine"
    return f"{where} can be reached from elsewhere, and the server lacks {lacks}"
