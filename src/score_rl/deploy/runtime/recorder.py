"""Recording episodes as they happen: a journal on disk step by step, a LeRobot dataset in the end.

Every control step is one write of a record with its own checksum, made before the next step begins. A process that is
killed loses at most the step that it was writing; the next recorder in the same folder finds the journal and stores
what it holds as an episode that ended with "killed".
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.files import to_plain, write_json
from score_rl.core.ranges import Natural
from score_rl.core.records import parse, read_bytes, read_json
from score_rl.data.layout import stored
from score_rl.data.writer import DatasetWriter
from score_rl.deploy.drivers.protocol import RobotSpec

SUCCESS, GUARD, ASKED, LATENCY = "next.success", "guard", "policy_action", "latency_s"
KILLED = "killed"


def recorded_features(spec: RobotSpec, views: bool = False) -> dict[str, ArraySpec]:
    """Columns of a recording: those of demonstrations, and what the runtime knows besides.

    `action` is what the robot really was sent, `policy_action` what the policy asked for (what was sent, where it
    asked for nothing), `guard` the place of the guard's answer in `guard.ACTIONS`, `latency_s` the time from the
    measurement to the command. Without `views` these are left out: a policy asks for them at decisions only, and what
    was seen then does not belong to the frames in between.
    """
    seen = {key: stored(array) for key, array in spec.interface.views.items()} if views else {}
    table = {f"observation.{key}": array for key, array in {**spec.interface.observation, **seen}.items()}
    action = spec.interface.action
    table |= {"action": action, ASKED: action, GUARD: ArraySpec((1,), "int64"), LATENCY: ArraySpec((1,), unit="s")}
    return table | ({SUCCESS: ArraySpec((1,), "bool")} if spec.reports_success else {})


@dataclass(frozen=True)
class _Began:
    """What is known of an episode before its first step."""

    number: Natural
    seed: int


class Recorder:
    """Episodes of one robot into `root`; close it (or use `with`) to turn what was recorded into a dataset."""

    def __init__(self, root: Path, spec: RobotSpec, task: str, views: bool = False) -> None:
        """Takes up a folder in which a recorder was killed. views: also record the robot's views, which it is then
        asked for at every control step. Raises ScoreError for a folder of something else."""
        self.root, self.task = Path(root), task
        self.views: Mapping[str, ArraySpec] = spec.interface.views if views else {}
        """What `add` is given besides the frame."""
        self._features = recorded_features(spec, views)
        self._writer = DatasetWriter(
            self.root / "dataset", round(spec.interface.control_rate_hz), self._features, spec.name
        )
        if self._writer.finalized:
            raise ScoreError(f"{self.root} already holds a finished recording; choose another folder")
        self._journal: Any = None
        self._recover()

    @property
    def episodes(self) -> int:
        """Episodes that are safe on disk."""
        return self._writer.num_episodes

    @property
    def recording(self) -> bool:
        """An episode has begun and not ended."""
        return self._journal is not None

    def begin(self, seed: int) -> None:
        """An episode starts."""
        folder = self.root / "journal"
        write_json(folder / "episode.json", _Began(self.episodes, seed))
        self._journal = (folder / "steps.bin").open("wb", buffering=0)

    def add(
        self,
        frame: Mapping[str, NDArray[Any]],
        sent: NDArray[Any],
        asked: NDArray[Any] | None,
        guard: int,
        latency_s: float,
        success: bool | None,
    ) -> None:
        """One control step: what was seen (and whether success held then), asked for and sent."""
        values = {f"observation.{key}": value for key, value in frame.items()}
        values |= {"action": sent, ASKED: sent if asked is None else asked, GUARD: guard, LATENCY: latency_s}
        values |= {SUCCESS: bool(success)}
        columns = ((values[name], _in_journal(feature)) for name, feature in self._features.items())
        row = b"".join(np.asarray(value).astype(kind).tobytes() for value, kind in columns)
        self._journal.write(row + zlib.crc32(row).to_bytes(4, "little"))

    def end(self, ended: str, success: bool | None) -> None:
        """The episode is over: why, and whether success holds in the end. An episode without a step is forgotten."""
        self._journal.close()
        self._journal = None
        self._store(ended, success)

    def close(self) -> None:
        """Make the dataset of all episodes; an episode that is still open is stored as one that was killed."""
        if self._journal is not None:
            self.end(KILLED, None)
        if self.episodes:
            self._writer.finalize()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _store(self, ended: str, success: bool | None) -> None:
        """Turn the journal into an episode of the dataset, and then delete it."""
        folder = self.root / "journal"
        about = parse(_Began, read_json(folder / "episode.json"), folder / "episode.json")
        steps = read_steps(folder / "steps.bin", self._features)
        if len(steps["action"]) and about.number == self.episodes:  # else: stored just before a kill
            if SUCCESS in steps:
                held = steps[SUCCESS][:, 0]
                final = held[-1] if success is None else success
                steps[SUCCESS] = np.append(held[1:], final)[:, None].astype(bool)
            succeeded = bool(steps[SUCCESS][-1, 0]) if SUCCESS in steps else False
            extra = {"seed": about.seed, "ended": ended, "success": succeeded}
            self._writer.add_episode(steps, self.task, extra)
        (folder / "steps.bin").unlink()
        (folder / "episode.json").unlink()

    def _recover(self) -> None:
        folder = self.root / "journal"
        if (folder / "episode.json").exists():
            (folder / "steps.bin").touch()
            self._store(KILLED, None)


def read_steps(path: Path, features: Mapping[str, ArraySpec]) -> dict[str, NDArray[Any]]:
    """{feature: (steps, *shape)} of a journal; what stands behind the last whole record is left out."""
    layout = np.dtype([(name, _in_journal(feature), feature.shape) for name, feature in features.items()])
    size = layout.itemsize + 4
    data, rows = read_bytes(path), []
    for start in range(0, len(data) - size + 1, size):
        row, check = data[start : start + size - 4], data[start + size - 4 : start + size]
        if zlib.crc32(row).to_bytes(4, "little") != check:
            break
        rows.append(row)
    table = np.frombuffer(b"".join(rows), layout)
    return {name: table[name].astype(feature.dtype) for name, feature in features.items()}


def _in_journal(feature: ArraySpec) -> np.dtype:
    """Type of a feature in the journal: little-endian everywhere."""
    return np.dtype(feature.dtype).newbyteorder("<")


class EventLog:
    """Events as lines of JSON, each written at once but not forced to the disk: it must never hold up the loop."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Write one record."""
        self._file.write(json.dumps(to_plain(record), ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
