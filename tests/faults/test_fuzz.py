"""2,000 corruptions of every kind of file: each is noticed, or changes nothing; nothing ends in another error."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corruptions import CORRUPTIONS, retype
from door import DATA, EPISODES, as_version21, swing, write
from house import KINDS, build
from packed import WORLD

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.files import to_plain
from score_rl.core.interfaces import parse_interface
from score_rl.core.records import read_toml
from score_rl.data.dataset import load_dataset
from score_rl.data.repair import repair_dataset
from score_rl.data.writer import DatasetWriter
from score_rl.pipeline.experiment.file import parse_experiment
from score_rl.sim.domain import load_domain, parse_domain
from score_rl.sim.task import get_task

PARAMETERS = get_task("pinch_cube").parameters
EXPERIMENT = Path(__file__).parents[2] / "experiments" / "claim_debug.toml"

EACH = 70
"""Corruptions of every file as its run left it; as many again without the run's record."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("house")
    build(root)
    return root


@pytest.mark.parametrize("name", KINDS)
def test_a_corruption_is_noticed_or_changes_nothing(house: Path, name: str) -> None:
    path, read, draw = house / name, KINDS[name], random.Random(name)
    data, meaning = path.read_bytes(), read(house)
    try:
        for number in range(EACH):
            corrupt = CORRUPTIONS[number % len(CORRUPTIONS)]
            changed = corrupt(data, draw)
            path.write_bytes(changed)
            try:
                found = read(house)
            except ScoreError as error:
                assert str(error), corrupt.__name__
                continue
            assert found == meaning, f"{corrupt.__name__} number {number} went unnoticed"
    finally:
        path.write_bytes(data)


@pytest.mark.parametrize(
    "name", [name for name in KINDS if not name.startswith("bundle/") and "run.json" not in name]
)
def test_without_the_record_of_a_run_nothing_ends_in_another_error(house: Path, name: str) -> None:
    path, read, draw = house / name, KINDS[name], random.Random(f"bare {name}")
    data = path.read_bytes()
    records = {record: record.read_bytes() for record in house.glob("*/run.json")}
    try:
        for record in records:
            record.unlink()
        for number in range(EACH):
            path.write_bytes(CORRUPTIONS[number % len(CORRUPTIONS)](data, draw))
            try:
                read(house)
            except ScoreError as error:
                assert str(error)
    finally:
        path.write_bytes(data)
        for record, content in records.items():
            record.write_bytes(content)


TABLES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "domain": (load_domain("proxy").describe, lambda table: parse_domain(table, "x.toml", PARAMETERS)),
    "domain of any task": (load_domain("proxy_physx").describe, lambda table: parse_domain(table, "x.toml")),
    "experiment": (lambda: read_toml(EXPERIMENT), lambda table: parse_experiment(table, "x.toml")),
    "interface": (lambda: to_plain(WORLD.interface), lambda table: parse_interface(table, "x")),
}
"""What is read beyond the one reader's types and ranges: a whole table, and who reads it."""


@pytest.mark.parametrize("name", TABLES)
def test_no_table_ends_in_another_error(name: str) -> None:
    """300 changes of keys and values, up to three at a time."""
    (whole, read), draw = TABLES[name], random.Random(name)
    text = json.dumps(to_plain(whole()), indent=2).encode()
    refused = 0
    for _ in range(300):
        changed = text
        for _ in range(draw.randrange(1, 4)):
            changed = retype(changed, draw)
        table = json.loads(changed)
        try:
            read(table)
        except ScoreError as error:
            assert str(error)
            refused += 1
    assert refused > 100


def recording(root: Path, kind: str) -> Path:
    """A dataset of v3.0 or v2.1, or a collection that was never finished."""
    if kind == "unfinished":
        features = {"observation.state": ArraySpec((3,)), "action": ArraySpec((2,))}
        writer = DatasetWriter(root, 10, features, "arm")
        for episode in range(2):
            writer.add_episode(swing(6 + episode), "pinch", {"seed": episode})
        return root
    return write(root, (6, 7)) if kind == "v3.0" else as_version21(write(root, (6, 7)))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("v3.0", "meta/info.json"),
        ("v3.0", EPISODES),
        ("v3.0", DATA),
        ("v2.1", "meta/info.json"),
        ("v2.1", "meta/episodes.jsonl"),
        ("unfinished", "staging/spec.json"),
        ("unfinished", "staging/episode-000001.safetensors"),
    ],
)
def test_a_repair_ends_with_a_whole_dataset_or_one_error(kind: str, name: str, tmp_path: Path) -> None:
    root, draw = recording(tmp_path / "d", kind), random.Random(f"{kind} {name}")
    data = (root / name).read_bytes()
    for number in range(len(CORRUPTIONS)):
        (root / name).write_bytes(CORRUPTIONS[number % len(CORRUPTIONS)](data, draw))
        new = tmp_path / f"new{number}"
        try:
            found = repair_dataset(root, new)
        except ScoreError as error:
            assert str(error) and not new.exists()
            continue
        dataset = load_dataset(new)
        assert 1 <= dataset.num_episodes == found.episodes <= 2
