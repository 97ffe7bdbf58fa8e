"""A run directory: what was asked for, by which command, with which versions, and everything measured.

- run.json: stage, status, command line, versions, commit, machine, seeds, wall time, summary, and the SHA-256 of
  every file that the run wrote
- config.json: the resolved configuration
- metrics.jsonl: one record per `Run.log`

One process at a time owns a directory (`core.locks`). A run that replaces another is made beside it and takes its
place when it is complete (`core.publish`).
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from score_rl.core import ranks
from score_rl.core.errors import ScoreError
from score_rl.core.files import JsonLines, sha256, to_plain, write_json
from score_rl.core.locks import Lock, command_line
from score_rl.core.outputs import RECORD, resolve_output
from score_rl.core.process import describe_process
from score_rl.core.publish import PRIVATE, complete, content, files_below, next_folder, publish, tidy
from score_rl.core.records import parse, read_json, validate
from score_rl.core.run_record import CONFIG, KIND, METRICS, VERSION, RunRecord, read_record, write_record
from score_rl.core.tracking import Listener


class Run:
    """One stage's run directory; made by `start_run`. `with run:` lets go of it at the end."""

    def __init__(
        self,
        directory: Path,
        record: RunRecord,
        resumed: bool,
        place: Path | None = None,
        lock: Lock | None = None,
        writes: bool = True,
    ) -> None:
        """`place`: where the directory goes when the run is complete, if it is made elsewhere."""
        self.directory = directory
        self.resumed = resumed
        """Whether the directory already held this run, unfinished or finished."""
        self.writes = writes
        """Whether this process writes the run's files; of several ranks only the first does."""
        self.metrics = JsonLines(directory / METRICS) if writes else None
        self._record, self._place, self._lock = record, place or directory, lock
        self._listeners: list[Listener] = []
        self._earlier_s = record.wall_s
        self._start = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether the run is complete, so that its results can be used as they are."""
        return self._record.finished

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` was given; empty until then."""
        return dict(self._record.summary)

    @property
    def wall_s(self) -> float:
        """Seconds spent on this run: those before the checkpoint that it was resumed from, and since then."""
        return self._earlier_s + (0.0 if self.finished else time.monotonic() - self._start)

    @property
    def identity(self) -> str:
        """The same for this run however often it is resumed, and for no other one."""
        return f"{self._place} {self._record.started_at} {self._record.stage}"

    def path(self, *parts: str) -> Path:
        """Path of a file of this run, which the directory's record names as the run's own from now on."""
        self.own(*parts[:1])
        return self.directory.joinpath(*parts)

    def own(self, *names: str) -> None:
        """Note in the directory's record that the run writes these files and folders."""
        new = tuple(name for name in names if name not in self._record.parts)
        if new and self.writes and not self.finished:
            self._save(parts=self._record.parts + new)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a record to metrics.jsonl and pass it to the listeners; nothing where the run does not write."""
        if not self.writes:
            return
        self._check_ours()
        index = len(self.metrics)
        self.metrics.append(record)
        for listener in self._listeners:
            listener(index, record)

    def rewind(self, records: int, wall_s: float | None = None) -> None:
        """Return to a checkpoint made when `len(run.metrics)` was `records` (and `run.wall_s` was `wall_s`).

        What was logged after the checkpoint is dropped, since the resumed run logs it again. A resumed run that
        finds no checkpoint rewinds to 0.
        """
        if self.writes:
            self.metrics.truncate_to(records)
        if wall_s is not None:
            self._earlier_s, self._start = wall_s, time.monotonic()

    def add_listener(self, listener: Listener) -> None:
        """Also show every further record to `listener`, e.g. a `tracking.TensorBoardListener`."""
        self._listeners.append(listener)

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """Mark the run as complete, store its summary and the digests of its files, and let go of the directory.

        A run that replaces another takes its place now; raises ScoreError where somebody else's file is in the way.
        """
        wall_s, summary = self.wall_s, to_plain(summary or {})
        if not self.writes:
            self._record = replace(self._record, wall_s=wall_s, summary=summary, status="finished")
            self._earlier_s, self.directory = wall_s, self._place
            return
        for listener in self._listeners:
            getattr(listener, "close", lambda: None)()
        mine = [name for name in files_below(self.directory) if name.split("/")[0] in self._record.parts]
        files = {name: sha256(self.directory / name) for name in mine}
        self._save(wall_s=wall_s, summary=summary, files=files, status="finished")
        self._earlier_s = wall_s
        if self.directory != self._place:
            publish(self._place, _owned)
            self.directory = self._place
            self.metrics = JsonLines(self.directory / METRICS)
        self.close()

    def close(self) -> None:
        """Let go of the directory; what is unfinished can be resumed. Calling it twice is allowed."""
        if self._lock is not None:
            self._lock.release()
            tidy(self._place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _save(self, **changes: Any) -> None:
        self._record = replace(self._record, **changes)
        if self.writes:
            self._check_ours()
            write_record(self.directory, self._record)

    def _check_ours(self) -> None:
        if self._lock is not None:
            self._lock.check()


def start_run(
    directory: str | os.PathLike[str],
    stage: str,
    config: Any,
    seeds: Mapping[str, int],
    overwrite: bool = False,
    distributed: bool = False,
    inputs: Mapping[str, Path] | None = None,
) -> Run:
    """Start, resume or reuse a run; config is a dataclass, `inputs` (role -> path) is what the run reads.

    distributed: under torchrun all ranks share this run, and the first of them writes it; what is not distributed
    is refused there.

    The same stage and configuration in an existing directory: an unfinished run is resumed, a finished one is
    returned with `finished` True. Anything else there is an error that names the fields that differ, unless
    `overwrite` is given: then the new run takes the old one's place when it is complete. Before anything is touched,
    raises ScoreError for settings out of range, an output that is, contains or lies in an input, a folder of
    something else, and a directory that another process owns.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"config must be a dataclass instance, got {config!r}")
    if ranks.launched() > 1 and not distributed:
        raise ScoreError(f"{stage} runs in one process; only steer shares its work among {ranks.launched()} ranks")
    if distributed:
        ranks.join()
    if ranks.rank() > 0:
        record, resumed, made, place = ranks.gather(None)[0]
        return Run(Path(made), parse(RunRecord, record, directory), resumed, Path(place), writes=False)
    run = _start(directory, stage, config, seeds, overwrite, inputs)
    ranks.gather([to_plain(run._record), run.resumed, str(run.directory), str(run._place)])
    return run


def _start(
    directory: str | os.PathLike[str],
    stage: str,
    config: Any,
    seeds: Mapping[str, int],
    overwrite: bool,
    inputs: Mapping[str, Path] | None,
) -> Run:
    validate(config)
    place = resolve_output(directory, inputs)
    wanted = {"stage": stage, "seeds": to_plain(seeds), "config": to_plain(config)}
    found = _found(place, directory)
    if found is not None and found.finished and not overwrite:
        _check_same(place, directory, found, wanted)
        return Run(place, found, resumed=True)
    lock = Lock(place / PRIVATE / "lock", Path(directory))
    try:
        complete(place, _owned)
        return _open(place, directory, wanted, overwrite, lock)
    except BaseException:
        lock.release()
        tidy(place)
        raise


def retire(directory: str | os.PathLike[str]) -> None:
    """Let the next run in a directory take the place of the one that is there, whatever its settings.

    Until that run is complete all files stay as they are. Nothing happens where there is no run. Raises ScoreError
    where another process owns the directory, and where something else is in it.
    """
    place = resolve_output(directory)
    if not place.exists():
        return
    with Lock(place / PRIVATE / "lock", Path(directory)):
        complete(place, _owned)
        if (found := _found(place, directory)) is not None:
            write_record(place, replace(found, status="retired"))
    tidy(place)


def _found(place: Path, directory: Any) -> RunRecord | None:
    """The run that is in a directory, None where nothing is. Raises ScoreError where something else is."""
    if place.exists() and not place.is_dir():
        raise ScoreError(f"{directory} is a file, not a directory")
    if (place / RECORD).exists():
        return read_record(place / RECORD)
    cut_off = (place / PRIVATE / "ready").is_dir()
    if not cut_off and (others := content(place)):
        raise ScoreError(
            f"{directory} is not empty and no run directory (no {RECORD}): it holds {others[0].name}; "
            "choose another directory (--overwrite replaces runs only)"
        )
    return None


def _open(place: Path, directory: Any, wanted: Mapping[str, Any], overwrite: bool, lock: Lock) -> Run:
    """The run to go on with, in its place or, where it replaces another, beside it."""
    found = _found(place, directory)
    if found is None:
        return _begin(place, place, wanted, lock)
    if not overwrite and not found.retired:
        _check_same(place, directory, found, wanted)
        return Run(place, found, resumed=True) if found.finished else _resume(place, place, found, lock)
    if _continues(place, found, wanted, overwrite):
        return _resume(place, place, found, lock)
    beside = next_folder(place)
    if (beside / RECORD).exists() and _continues(beside, begun := read_record(beside / RECORD), wanted, overwrite):
        return _resume(beside, place, begun, lock)
    shutil.rmtree(beside, ignore_errors=True)
    return _begin(beside, place, wanted, lock)


def _begin(directory: Path, place: Path, wanted: Mapping[str, Any], lock: Lock) -> Run:
    record = RunRecord(
        kind=KIND,
        version=VERSION,
        stage=wanted["stage"],
        status="running",
        **describe_process(),
        seeds=wanted["seeds"],
        started_at=_now(),
        resumed=(),
        wall_s=0.0,
        summary={},
        parts=(CONFIG, METRICS),
        files={},
    )
    # run.json first: a directory is a run from the moment that anything is in it.
    write_record(directory, record)
    write_json(directory / CONFIG, wanted["config"])
    return Run(directory, record, False, place, lock)


def _resume(directory: Path, place: Path, record: RunRecord, lock: Lock) -> Run:
    record = replace(record, resumed=(*record.resumed, {"at": _now(), "command": command_line()}))
    write_record(directory, record)
    return Run(directory, record, True, place, lock)


def _check_same(place: Path, directory: Any, record: RunRecord, wanted: Mapping[str, Any]) -> None:
    """Raise ScoreError where a directory holds another run than is wanted."""
    if differences := _differences(_identity(place, record, wanted), wanted):
        raise ScoreError(
            f"{directory} holds a run of another configuration ({'; '.join(differences)}); "
            "choose another directory or pass --overwrite"
        )


def _continues(directory: Path, record: RunRecord, wanted: Mapping[str, Any], overwrite: bool) -> bool:
    """An unfinished run is what is wanted; where that is a new one (`overwrite`) only if it is of this very program,
    so that going on gives what starting over would."""
    if record.finished or record.retired:
        return False
    if overwrite:
        here = describe_process()
        same_program = (record.commit, record.versions) == (here["commit"], here["versions"])
        if not same_program or record.commit.endswith("-dirty"):
            return False
    return not _differences(_identity(directory, record, wanted), wanted)


def _identity(directory: Path, record: RunRecord, wanted: Mapping[str, Any]) -> dict[str, Any]:
    if not (directory / CONFIG).exists():  # killed between the two first files
        write_json(directory / CONFIG, wanted["config"])
    return {"stage": record.stage, "seeds": dict(record.seeds), "config": read_json(directory / CONFIG)}


def _owned(record: Path) -> Iterable[str]:
    """Files and folders that the run of a record wrote."""
    run = read_record(record)
    return run.files or run.parts


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Fields that differ, as "field: old -> new"."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in dict.fromkeys([*old, *new]):
            inner = f"{name}.{key}" if name else key
            found += _differences(old.get(key, "(absent)"), new.get(key, "(absent)"), inner)
        return found
    return [] if old == new else [f"{name}: {old} -> {new}"]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
