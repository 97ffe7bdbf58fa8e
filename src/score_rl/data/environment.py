"""`observation.environment_state`: what is seen beside the robot's own state, as one vector.

lerobot's ACT and Diffusion policies read `observation.state` and, without images, want this column by this name. It
holds nothing new, so it is written beside the columns that it joins and left out when a dataset is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from score_rl.contracts import COMMAND, ArraySpec
from score_rl.data.layout import OBSERVATION

STATE, ENVIRONMENT = f"{OBSERVATION}state", f"{OBSERVATION}environment_state"
JOINS = "joins"
"""Entry of the feature in info.json: names of the columns that it joins."""


def joined_names(features: Mapping[str, ArraySpec]) -> tuple[str, ...]:
    """The observed vectors beside state and command, in their order. None where there is no state, or where the
    dataset has an environment's state of its own or images."""
    if STATE not in features or ENVIRONMENT in features or any(one.dtype == "uint8" for one in features.values()):
        return ()
    own = (STATE, OBSERVATION + COMMAND)
    return tuple(
        name
        for name, one in features.items()
        if name.startswith(OBSERVATION) and name not in own and one.dtype == "float32" and len(one.shape) == 1
    )


def joined_feature(features: Mapping[str, ArraySpec]) -> dict[str, ArraySpec]:
    """The column by its name, its entries named as `object.x` or `object.0`; nothing where nothing is joined."""
    names = tuple(
        f"{name.removeprefix(OBSERVATION)}.{entry}"
        for name in joined_names(features)
        for entry in features[name].names or range(features[name].size)
    )
    return {ENVIRONMENT: ArraySpec((len(names),), names=names)} if names else {}


def joined_column(frames: Mapping[str, NDArray[Any]], features: Mapping[str, ArraySpec]) -> dict[str, NDArray[Any]]:
    """The column (frames, sum of the sizes) of an episode; nothing where nothing is joined."""
    parts = [frames[name] for name in joined_names(features)]
    return {ENVIRONMENT: np.concatenate(parts, axis=1)} if parts else {}
