"""2,000 corruptions of every kind of file: each is noticed, or changes nothing; nothing ends in another error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from corruptions import CORRUPTIONS
from house import KINDS, build

from score_rl.core.errors import ScoreError

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
