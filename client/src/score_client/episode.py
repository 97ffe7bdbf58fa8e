"""What has happened since an episode began: its frames, the seed of its noise, the number of its decisions."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from score_client.interface import Metadata, checked


class Episode:
    """One episode after another."""

    def __init__(self) -> None:
        self._frames: deque[dict[str, np.ndarray]] = deque()
        self._random = random.Random()
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """An episode starts. seed: of its noise; None draws one."""
        self._frames.clear()
        self._seed = self._random.randrange(2**53) if seed is None else int(seed)
        self._decision = 0

    def observe(self, frame: Mapping[str, np.ndarray], metadata: Metadata) -> None:
        """Take in a frame {key: (*shape)}. Raises ValueError for what does not fit; further keys are ignored."""
        self._frames.append(checked(frame, metadata.interface.observation, "frame"))
        while len(self._frames) > metadata.history:
            self._frames.popleft()

    def decide(self, views: Mapping[str, np.ndarray] | None, metadata: Metadata) -> dict[str, Any]:
        """All that the next decision depends on, which is counted: frames {key: (m, *shape)}, m <= history, views
        {key: (*shape)}, `seed` and `decision`. Raises ValueError before any frame, and for views that do not fit."""
        if not self._frames:
            raise ValueError("observe a frame first")
        interface = metadata.interface
        window = {key: np.stack([frame[key] for frame in self._frames]) for key in interface.observation}
        window.update(checked(views or {}, interface.views, "look"))
        self._decision += 1
        return {**window, "seed": self._seed, "decision": self._decision - 1}
