"""Libraries that an extra installs (`pip install 'score-rl[sim]'`): imported where they are used, missed by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from score_rl.core.errors import ScoreError

EXTRAS: Mapping[str, str] = {
    "mujoco": "sim",
    "gymnasium": "gym",
    "gymnasium_robotics": "adroit",
    "websockets": "serve",
    "score_client": "serve",
    "msgpack": "serve",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "matplotlib": "report",
    "imageio": "report",
    "tensorboard": "report",
    "distributed": "cluster",
    "viser": "viz",
    "trimesh": "viz",
    "wandb": "wandb",
}
"""Library -> the extra that installs it."""


@contextmanager
def optional(what: str) -> Iterator[None]:
    """In this block a library that an extra would have installed is missed with a ScoreError that names the extra.

    what: for whom it is needed, e.g. "a simulated task". One that the environment variable MUJOCO_GL is wrong for is
    told so; other errors stay what they are.
    """
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        raise _missing(library, what) from error
    except RuntimeError as error:
        if "MUJOCO_GL" not in str(error):
            raise
        raise ScoreError(f"{what} cannot load mujoco: {error}") from error


def require(library: str, what: str) -> None:
    """Raise ScoreError that names the extra where a library is not installed; nothing is imported."""
    if not installed(library):
        raise _missing(library, what)


def installed(library: str) -> bool:
    """Whether a library could be imported; nothing is."""
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):  # sys.modules holds something else of that name
        return False


def _missing(library: str, what: str) -> ScoreError:
    return ScoreError(f"{what} needs {library}, which is not installed: pip install 'score-rl[{EXTRAS[library]}]'")
