"""Messages on the wire: openpi's layout byte by byte, and nothing else gets through."""

from __future__ import annotations

import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_client import wire

ARRAY = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [2]}


def refusal(message: object) -> str:
    """Why a message is refused."""
    data = message if isinstance(message, bytes) else msgpack.packb(message)
    with pytest.raises(wire.WireError) as error:
        wire.unpack(data)
    return str(error.value)


def test_the_layout_is_openpis() -> None:
    data = wire.pack({"a": np.array([[1.0], [2.0]], np.float32), "b": np.int64(3), "c": "text"})
    assert msgpack.unpackb(data) == {
        "a": {b"__ndarray__": True, b"data": struct.pack("<2f", 1, 2), b"dtype": "<f4", b"shape": [2, 1]},
        "b": {b"__npgeneric__": True, b"data": 3, b"dtype": "<i8"},
        "c": "text",
    }


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f4", ">i2"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 3, 2)])
def test_arrays_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    back = wire.unpack(wire.pack({"x": values}))["x"]
    assert back.dtype == values.dtype.newbyteorder("<") and back.shape == shape
    np.testing.assert_array_equal(back, values)


def test_plain_values_come_back() -> None:
    message = {"x": np.ones((2, 3), np.float32), "n": 3, "ok": True, "scalar": np.float32(0.5), "none": None}
    back = wire.unpack(wire.pack(message))
    np.testing.assert_array_equal(back.pop("x"), message.pop("x"))
    assert back == message


def test_transposed_arrays_are_sent_in_their_own_order() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(wire.unpack(wire.pack({"x": values}))["x"], values)


def test_lists_of_numbers_are_arrays() -> None:
    """What a client without numpy, or one of openpi's with plain lists, sends."""
    message = wire.unpack(msgpack.packb({"state": [0.5, 2, -1.0], "past": [[1, 2], [3, 4]], "many": [0.0] * 700}))
    np.testing.assert_array_equal(message["state"], [0.5, 2.0, -1.0])
    np.testing.assert_array_equal(message["past"], [[1, 2], [3, 4]])
    assert message["many"].shape == (700,)
    mixed = wire.unpack(wire.pack({"state": [np.float32(1.5), 2.0]}))
    np.testing.assert_array_equal(mixed["state"], [1.5, 2.0])


def test_what_a_server_says_about_itself_may_be_nested() -> None:
    about = {"policy": {"shape": [4, 1], "arrays": {"state": {"names": ["x", "y"], "low": [[0.5], []]}}}}
    assert wire.unpack(wire.pack(about), nested=True) == about
    with pytest.raises(wire.WireError, match="'policy' is a dict"):
        wire.unpack(wire.pack(about))
    answer = wire.unpack(wire.pack({"actions": np.ones((2, 1)), "server_timing": {"infer_ms": 1.5}}), nested=True)
    assert answer["server_timing"] == {"infer_ms": 1.5} and answer["actions"].shape == (2, 1)
    with pytest.raises(wire.WireError, match="is not read"):
        wire.unpack(msgpack.packb({"a": {"b": {**ARRAY, b"dtype": "|O"}}}), nested=True)


@pytest.mark.parametrize("value", [np.array([object()]), np.array(["text"]), np.array([1j]), object(), {1, 2}])
def test_other_types_are_not_sent(value: object) -> None:
    with pytest.raises(wire.WireError, match="no place for"):
        wire.pack({"x": value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"dtype": "|O"}, "dtype '|O' is not read; choose one of |b1"),
        ({b"dtype": "<f4,<f4"}, "is not read"),
        ({b"dtype": "<U2"}, "is not read"),
        ({b"dtype": ["<f4"]}, "is not read"),
        ({b"dtype": "x" * 3000}, "is not read"),
        ({b"shape": [3]}, "has 8 bytes, not 12"),
        ({b"shape": [2**40, 2**40]}, "has 8 bytes, not"),
        ({b"shape": [2**63, 2]}, "has 8 bytes, not"),
        ({b"shape": [-1]}, "expected a list of sizes"),
        ({b"shape": [True, 2]}, "expected a list of sizes"),
        ({b"shape": [2.0]}, "expected a list of sizes"),
        ({b"shape": 2}, "expected a list of sizes"),
        ({b"shape": [1, 1, 1, 1, 2]}, "expected a list of sizes, at most 4"),
        ({b"data": "12345678"}, "expected bytes"),
        ({b"data": None}, "expected bytes"),
        ({b"more": 1}, "exactly data, dtype and shape"),
    ],
)
def test_bad_arrays_are_refused(change: dict[bytes, object], message: str) -> None:
    assert message in refusal({"x": {**ARRAY, **change}})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "not valid msgpack"),
        (b"\xc1", "not valid msgpack"),
        (b"\x81\xa1a", "not valid msgpack"),
        (msgpack.packb({"a": 1}) + b"\0", "not valid msgpack"),
        (b"\xdf\xff\xff\xff\xff", "not valid msgpack"),
        (b"\xdd\xff\xff\xff\xff", "a list has more than 4096 entries"),
        (b"\xc6\xff\xff\xff\xff", "not valid msgpack"),
        (b"\x91" * 200_000, "not valid msgpack"),
        (b"\x81\xa1a" * 200_000, "not valid msgpack"),
        (b"\x82\xa1a\x01\xa1a\x02", "the same key twice"),
        (msgpack.ExtType(5, b""), "extensions are not read"),
        (msgpack.Timestamp(1), "not valid msgpack"),
        ([1], "expected a map"),
        (None, "expected a map"),
        (ARRAY, "expected a map"),
        ({"a": {"b": 1}}, "'a' is a dict"),
        ({"a": ["1"]}, "'a' is a list, but not of numbers"),
        ({"a": [[1, 2], [3]]}, "'a' is a list, but not of numbers"),
        ({"a": [1, None]}, "'a' is a list, but not of numbers"),
        ({"a": [2**63, {}]}, "'a' is a list, but not of numbers"),
        ({"a": [[[[[1]]]]]}, "'a' is a list, but not of numbers"),
        (b"\x81\xa1a" + b"\x91" * 400 + b"\x01", "'a' is a list, but not of numbers"),
        ({"a": [0] * 5000}, "a list has more than 4096 entries"),
        ({"a": b"raw"}, "'a' is a bytes"),
        ({b"a": 1}, "expected text"),
        ({str(number): 0 for number in range(65)}, "not valid msgpack"),
        ({"a": "x" * 5000}, "not valid msgpack"),
        ({"a": {b"__npgeneric__": True, b"data": "3", b"dtype": "<i4"}}, "expected a number"),
        ({"a": {b"__npgeneric__": True, b"data": 2**40, b"dtype": "<i4"}}, "does not fit int32"),
    ],
)
def test_other_messages_are_refused(message: object, reason: str) -> None:
    assert reason in refusal(message)


def test_what_a_stranger_sent_is_quoted_short_and_printable() -> None:
    text = refusal({"x": {**ARRAY, b"dtype": "\x1b[31m\n" * 500}})
    assert len(text) < 300 and text.isprintable()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        assert isinstance(wire.unpack(data), dict)
    except wire.WireError as error:
        assert str(error).isprintable()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_change_of_a_message_raises_anything_else(data: st.DataObject) -> None:
    message = bytearray(wire.pack({"state": np.arange(6, dtype=np.float32), "reset": True, "seed": 5}))
    for _ in range(data.draw(st.integers(1, 6))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = wire.unpack(bytes(message))
    except wire.WireError:
        return
    assert all(value.nbytes <= len(message) for value in back.values() if isinstance(value, np.ndarray))
