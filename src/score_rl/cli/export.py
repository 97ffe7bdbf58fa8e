"""`score export`: a bundle's policy in a form that runs without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from score_rl.cli.common import console, dataset_root
from score_rl.core.errors import ScoreError
from score_rl.core.seeding import rng
from score_rl.data.dataset import load_dataset
from score_rl.data.windows import Windows
from score_rl.deploy.bundle.bundle import Bundle, load_bundle
from score_rl.deploy.bundle.export import TOLERANCE, check_exportable, export_onnx, largest_difference
from score_rl.deploy.bundle.onnx_runtime import OnnxPolicy

RANDOM_TOLERANCE = 1e-3
"""As `TOLERANCE` on random numbers: far from all data the networks are steep, and rounding counts for more."""


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
    windows: int = 1000
    """Observations to compare on."""

    def run(self) -> Path:
        """The file. Raises ScoreError where the graph does not give what torch gives."""
        if not self.onnx:
            raise ScoreError("say what to export: score export BUNDLE --onnx")
        bundle = load_bundle(self.bundle)
        check_exportable(bundle, self.fallback)
        window = real_windows(bundle, self.dataset, self.windows) if self.dataset else random_windows(bundle, 100)
        name = Path(self.bundle).resolve().name
        default = Path(self.bundle).with_name(f"{name}-base.onnx" if self.fallback else f"{name}.onnx")
        path = export_onnx(bundle, self.out or default, self.fallback)
        count = len(next(iter(window.values())))
        difference = largest_difference(bundle, OnnxPolicy(path), window, noise(bundle, count), self.fallback)
        limit = TOLERANCE if self.dataset else RANDOM_TOLERANCE
        if not difference <= limit:
            path.unlink()
            raise ScoreError(
                f"the graph differs from torch by {difference:.2g} {bundle.spec.action_unit}, more than {limit:g}; "
                "it was not kept"
            )
        kind = "real" if self.dataset else "random"
        console.print(
            f"[bold]export[/bold]: {path}, {path.stat().st_size / 1e6:.1f} MB; within {difference:.1e} "
            f"{bundle.spec.action_unit} of torch on {count} {kind} observations",
            highlight=False,
            soft_wrap=True,
        )
        return path


def real_windows(bundle: Bundle, dataset: Path, count: int) -> dict[str, np.ndarray]:
    """`count` windows {key: (m, history, d)} of a dataset, evenly spaced over its frames."""
    spec = bundle.spec
    windows = Windows(load_dataset(dataset_root(dataset)), tuple(spec.observation), spec.history, spec.horizon)
    observed = windows.all().observation
    index = np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(int)
    return {key: observed[key].numpy()[index] for key in spec.observation}


def random_windows(bundle: Bundle, count: int) -> dict[str, np.ndarray]:
    """Windows {key: (m, history, d)} of standard normal numbers: no observations, but of their shape."""
    draw, spec = rng("export windows"), bundle.spec
    return {
        key: draw.standard_normal((count, spec.history, field.width), dtype=np.float32)
        for key, field in spec.observation.items()
    }


def noise(bundle: Bundle, count: int) -> np.ndarray:
    """Noise (m, h, a) ~ N(0, I) of the comparison."""
    return rng("export noise").standard_normal((count, *bundle.spec.latent_shape), dtype=np.float32)
