"""The one reader: what it takes, what it refuses, and that it never fails in any other way."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score_rl.core.errors import ScoreError
from score_rl.core.files import JsonLines, to_plain
from score_rl.core.ranges import Count, Positive, Range, Share
from score_rl.core.records import (
    MAX_DEPTH,
    parse,
    parse_json,
    read_bytes,
    read_json,
    read_json_lines,
    read_toml,
    shown,
    validate,
)


@dataclass(frozen=True)
class Inner:
    kind: Literal["full", "subspace"] = "full"
    share: Share = 0.5


@dataclass(frozen=True)
class Outer:
    steps: Count
    inner: Inner
    size: tuple[int, float]
    names: tuple[str, ...] = ()
    scales: Mapping[str, Positive] = field(default_factory=dict)
    limit: Annotated[int, Range(0, 10)] | None = None
    note: str | int = ""
    path: Path = Path("a")
    rest: Any = None


PLAIN = {
    "steps": 3,
    "inner": {"kind": "subspace", "share": 1},
    "size": [4, 5],
    "names": ["a", "b"],
    "scales": {"x": 0.1},
    "limit": 10,
    "note": 7,
    "path": "b/c",
    "rest": [1, {"a": None}],
}


def test_plain_data_becomes_the_dataclass_that_wrote_it():
    record = parse(Outer, PLAIN, "x.json")
    assert record == Outer(
        3, Inner("subspace", 1.0), (4, 5.0), ("a", "b"), {"x": 0.1}, 10, 7, Path("b/c"), [1, {"a": None}]
    )
    assert isinstance(record.inner.share, float) and isinstance(record.size[1], float)
    assert parse(Outer, json.loads(json.dumps(to_plain(record))), "x.json") == record
    validate(record)


def test_defaults_are_taken_only_where_they_are_asked_for():
    few = {"steps": 1, "inner": {}, "size": [1, 2]}
    assert parse(Outer, few, "x", defaults=True) == Outer(1, Inner(), (1, 2.0))
    with pytest.raises(ScoreError, match="x lacks names, scales, limit, note, path, rest"):
        parse(Outer, {**few, "inner": {"kind": "full", "share": 0}}, "x")
    with pytest.raises(ScoreError, match=r"x lacks steps$"):
        parse(Outer, {"inner": {}, "size": [1, 2]}, "x", defaults=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "x.json: steps is 0, expected >= 1"),
        ({"steps": True}, "x.json: steps is True, expected a whole number"),
        ({"steps": 1.0}, "x.json: steps is 1.0, expected a whole number"),
        ({"steps": None}, "x.json: steps is None, expected a whole number"),
        ({"steps": 10**50}, "x.json: steps is an integer of too many digits"),
        ({"limit": 11}, "x.json: limit is 11, expected 0 to 10"),
        ({"inner": {"kind": "ful", "share": 0}}, "x.json: unknown inner.kind 'ful'; did you mean 'full'?"),
        ({"inner": {"kind": "full", "shar": 0}}, "x.json: unknown key of inner 'shar'; did you mean 'share'?"),
        ({"inner": {"kind": "full"}}, "x.json: inner lacks share"),
        ({"inner": []}, "x.json: inner is [], expected a record {...}"),
        ({"inner": {"kind": ["full"], "share": 0}}, "x.json: unknown inner.kind"),
        ({"size": [1]}, "x.json: size is [1], expected 2 entries"),
        ({"size": [1, "2"]}, "x.json: size[1] is '2', expected a finite number"),
        ({"names": "ab"}, "x.json: names is 'ab', expected a list"),
        ({"names": ["a", 1]}, "x.json: names[1] is 1, expected text"),
        ({"scales": {"x": 0}}, "x.json: scales.x is 0, expected > 0"),
        ({"scales": []}, "x.json: scales is [], expected a mapping {...}"),
        ({"note": []}, "x.json: note is [], expected text or a whole number"),
        ({"path": 3}, "x.json: path is 3, expected a path"),
        ({"path": "a\0b"}, "expected a path"),
        ({"stps": 1}, "x.json: unknown key 'stps'; did you mean 'steps'?"),
    ],
)
def test_an_error_names_file_key_value_and_choices(change, message):
    with pytest.raises(ScoreError) as error:
        parse(Outer, {**PLAIN, **change}, "x.json")
    assert str(error.value).startswith(message) or message in str(error.value)


@pytest.mark.parametrize("value", [None, [], 3, "x", True])
def test_something_else_than_a_record_is_refused(value):
    with pytest.raises(ScoreError, match="expected a record"):
        parse(Outer, value, "x.json")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e301])
def test_settings_may_not_hold_what_is_no_finite_number(value):
    with pytest.raises(ScoreError, match=r"inner\.share is .*, expected a finite number"):
        validate(Outer(1, Inner(share=value), (1, 2.0)))


def test_validation_reaches_settings_behind_any():
    @dataclass(frozen=True)
    class Stage:
        settings: Any

    with pytest.raises(ScoreError, match=r"^settings\.inner\.share is 2, expected 0 to 1$"):
        validate(Stage(Outer(1, Inner(share=2), (1, 2.0))))
    with pytest.raises(ScoreError, match="names is \\['a'\\], expected a tuple"):
        validate(dataclasses.replace(parse(Outer, PLAIN, ""), names=["a"]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ('{"a": 1', "delimiter"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("NaN", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("1e999", "too large a number"),
        ("9" * 5000, "a number of 5000 digits"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} deep"),
        ('"\\ud800"', "surrogates"),
        (b"\xff", "utf-8"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_text_that_no_record_has_is_refused(text, reason):
    with pytest.raises(ScoreError, match=r"x\.json") as error:
        parse_json(text, "x.json")
    assert reason in str(error.value)


def test_the_deepest_record_and_the_longest_integer_are_read():
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, "x")
    assert parse_json(str(2**128 - 1), "x") == 2**128 - 1
    assert parse_json('"\\ud83d\\ude00"', "x") == "\U0001f600"


def test_files_that_cannot_be_read_are_named(tmp_path):
    for read in (read_bytes, read_json, read_json_lines, read_toml):
        with pytest.raises(ScoreError, match=r"gone does not exist"):
            read(tmp_path / "gone")
        with pytest.raises(ScoreError, match="Is a directory"):
            read(tmp_path)
        with pytest.raises(ScoreError, match="cannot read"):
            read(tmp_path / "a\0b")
        with pytest.raises(ScoreError, match="cannot read"):
            read(tmp_path / ("x" * 300))
    (tmp_path / "bad.json").write_text('{"a": ')
    with pytest.raises(ScoreError, match=r"bad\.json is not readable JSON"):
        read_json(tmp_path / "bad.json")


def test_json_lines_name_a_corrupt_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\nrubbish\n{"a": 2}\n')
    for read in (JsonLines, read_json_lines):
        with pytest.raises(ScoreError, match=r"log\.jsonl, line 2 is not readable JSON"):
            read(path)
    path.write_bytes(b'{"a": 1}\n[]\n')
    with pytest.raises(ScoreError, match=r"line 2 is \[\], expected a record"):
        read_json_lines(path)


NO_TOML = ("nan", "1\na = 2", "", "9" * 5000, "9" * 50, "[" * 5000, "[" * 40 + "]" * 40, '"\\ud800"')


@pytest.mark.parametrize("value", NO_TOML)
def test_toml_is_read_as_strictly(tmp_path, value):
    path = tmp_path / "x.toml"
    path.write_text(f"a = {value}")
    with pytest.raises(ScoreError, match=r"x\.toml"):
        read_toml(path)


def test_values_are_shown_short_and_safely():
    assert shown(10**5000) == "an integer of too many digits" and shown([10**5000]) == "a list"
    assert len(shown("x" * 1000)) == 80


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Outer)]), json_values))
def test_any_change_of_a_record_is_read_as_it_is_or_refused(change):
    try:
        record = parse(Outer, {**PLAIN, **change}, "x.json")
    except ScoreError:
        return
    plain = to_plain(record)
    assert {name: plain[name] for name in change if name != "rest"} == {
        n: v for n, v in change.items() if n != "rest"
    }


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        parse_json(text, "x.json")
    except ScoreError as error:
        assert "x.json" in str(error)
