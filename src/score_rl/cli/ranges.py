"""Ranges of numbers and choices in `--help`: `--episodes INT>=1`, `--kind {a,b}`. Whether they hold is checked by
`core.records`, for every command alike; here they are only shown."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, get_args, get_origin

from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructTypeInfo,
)

from score_rl.core.ranges import Range


def registry() -> ConstructorRegistry:
    """Rules for `tyro.cli`: numbers and choices as ever, their metavar with what their field accepts."""
    rules, inside = ConstructorRegistry(), []

    @rules.struct_rule
    def with_ranges(info: StructTypeInfo) -> StructConstructorSpec | None:
        if not dataclasses.is_dataclass(info.type) or info in inside:
            return None
        inside.append(info)
        spec = ConstructorRegistry.get_struct_spec(info)  # as tyro itself would have it
        inside.pop()
        if not isinstance(spec, StructConstructorSpec):
            return None
        return dataclasses.replace(
            spec, fields=tuple(dataclasses.replace(field, type=shown(field.type)) for field in spec.fields)
        )

    return rules


def shown(kind: Any) -> Any:
    """A field's annotation whose numbers show their range, also within tuples, unions and dictionaries.

    Whatever text is given for a choice passes, so that `core.records` names the nearest one. A dictionary is pairs on
    the line whatever its default holds, where tyro would make an option of every key.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal and all(isinstance(choice, str) for choice in arguments):
        return Annotated[str, _choice(arguments)]
    if origin is Annotated:
        number, *metadata = arguments
        limits = [each for each in metadata if isinstance(each, Range)]
        if limits and number in (int, float):
            return Annotated[number, *metadata, _number(number, limits[0])]
        return Annotated[shown(number), *metadata]
    if origin is dict:
        pairs = dict[tuple(shown(each) for each in arguments)]
        return Annotated[pairs, ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(pairs, set()))]
    if not arguments or not any(get_origin(each) for each in arguments):
        return kind
    inner = tuple(shown(each) for each in arguments)
    return kind.copy_with(inner) if hasattr(kind, "copy_with") else origin[inner]


def _compact(limits: Range) -> str:
    text = str(limits)
    return text.replace(" ", "") if text.startswith((">", "<")) and " and " not in text else f" {text}"


def _choice(choices: tuple[str, ...]) -> PrimitiveConstructorSpec:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(choices)}}}",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
    )


def _number(kind: type, limits: Range) -> PrimitiveConstructorSpec:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{kind.__name__.upper()}{_compact(limits)}",
        instance_from_str=lambda words: kind(words[0]),
        is_instance=lambda value: isinstance(value, kind) or (kind is float and isinstance(value, int)),
        str_from_instance=lambda value: [str(value)],
    )
