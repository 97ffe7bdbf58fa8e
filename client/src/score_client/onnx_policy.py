"""Drives a policy of `score export` without a server and without torch: numpy and onnxruntime are all it needs.

`OnnxPolicy` takes the place of `PolicyClient`: `ChunkBroker(OnnxPolicy("policy.onnx"))`. It answers what a server of
the same bundle answers, up to the rounding of float32, and with the same noise.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from score_client.episode import Episode
from score_client.interface import Answer, Metadata, PolicyRefused, read_metadata

FORMAT_VERSION = "2"
"""Of the file's layout, in its metadata `score_rl.format`."""


class OnnxPolicy:
    """A policy in this process; see `PolicyClient`, whose methods it has."""

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        """threads: of one decision. Raises PolicyRefused where the file is missing or no export of this version."""
        self._session, about = _open(Path(path), threads)
        try:
            spec = json.loads(about["score_rl.spec"])
            self.metadata: Metadata = read_metadata({**spec, "bundle": about["score_rl.bundle"]})
            self._latent_shape = tuple(int(size) for size in spec["policy"]["latent_shape"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PolicyRefused(f"{path} does not describe its policy: {error!r}") from error
        self._episode = Episode()

    def __enter__(self) -> OnnxPolicy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> Metadata:
        """There is nothing to wait for."""
        return self.metadata

    def close(self) -> None:
        """There is nothing to leave."""

    def reset(self, seed: int | None = None) -> None:
        """An episode starts: forget the frames. seed: of the episode's noise; None draws one."""
        self._episode.reset(seed)

    def observe(self, frame: Mapping[str, np.ndarray]) -> None:
        """Take in the frame {key: (*shape)} of this control step; see `PolicyClient.observe`."""
        self._episode.observe(frame, self.metadata)

    def decide(self, timeout_s: float | None = None, views: Mapping[str, np.ndarray] | None = None) -> Answer:
        """The policy's decision at the newest frame and the views of now; the time is what it takes."""
        return self.exchange(self.request(views), timeout_s)

    def request(self, views: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
        """All that the next decision of this episode depends on; see `PolicyClient.request`."""
        return self._episode.decide(views, self.metadata)

    def exchange(self, request: Mapping[str, Any], timeout_s: float | None = None) -> Answer:
        """Decide. Raises PolicyRefused where the policy's answer is not finite."""
        began = time.perf_counter()
        feeds = {"noise": decision_noise(request["seed"], request["decision"], self._latent_shape)[None]}
        for key in self.metadata.interface.observation:
            frames = request[key]
            padding = np.repeat(frames[:1], self.metadata.history - len(frames), axis=0)
            feeds[key] = np.concatenate((padding, frames))[None]
        feeds.update({key: request[key][None, None] for key in self.metadata.interface.views})
        actions = self._session.run(["chunk"], feeds)[0][0]
        if not np.isfinite(actions).all():
            raise PolicyRefused("the policy's actions are not finite")
        total_s = time.perf_counter() - began
        return Answer(actions, {"infer_ms": 1000 * total_s}, total_s)


def decision_noise(seed: int, decision: int, latent_shape: tuple[int, ...]) -> np.ndarray:
    """Noise (l, w) ~ N(0, I) of an episode's decision, as the server draws it."""
    digest = hashlib.sha256(json.dumps(["decision", seed, decision]).encode()).digest()
    generator = np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest[:16], "big")))
    return generator.standard_normal(latent_shape, dtype=np.float32)


def _open(path: Path, threads: int) -> tuple[Any, Mapping[str, str]]:
    """The session of a file, and its metadata."""
    try:
        import onnxruntime
    except ImportError as error:
        raise PolicyRefused("running an exported policy needs onnxruntime: pip install onnxruntime") from error
    if not path.is_file():
        raise PolicyRefused(f"{path} does not exist")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class of their own
        raise PolicyRefused(f"{path} is corrupt or no ONNX file: {error}") from error
    about = session.get_modelmeta().custom_metadata_map
    if about.get("score_rl.format") != FORMAT_VERSION:
        raise PolicyRefused(f"{path} is no policy that `score export` of format {FORMAT_VERSION} has written")
    return session, about
