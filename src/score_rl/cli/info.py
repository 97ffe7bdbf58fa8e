"""`score info`: what is in a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from score_rl.core.terminal import show
from score_rl.deploy.bundle.bundle import read_manifest
from score_rl.report.bundle import bundle_page


@dataclass(frozen=True)
class Info:
    """Check every byte of a bundle and print what it says about itself."""

    bundle: tyro.conf.Positional[Path] = Path("runs/bundle")
    """Folder of `score bundle`."""

    def run(self) -> None:
        """Print the tables."""
        for part in bundle_page(*read_manifest(self.bundle)):
            show(part)
