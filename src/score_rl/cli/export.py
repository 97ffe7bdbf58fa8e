"""`score export`: a bundle's policy in a form that runs without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from score_rl.core.errors import ScoreError
from score_rl.core.ranges import Count
from score_rl.core.terminal import say
from score_rl.pipeline import deployment
from score_rl.report.stages import export_line


@dataclass(frozen=True)
class Export:
    """Write base policy and steering as one ONNX graph, and compare it with torch.

    The graph takes the observation history and noise and gives the action chunk; ONNX Runtime runs it without torch
    (`score_rl.deploy.bundle.onnx_runtime.OnnxPolicy`). The file carries the bundle's specification.
    """

    bundle: tyro.conf.Positional[Path] = Path("runs/bundle")
    """Folder of `score bundle`."""
    onnx: bool = False
    """Export as ONNX: so far the only form, and to be asked for."""
    out: Path | None = None
    """File to write; default: beside the bundle, with the ending .onnx."""
    fallback: bool = False
    """Export the base policy alone, which the guard falls back to."""
    dataset: Path | None = None
    """Demonstrations: compare on their observations; without them, on random numbers."""
    windows: Count = 1000
    """Observations to compare on."""
    overwrite: bool = False
    """Replace the export that is there."""

    def run(self) -> None:
        """Export, and say how exact it is."""
        if not self.onnx:
            raise ScoreError("say what to export: score export BUNDLE --onnx")
        how = {"fallback": self.fallback, "dataset": self.dataset, "windows": self.windows}
        how["overwrite"] = self.overwrite
        exported = deployment.export(self.bundle, self.out, **how)
        say(export_line(exported))
