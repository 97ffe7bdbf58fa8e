"""Human-like demonstrations of Adroit's relocate: a published policy that was learned from people, with shaky hands.

    python benchmarks/relocate_demonstrations.py relocate-v0.pickle demonstrations

The file is `dapg/policies/relocate-v0.pickle` of the repository aravindr93/hand_dapg (Rajeswaran et al., RSS 2018,
Apache-2.0): a network of two layers, trained from 25 human demonstrations and by reinforcement learning. It is read
without running anything of it. The demonstrator adds to its actions the noise that it was trained with, and errors
that last for a tenth of a second; an episode ends when the ball has been at its place for a tenth of a second. What
`score` makes of them stands in results/relocate.json.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import gymnasium_robotics
import numpy as np
import tyro
from numpy.typing import NDArray

from score_rl.contracts import ArraySpec
from score_rl.data.writer import DatasetWriter

LAST_STEPS = 10
"""Control steps (of 0.01 s) for which an error of the demonstrator lasts, and for which the ball must stay."""
TIME_LIMIT = 200


@dataclass(frozen=True)
class Demonstrate:
    """Record a dataset."""

    policy: Annotated[Path, tyro.conf.Positional]
    """The published file."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the dataset."""
    episodes: int = 60
    """Demonstrations, those that fail among them."""
    lasting: float = 0.5
    """Lasting errors, in units of the noise that the policy was trained with."""

    def run(self) -> None:
        """All episodes, from seeds 0, 1, ..."""
        gymnasium.register_envs(gymnasium_robotics)
        env, draw = gymnasium.make("AdroitHandRelocate-v1", max_episode_steps=TIME_LIMIT), np.random.default_rng(0)
        layers = read_policy(self.policy)
        sizes = {"observation.state": 39, "action": 30}
        writer = DatasetWriter(self.out, 100, {key: ArraySpec((size,)) for key, size in sizes.items()}, "adroit")
        solved = 0
        for episode in range(self.episodes):
            seen, frames, there = env.reset(seed=episode)[0], [], 0
            while len(frames) < TIME_LIMIT and there < LAST_STEPS:
                if len(frames) % LAST_STEPS == 0:
                    error = self.lasting * draw.normal(size=30)
                noise = layers["std"] * (error + draw.normal(size=30))
                frames.append((seen, np.float32(np.clip(act(layers, seen) + noise, -1, 1))))
                seen, *_, info = env.step(frames[-1][1])
                there = there + 1 if info["success"] else 0
            solved += there == LAST_STEPS
            writer.add_episode({key: np.float32(values) for key, values in zip(sizes, zip(*frames))}, "relocate")
        writer.finalize()
        print(f"{solved} of {self.episodes} demonstrations succeeded")


def act(layers: dict[str, NDArray], state: NDArray) -> NDArray:
    """The policy's mean (30,) for a state (39,)."""
    x = (state - layers["in_shift"]) / (layers["in_scale"] + 1e-8)
    for k in (0, 1):
        x = np.tanh(layers[f"weight{k}"] @ x + layers[f"bias{k}"])
    return (layers["weight2"] @ x + layers["bias2"]) * layers["out_scale"] + layers["out_shift"]


def read_policy(path: Path) -> dict[str, NDArray]:
    """Weights, scales and the standard deviation of the noise."""
    with path.open("rb") as file:
        policy = Numbers(file, encoding="latin1").load()
    network, found = policy.model, {"std": np.exp(policy.log_std_val)}
    for k, layer in network._modules["fc_layers"]._modules.items():
        found |= {f"{name}{k}": layer._parameters[name][0] for name in ("weight", "bias")}
    return found | {name: np.asarray(values) for name, values in network.transformations.items()}


class Blank:
    """In place of every class of the file: keeps what it was made of, does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


def tensor(stored: bytes, _: int, shape: tuple[int, ...], *__: Any) -> NDArray[np.float32]:
    """A tensor of float32 in torch's old format: its numbers are the end of the bytes."""
    return np.frombuffer(stored[-4 * int(np.prod(shape)) :], np.float32).reshape(shape)


KNOWN = {
    "OrderedDict": OrderedDict,
    "_load_from_bytes": bytes,
    "_rebuild_tensor_v2": tensor,
    "_rebuild_parameter": lambda data, *_: (data,),
    "_reconstruct": np._core.multiarray._reconstruct,
    "ndarray": np.ndarray,
    "dtype": np.dtype,
}


class Numbers(pickle.Unpickler):
    """Reads arrays and plain containers; everything else becomes `Blank`."""

    def find_class(self, module: str, name: str) -> Any:
        return KNOWN.get(name, Blank)


if __name__ == "__main__":
    tyro.cli(Demonstrate, description=__doc__).run()
