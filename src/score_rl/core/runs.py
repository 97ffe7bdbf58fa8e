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
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self

import torch

from score_rl.core import ranks
from score_rl.core.errors import ScoreError
from score_rl.core.files import JsonLines, sha256, to_plain, write_json
from score_rl.core.locks import Lock, command_line
from score_rl.core.outputs import RECORD, resolve_output
from score_rl.core.parallel import usable_cores
from score_rl.core.publish import PRIVATE, complete, content, files_below, next_folder, publish, tidy
from score_rl.core.ranges import NonNegative
from score_rl.core.records import parse, parse_kind, read_json, shown, validate
from score_rl.core.tracking import Listener

PACKAGES = ("score-rl", "torch", "numpy", "mujoco", "gymnasium", "pyarrow", "safetensors")
"""Packages whose versions a run records."""

KIND, VERSION = "score_rl.run", 1
CONFIG, METRICS = "config.json", "metrics.jsonl"


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json."""

    kind: Literal["score_rl.run"]
    version: Literal[1]
    stage: str
    """What was run, e.g. "pretrain"."""
    status: Literal["running", "finished"]
    command: str
    python: str
    versions: Mapping[str, str | None]
    commit: str
    machine: Mapping[str, Any]
    torch_threads: int
    seeds: Mapping[str, int]
    started_at: str
    resumed: tuple[Mapping[str, str], ...]
    """When and by which commands it was taken up again."""
    wall_s: NonNegative
    """Seconds spent, interruptions left out."""
    summary: Mapping[str, Any]
    """What `Run.finish` was given; empty until then."""
    parts: tuple[str, ...]
    """Files and folders in the directory that the run writes."""
    files: Mapping[str, str]
    """Every file that the finished run wrote -> its SHA-256; empty until then."""
    sha256: str = ""
    """Of the rest of the record."""

    @property
    def finished(self) -> bool:
        """The run is complete."""
        return self.status == "finished"


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
            _write_record(self.directory, self._record)

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


def read_run(directory: str | os.PathLike[str]) -> tuple[RunRecord, dict[str, Any]]:
    """(run.json, config.json) of a run directory. Raises ScoreError where it is none."""
    directory = Path(directory)
    config = read_json(directory / CONFIG)
    if not isinstance(config, dict):
        raise ScoreError(f"{directory / CONFIG} is {shown(config)}, expected a record {{...}}")
    verify(directory, CONFIG)
    return _read_record(directory / RECORD), config


def verify(folder: str | os.PathLike[str], *names: str) -> None:
    """Compare files with what the finished run wrote that they belong to; nothing happens where they belong to none.

    names: files relative to `folder`, which is a run directory or up to two levels below one; without names, all of
    the run's files below `folder`. Raises ScoreError that names a file which was changed or is missing.
    """
    folder = Path(os.path.realpath(folder))
    for directory in (folder, *folder.parents[:2]):
        if not (directory / RECORD).is_file():
            continue
        values = read_json(directory / RECORD)
        if not isinstance(values, dict) or values.get("kind") != KIND:
            continue
        wanted = {(folder / name).relative_to(directory).as_posix() for name in names}
        for name, digest in _parse_record(values, directory / RECORD).files.items():
            path = directory / name
            if (name in wanted) if names else path.is_relative_to(folder):
                if not path.is_file():
                    raise ScoreError(f"{path} is missing, which the run in {directory} wrote")
                if sha256(path) != digest:
                    raise ScoreError(f"{path} was changed after the run in {directory} wrote it (another SHA-256)")
        return


def describe_process() -> dict[str, Any]:
    """Command, versions, commit and machine of this process, as every result file records them."""
    return {
        "command": command_line(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": git_commit(),
        "machine": machine(),
        "torch_threads": torch.get_num_threads(),
    }


def git_commit() -> str:
    """Commit of the source tree, with "-dirty" where it has changes; "unknown" outside a repository."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        # A package installed inside somebody else's repository must not report that one's commit.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def machine() -> dict[str, Any]:
    """Processor, usable cores, memory (GB), operating system and accelerator."""
    try:
        memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        memory_gb = float("nan")
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gb": round(memory_gb, 1),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _found(place: Path, directory: Any) -> RunRecord | None:
    """The run that is in a directory, None where nothing is. Raises ScoreError where something else is."""
    if place.exists() and not place.is_dir():
        raise ScoreError(f"{directory} is a file, not a directory")
    if (place / RECORD).exists():
        return _read_record(place / RECORD)
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
    if not overwrite:
        _check_same(place, directory, found, wanted)
        return Run(place, found, resumed=True) if found.finished else _resume(place, place, found, lock)
    if not found.finished and _continues(place, found, wanted):
        return _resume(place, place, found, lock)
    beside = next_folder(place)
    if (beside / RECORD).exists():
        begun = _read_record(beside / RECORD)
        if not begun.finished and _continues(beside, begun, wanted):
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
    _write_record(directory, record)
    write_json(directory / CONFIG, wanted["config"])
    return Run(directory, record, False, place, lock)


def _resume(directory: Path, place: Path, record: RunRecord, lock: Lock) -> Run:
    record = replace(record, resumed=(*record.resumed, {"at": _now(), "command": command_line()}))
    _write_record(directory, record)
    return Run(directory, record, True, place, lock)


def _check_same(place: Path, directory: Any, record: RunRecord, wanted: Mapping[str, Any]) -> None:
    """Raise ScoreError where a directory holds another run than is wanted."""
    if differences := _differences(_identity(place, record, wanted), wanted):
        raise ScoreError(
            f"{directory} holds a run of another configuration ({'; '.join(differences)}); "
            "choose another directory or pass --overwrite"
        )


def _continues(directory: Path, record: RunRecord, wanted: Mapping[str, Any]) -> bool:
    """An unfinished run is what is wanted, by this very program: going on gives what starting over would."""
    here = describe_process()
    same_program = (record.commit, record.versions) == (here["commit"], here["versions"])
    unchanged = same_program and not record.commit.endswith("-dirty")
    return unchanged and not _differences(_identity(directory, record, wanted), wanted)


def _identity(directory: Path, record: RunRecord, wanted: Mapping[str, Any]) -> dict[str, Any]:
    if not (directory / CONFIG).exists():  # killed between the two first files
        write_json(directory / CONFIG, wanted["config"])
    return {"stage": record.stage, "seeds": dict(record.seeds), "config": read_json(directory / CONFIG)}


def _read_record(path: Path) -> RunRecord:
    """Raises ScoreError where a file is no record of a run of ours."""
    values = read_json(path)
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise ScoreError(f"{path} is no record of a run of score (kind {KIND!r}); not touching its folder")
    return _parse_record(values, path)


def _parse_record(values: dict[str, Any], path: Path) -> RunRecord:
    record = parse_kind(RunRecord, values, path, KIND, VERSION)
    if record.sha256 != _record_digest(record):
        raise ScoreError(f"{path} was changed: it does not agree with its own SHA-256")
    return record


def _write_record(directory: Path, record: RunRecord) -> None:
    write_json(directory / RECORD, replace(record, sha256=_record_digest(record)))


def _record_digest(record: RunRecord) -> str:
    text = json.dumps(to_plain(replace(record, sha256="")), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _owned(record: Path) -> Iterable[str]:
    """Files and folders that the run of a record wrote."""
    run = _read_record(record)
    return run.files if run.finished else run.parts


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Fields that differ, as "field: old -> new"."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in dict.fromkeys([*old, *new]):
            inner = f"{name}.{key}" if name else key
            found += _differences(old.get(key, "(absent)"), new.get(key, "(absent)"), inner)
        return found
    return [] if old == new else [f"{name}: {old} -> {new}"]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
