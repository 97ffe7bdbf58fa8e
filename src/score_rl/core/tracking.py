"""Where people watch a run while it grows, beside its own metrics.jsonl: TensorBoard, Weights & Biases.

Their axis is what was spent: control steps (steering), optimiser steps (pretraining), else the number of the record.
A run that was killed and resumed goes on where its checkpoint was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from score_rl.core.errors import ScoreError
from score_rl.core.extras import optional
from score_rl.core.files import to_plain

AXES = ("control_steps", "step")
"""Fields of a record that count what was spent; the first that a record has is the axis."""


class Listener(Protocol):
    """Hears every record of a run behind `Run.log`; what has a `close` is closed when the run is finished."""

    def __call__(self, index: int, record: Mapping[str, Any]) -> None:
        """The record with this number in the log."""
        ...


def axis(index: int, record: Mapping[str, Any]) -> tuple[str, int]:
    """(name, value) of what a record is drawn over.

    >>> axis(3, {"control_steps": 4096, "success": 0.5}), axis(3, {"success": 0.5})
    (('control_steps', 4096), ('record', 3))
    """
    return next(((name, int(record[name])) for name in AXES if name in record), ("record", index))


class TensorBoardListener:
    """Writes every number of a record as a TensorBoard scalar; those of nested mappings as `outer/inner`."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """The event file is begun with the first record, which hides what a killed run wrote from there on."""
        self._directory, self._writer = os.fspath(directory), None

    def __call__(self, index: int, record: Mapping[str, Any]) -> None:
        """Write one record at its place on the axis."""
        _, step = axis(index, record)
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed by this listener only

            self._writer = SummaryWriter(self._directory, purge_step=step)
        for name, value in numbers(record):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


class WandbListener:
    """Logs every number of a record to Weights & Biases; WANDB_MODE=offline keeps it on this machine.

    A resumed run goes on in its own W&B run. What was spent is W&B's own step, too: what a killed run logged behind
    its checkpoint comes again at the same step and does not count twice, also in the two files that an offline run
    then has.
    """

    def __init__(self, project: str, name: str, identity: str, directory: Path, config: Any) -> None:
        """identity: the same for the same run, whenever it is resumed. directory: where W&B keeps its files. config:
        a dataclass. Raises ScoreError where wandb is not installed, or does not want to."""
        with optional("--wandb"):
            import wandb

        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        how = {"project": project, "name": name, "id": digest, "resume": "allow", "dir": str(directory)}
        try:
            self._run = wandb.init(**how, config=to_plain(config))
        except Exception as error:  # whatever it may raise: no key, no such project, nobody there
            raise ScoreError(
                f"--wandb {project}: {type(error).__name__}: {error}; log in (wandb login), or keep the log here "
                "with WANDB_MODE=offline"
            ) from error
        self._axis: str | None = None

    def __call__(self, index: int, record: Mapping[str, Any]) -> None:
        """Log one record."""
        name, step = axis(index, record)
        if name != self._axis:
            self._run.define_metric("*", step_metric=name)
            self._axis = name
        self._run.log({**dict(numbers(record)), name: step}, step=step, commit=True)

    def close(self) -> None:
        """Upload what is left."""
        self._run.finish()


def numbers(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Every number of a record by its name; those of nested mappings as `outer/inner`."""
    found: list[tuple[str, float]] = []
    for key, value in record.items():
        if isinstance(value, Mapping):
            found += numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (bool, int, float)) or getattr(value, "ndim", None) == 0:
            found.append((f"{prefix}{key}", float(value)))
    return found
