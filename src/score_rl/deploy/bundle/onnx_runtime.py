"""Runs an exported policy with numpy and ONNX Runtime alone: this module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from score_rl.core.errors import ScoreError
from score_rl.core.records import parse_json

NOISE, CHUNK, LATENT = "noise", "chunk", "latent"
"""Names of an input and of the outputs; the other inputs are the keys and views that the policy reads."""

FORMAT_KEY, SPEC_KEY, BUNDLE_KEY = "score_rl.format", "score_rl.spec", "score_rl.bundle"
"""Metadata of the file: version of this layout, the bundle's specification as JSON, the bundle's digest."""

FORMAT_VERSION = 2


@dataclass(frozen=True)
class OnnxDecision:
    """One decision per row."""

    chunk: np.ndarray
    """(n, h, a) actions in physical units, within their bounds."""
    latent: np.ndarray
    """(n, l, w) latent that was decoded."""


class OnnxPolicy:
    """The policy of an exported file.

    >>> policy = OnnxPolicy("pinch_cube.onnx")                                   # doctest: +SKIP
    >>> noise = generator.standard_normal((1, *policy.latent_shape))             # doctest: +SKIP
    >>> chunk = policy.decide(window, noise).chunk                               # doctest: +SKIP
    """

    spec: Mapping[str, Any]
    """The bundle's specification (`deploy.bundle.spec.BundleSpec`) as plain JSON values."""
    digest: str
    """SHA-256 of the bundle that it was exported from."""

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        """Load a file of `export_onnx`; `threads`: of one decision (small policies gain nothing from more).

        Raises ScoreError where the file is missing, corrupt, or no export of a bundle.
        """
        self._session = _open_session(Path(path), threads)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if metadata.get(FORMAT_KEY) != str(FORMAT_VERSION):
            raise ScoreError(
                f"{path} is no policy that `score export` of this version (format {FORMAT_VERSION}) has written"
            )
        self.spec = parse_json(metadata.get(SPEC_KEY, ""), f"the specification in {path}")
        self.digest = metadata.get(BUNDLE_KEY, "")
        try:
            inputs = {NOISE, *self.window} if len(self.latent_shape) == 2 else set()
        except (KeyError, TypeError, AttributeError) as error:
            raise ScoreError(f"the specification in {path} describes no policy: {error!r}") from error
        if not inputs >= {one.name for one in self._session.get_inputs()}:
            raise ScoreError(f"the specification in {path} is of another policy than its graph")

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(l, w): shape of the noise of one decision."""
        return tuple(self.spec["policy"]["latent_shape"])

    @property
    def window(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Key or view -> (shape of one row: frames and the array's own, type)."""
        policy = self.spec["policy"]
        frames = {"observation": policy["history"], "views": 1}
        return {
            key: ((frames[group], *array["shape"]), array["dtype"])
            for group in frames
            for key, array in policy["interface"][group].items()
        }

    def decide(self, window: Mapping[str, np.ndarray], noise: np.ndarray) -> OnnxDecision:
        """Chunks for windows {key: (n, frames, *shape)} and noise (n, l, w) ~ N(0, I); further keys are ignored.

        Raises ScoreError for missing keys, and wrong shapes and types.
        """
        inputs = {NOISE: (self.latent_shape, "float32")} | self.window
        given = {**window, NOISE: noise}
        feeds = {}
        for name, (shape, dtype) in inputs.items():
            if name not in given:
                raise ScoreError(f"the window lacks {name}; it has {', '.join(sorted(window))}")
            if dtype != "float32" and given[name].dtype != dtype:
                raise ScoreError(f"{name} is {given[name].dtype}, expected {dtype}")
            feeds[name] = np.ascontiguousarray(given[name], dtype=dtype)
            if feeds[name].shape != (len(noise), *shape):
                raise ScoreError(f"{name} has shape {feeds[name].shape}, expected {(len(noise), *shape)}")
        return OnnxDecision(*self._session.run([CHUNK, LATENT], feeds))


def _open_session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ScoreError("running an exported policy needs onnxruntime: pip install onnxruntime") from error
    if not path.is_file():
        raise ScoreError(f"{path} does not exist")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class of their own
        raise ScoreError(f"{path} is corrupt or no ONNX file: {error}") from error
