"""Every number that people can set says at its field what it may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from score_rl.cli.main import other_commands, stage_commands
from score_rl.core.ranges import Range
from score_rl.pipeline.experiment.definition import Experiment
from score_rl.sim.camera import Camera
from score_rl.sim.domain import Physics, ProtectiveStop
from score_rl.sim.engines.settings import ENGINES
from score_rl.tasks.recipe import get_recipe

ANY_NUMBER = ("sweep_value",)
"""Fields that hold whatever another field was set to."""
COMMANDS = {**stage_commands(get_recipe("pinch_cube", "debug")), **other_commands()}
TABLES = {"experiment": Experiment, "camera": Camera, "physics": Physics, "stop": ProtectiveStop, **ENGINES}


def without_range(kind: Any, where: str, ranged: bool = False) -> Iterator[str]:
    """Numbers of an annotation, as deep as it goes, for which no range is declared."""
    if get_origin(kind) is Annotated:
        kind, *metadata = get_args(kind)
        ranged = ranged or any(isinstance(each, Range) for each in metadata)
    if kind in (int, float):
        if not ranged:
            yield where
    elif dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            if field.name not in ANY_NUMBER:
                yield from without_range(hints[field.name], f"{where}.{field.name}")
    else:
        for inner in get_args(kind):
            yield from without_range(inner, where)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_number_of_a_command_has_a_range(name: str) -> None:
    assert list(without_range(type(COMMANDS[name]), name)) == []


@pytest.mark.parametrize("name", TABLES)
def test_every_number_of_a_table_has_a_range(name: str) -> None:
    assert list(without_range(TABLES[name], name)) == []


def test_the_check_can_fail() -> None:
    assert list(without_range(Mapping[str, tuple[float, ...]], "bare")) == ["bare"]
    assert list(without_range(tuple[Annotated[int, Range(1)], ...] | None, "ranged")) == []
