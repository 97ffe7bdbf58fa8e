"""A bundle as one ONNX graph: observation history and noise in, action chunk out; nothing left outside.

Base policy and steering are one graph: features and normalisation, the steering's latent, its composition with the
noise, every step of the flow's sampler unrolled, the way back to actions, and their bounds. `onnx_runtime` runs it
without torch.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from score_rl.core.arrays import blank_window
from score_rl.core.errors import ScoreError
from score_rl.core.files import to_plain, write_bytes
from score_rl.deploy.bundle.bundle import Bundle
from score_rl.deploy.bundle.onnx_runtime import (
    BUNDLE_KEY,
    CHUNK,
    FORMAT_KEY,
    FORMAT_VERSION,
    LATENT,
    NOISE,
    SPEC_KEY,
    OnnxPolicy,
)
from score_rl.policies.flow.policy import ConditionalFlow
from score_rl.steering.methods import METHODS
from score_rl.steering.policy import Decider

TOLERANCE = 1e-5
"""Largest difference between torch and ONNX Runtime that is accepted, in action units: float32 rounding."""


def export_onnx(bundle: Bundle, path: str | Path, fallback: bool = False) -> Path:
    """Write the bundle's policy as one ONNX file; `fallback`: its base policy alone (`Bundle.base_decide`).

    Inputs: every key and view (n, frames, *shape) and `noise` (n, l, w). Outputs: `chunk` (n, h, a) and
    `latent` (n, l, w). n is free. The bundle's specification and digest are in the file's metadata.
    Raises ScoreError, before any work, where the method cannot be exported or the packages for it are not installed.
    """
    check_exportable(bundle, fallback)
    model = _to_onnx(_Graph(bundle, bundle.fallback if fallback else bundle.decider).eval(), bundle).model
    _tidy(model)
    model.metadata_props.update(
        {
            FORMAT_KEY: str(FORMAT_VERSION),
            BUNDLE_KEY: bundle.digest,
            SPEC_KEY: json.dumps(to_plain(bundle.spec), allow_nan=False),
        }
    )
    write_bytes(path, _serialize(model))
    return Path(path)


def check_exportable(bundle: Bundle, fallback: bool = False) -> None:
    """Raise ScoreError where `export_onnx` cannot work: somebody else's policy, a method that searches, or a package
    that is missing."""
    if not isinstance(bundle.base, ConditionalFlow):
        raise ScoreError(
            f"the base policy of this bundle is a {type(bundle.base).__name__}; only flow policies of this package "
            "can be one ONNX graph"
        )
    if not fallback and bundle.steering is not None and METHODS[bundle.steering.spec.method].searches:
        raise ScoreError(
            f"policies of method '{bundle.steering.spec.method}' draw further noise for every decision and cannot be "
            "one ONNX graph; `score serve` and `score run` take the bundle as it is, and --fallback exports its base"
        )
    _require_exporter()


def largest_difference(
    bundle: Bundle, policy: OnnxPolicy, window: Mapping[str, np.ndarray], noise: np.ndarray, fallback: bool = False
) -> float:
    """Largest absolute difference [action units] between the chunks of torch and ONNX Runtime.

    Every row of windows {key: (m, frames, *shape)} and noise (m, l, w) is a decision of its own, as on a robot.
    """
    decide = bundle.base_decide if fallback else bundle.decide
    differences = []
    for row in range(len(noise)):
        one = {key: window[key][row : row + 1] for key in bundle.spec.policy.window}
        expected = decide(one, noise[row : row + 1]).chunk.numpy()
        chunk = policy.decide(one, noise[row : row + 1]).chunk
        differences.append(np.abs(chunk - expected).max())
    return float(np.max(differences))  # NaN where any is, unlike the built-in max


class _Graph(nn.Module):
    """A decider as a module of plain tensors."""

    def __init__(self, bundle: Bundle, decider: Decider) -> None:
        super().__init__()
        self._decider, self._keys = decider, tuple(bundle.spec.policy.window)
        # The decider's networks as parts of this module: else every step of the sampler gets its own copy of them.
        self.networks = nn.ModuleList([bundle.base, *([bundle.steering.actor] if bundle.steering else [])])
        self.register_buffer("low", torch.tensor(bundle.spec.action_low))
        self.register_buffer("high", torch.tensor(bundle.spec.action_high))

    def forward(self, noise: Tensor, *window: Tensor) -> tuple[Tensor, Tensor]:
        decision = self._decider.decide(dict(zip(self._keys, window)), noise)
        return torch.clamp(decision.chunk, self.low, self.high), decision.latent


def _to_onnx(graph: _Graph, bundle: Bundle) -> Any:
    """The exporter's program for any number of rows."""
    spec, rows = bundle.spec, torch.export.Dim("n")
    window = blank_window(spec.policy, rows=2)
    with warnings.catch_warnings(), _quiet("torch.onnx"), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                graph,
                (torch.zeros(2, *spec.policy.latent_shape), *window.values()),
                input_names=[NOISE, *window],
                output_names=[CHUNK, LATENT],
                dynamic_shapes=({0: rows}, tuple({0: rows} for _ in window)),
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ScoreError(f"policies of method '{spec.method}' cannot be one ONNX graph: {error}") from error
    # The exporter keeps silent where the code that it follows fixes the number of rows.
    if fixed := [value.name for value in program.model.graph.inputs if isinstance(value.shape[0], int)]:
        raise RuntimeError(f"the graph takes two rows of {fixed} only: a size is read with len() along the way")
    return program


def _tidy(model: Any) -> None:
    """No stack traces with paths of this machine."""
    from onnx_ir.passes import common

    common.ClearMetadataAndDocStringPass()(model)


def _serialize(model: Any) -> bytes:
    import onnx_ir

    return onnx_ir.to_proto(model).SerializeToString(deterministic=True)


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Silence a logger below errors for a while."""
    target = logging.getLogger(logger)
    before = target.level
    target.setLevel(logging.ERROR)
    try:
        yield
    finally:
        target.setLevel(before)


def _require_exporter() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ScoreError(f"the export needs {package}: pip install 'score-rl[export]'")
