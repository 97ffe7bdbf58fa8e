"""Settings of the viewer; apart from it, so that the command line needs no viser to know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from score_rl.core.ranges import Range, Seed


@dataclass(frozen=True)
class ViewConfig:
    """Where to serve the page."""

    host: str = "127.0.0.1"
    """Address to listen on. The page has no password: whoever reaches it can play with it."""
    port: Annotated[int, Range(0, 65535)] = 8080
    """TCP port; the next free one where it is taken."""
    seed: Seed = 0
    """Seed of the first episode; the following ones are seed + 1, seed + 2, ..."""
