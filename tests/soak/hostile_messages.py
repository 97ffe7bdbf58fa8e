"""Hostile clients for a policy server: malformed and malicious bytes, one connection each.

`KINDS` maps a name to an attack: a coroutine that opens a connection, does its worst, and returns what came of it
(`Outcome`). All bytes are drawn from the given generator, so an attack can be repeated.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import msgpack
import numpy as np
from numpy.random import Generator

ANSWERED, REFUSED, CLOSED, REJECTED, LEFT, SILENT = "answered", "refused", "closed", "rejected", "left", "silent"
"""What came of an attack: an answer (the message was valid after all), a text frame that says what is wrong, a
closed connection, a handshake that was refused; the attacker left first; or nothing within the time, a failure."""

BINARY, TEXT, CLOSE, PING = 2, 1, 8, 9
TRACES = (b"Traceback", b'File "', b".py")
"""What must not be in anything that a client is told."""


@dataclass(frozen=True)
class Target:
    """A server, and what a valid message to it looks like."""

    host: str
    port: int
    message: bytes
    """A valid observation, packed."""
    patience_s: float = 40.0
    """Time within which the server must react; where it rightly waits for the rest of a frame, its pings end that."""


@dataclass(frozen=True)
class Peer:
    """One raw connection."""

    target: Target
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send bytes; a server that has closed already is no error."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def upgrade(self, headers: bytes = b"") -> bool:
        """Open the WebSocket and take the metadata; False where the server refuses."""
        key = base64.b64encode(os.urandom(16))
        await self.send(
            b"GET / HTTP/1.1\r\nHost: robot\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n" + headers + b"\r\n"
        )
        try:
            status = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return False
        return b" 101 " in status.split(b"\r\n")[0] and (await self.receive())[0] == BINARY

    async def receive(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame that is no ping."""
        while True:
            first, second = await self.reader.readexactly(2)
            length = second & 127
            if length == 126:
                length = struct.unpack(">H", await self.reader.readexactly(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", await self.reader.readexactly(8))[0]
            payload = await self.reader.readexactly(length)
            if first & 15 not in (PING, 10):
                return first & 15, payload

    async def outcome(self) -> str:
        """What the server does next."""
        try:
            async with asyncio.timeout(self.target.patience_s):
                opcode, payload = await self.receive()
        except (asyncio.IncompleteReadError, ConnectionError):
            return CLOSED
        except TimeoutError:
            return SILENT
        if any(trace in payload for trace in TRACES):
            raise AssertionError(f"a traceback was sent to a client: {payload!r}")
        return {BINARY: ANSWERED, TEXT: REFUSED}.get(opcode, CLOSED)

    def reset(self) -> None:
        """Leave without any goodbye (TCP RST)."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def peer(target: Target) -> AsyncIterator[Peer]:
    """A TCP connection to the server, closed behind the block."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        yield Peer(target, reader, writer)
    finally:
        writer.transport.abort()


def frame(
    payload: bytes, opcode: int = BINARY, final: bool = True, length: int | None = None, bits: int = 0
) -> bytes:
    """A masked WebSocket frame; `length` instead of the true one, `bits` of extensions set."""
    size = len(payload) if length is None else length
    head = bytes([(128 if final else 0) | bits << 4 | opcode])
    if size < 126:
        head += bytes([128 | size])
    elif size < 65536:
        head += bytes([128 | 126]) + struct.pack(">H", size)
    else:
        head += bytes([128 | 127]) + struct.pack(">Q", size)
    return head + bytes(4) + payload  # a mask of zeros changes nothing


def packed_array(data: bytes, dtype: str, shape: object) -> dict[bytes, object]:
    """An array on the wire, right or wrong."""
    return {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}


def with_array(target: Target, random: Generator, array: object) -> bytes:
    """The valid message with one of its arrays replaced."""
    message = msgpack.unpackb(target.message)
    arrays = [name for name, value in message.items() if isinstance(value, dict)]
    return msgpack.packb({**message, arrays[random.integers(len(arrays))]: array})


def random_bytes(target: Target, random: Generator) -> bytes:
    return random.bytes(int(random.integers(0, 600)))


def mutated(target: Target, random: Generator) -> bytes:
    """The valid message with bytes changed, removed or put in."""
    data = bytearray(target.message)
    for _ in range(random.integers(1, 8)):
        where = int(random.integers(len(data)))
        action = random.integers(3)
        if action == 0:
            data[where] ^= 1 << int(random.integers(8))
        elif action == 1:
            del data[where : where + int(random.integers(1, 20))]
        else:
            data[where:where] = random.bytes(int(random.integers(1, 20)))
        data = data or bytearray(b"\0")
    return bytes(data)


def cut_short(target: Target, random: Generator) -> bytes:
    return target.message[: int(random.integers(len(target.message)))]


def huge_shapes(target: Target, random: Generator) -> bytes:
    sizes = [2**62, 2**40, 2**31, -1, 0, 10**9, 1.5, True, None, "4", [2]]
    shape = [sizes[random.integers(len(sizes))] for _ in range(random.integers(1, 6))]
    return with_array(target, random, packed_array(random.bytes(16), "<f4", shape))


def wrong_dtypes(target: Target, random: Generator) -> bytes:
    names = ["|O", "O", "|S16", "<U4", "|V16", "<c8", "<M8[s]", "<f16", ">f4", "f4,f4", "", "x" * 4000, 3, None, [1]]
    return with_array(target, random, packed_array(random.bytes(16), names[random.integers(len(names))], [4]))


def deep_nesting(target: Target, random: Generator) -> bytes:
    opening = [b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"\xde\x00\x01\xa1b"][random.integers(4)]
    return opening * int(random.integers(10, 40_000))


def false_claims(target: Target, random: Generator) -> bytes:
    """Headers of msgpack that claim far more than follows."""
    marker = [0xDD, 0xDF, 0xDB, 0xC6, 0xC9, 0xDC, 0xDE, 0xC8][random.integers(8)]
    claim = bytes([marker]) + struct.pack(">I", int(random.integers(2**16, 2**32)))
    return claim * int(random.integers(1, 200)) + random.bytes(8)


def not_finite(target: Target, random: Generator) -> bytes:
    message = msgpack.unpackb(target.message)
    name = next(iter(message))
    values = np.frombuffer(message[name][b"data"], message[name][b"dtype"]).copy()
    values[random.integers(len(values))] = [np.nan, np.inf, -np.inf][random.integers(3)]
    return msgpack.packb({**message, name: {**message[name], b"data": values.tobytes()}})


def wrong_shapes(target: Target, random: Generator) -> bytes:
    shape = [int(size) for size in random.integers(0, 40, size=random.integers(0, 4))]
    data = bytes(4 * int(np.prod(shape)))
    return with_array(target, random, packed_array(data, "<f4", shape))


def wrong_options(target: Target, random: Generator) -> bytes:
    values = [
        -1,
        2**64 - 1,
        2**60,
        1.5,
        float("nan"),
        "one",
        True,
        None,
        b"\0\1",
        [1],
        {"a": 1},
        msgpack.ExtType(5, b"x"),
    ]
    name = ["seed", "decision", "elapsed_steps", "reset", "prompt", "__class__", ""][random.integers(7)]
    return msgpack.packb({**msgpack.unpackb(target.message), name: values[random.integers(len(values))]})


def strange_maps(target: Target, random: Generator) -> bytes:
    """Keys twice, keys of bytes, missing keys, no map at all."""
    whole = msgpack.unpackb(target.message)
    first = next(iter(whole))
    options = [
        b"\x82" + 2 * (msgpack.packb(first) + msgpack.packb(whole[first])),
        msgpack.packb({**whole, b"bytes": 1}),
        msgpack.packb({name: value for name, value in whole.items() if name != first}),
        msgpack.packb({str(number): 0 for number in range(random.integers(1, 3000))}),
        msgpack.packb([whole]),
        msgpack.packb(None),
        target.message + b"\xc0",
    ]
    return options[random.integers(len(options))]


PAYLOADS: dict[str, Callable[[Target, Generator], bytes]] = {
    "random bytes": random_bytes,
    "mutated message": mutated,
    "message cut short": cut_short,
    "huge shapes": huge_shapes,
    "wrong dtypes": wrong_dtypes,
    "deep nesting": deep_nesting,
    "false claims of size": false_claims,
    "not finite": not_finite,
    "wrong shapes": wrong_shapes,
    "wrong options": wrong_options,
    "strange maps": strange_maps,
}
"""Messages in proper frames: all of them must be answered or refused."""


async def text_frame(line: Peer, random: Generator) -> str:
    await line.send(frame(base64.b64encode(random.bytes(30)), TEXT))
    return await line.outcome()


async def broken_frames(line: Peer, random: Generator) -> str:
    """Against RFC 6455: no mask, reserved bits and opcodes, text that is no UTF-8, a fragmented ping."""
    options = [
        bytes([130, 5]) + b"naked",
        frame(b"x", opcode=int(random.integers(3, 8))),
        frame(b"x", bits=int(random.integers(1, 8))),
        frame(b"\xff\xfe", TEXT),
        frame(b"x", PING, final=False),
        frame(b"x" * 126, PING),
        frame(b"x", opcode=0),
        random.bytes(64),
    ]
    await line.send(options[random.integers(len(options))] + frame(b"", CLOSE))
    return await line.outcome()


async def oversized(line: Peer, random: Generator) -> str:
    """Frames that claim up to 2^62 bytes."""
    await line.send(frame(b"x" * 100, length=2 ** int(random.integers(20, 63))))
    return await line.outcome()


async def truncated_frame(line: Peer, random: Generator) -> str:
    """A frame of which a part comes, and then nobody."""
    whole = frame(line.target.message)
    await line.send(whole[: int(random.integers(1, len(whole)))])
    line.reset()
    return LEFT


async def fragments(line: Peer, random: Generator) -> str:
    """A message in many pieces, of which the last never comes."""
    pieces = [frame(line.target.message[:1], final=False)] + [frame(b"", 0, final=False)] * int(
        random.integers(1, 200)
    )
    await line.send(b"".join(pieces))
    line.reset()
    return LEFT


async def vanish(line: Peer, random: Generator) -> str:
    """A proper question, and nobody there for the answer."""
    await line.send(frame(line.target.message) * int(random.integers(1, 4)))
    line.reset()
    return LEFT


async def flood(line: Peer, random: Generator) -> str:
    """Many pings, then a question."""
    await line.send(frame(b"ping", PING) * int(random.integers(1, 200)) + frame(line.target.message))
    return await line.outcome()


FRAMES: dict[str, Callable[[Peer, Generator], Awaitable[str]]] = {
    "text frame": text_frame,
    "broken frames": broken_frames,
    "oversized": oversized,
    "truncated frame": truncated_frame,
    "fragments without end": fragments,
    "client vanishes": vanish,
    "flood of pings": flood,
}
"""Attacks behind a proper handshake."""


async def no_handshake(target: Target, random: Generator) -> str:
    """What is no WebSocket handshake."""
    options = [
        random.bytes(int(random.integers(1, 300))) + b"\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.bytes(200),
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n",
    ]
    async with peer(target) as line:
        await line.send(options[random.integers(len(options))])
        with suppress(OSError):  # the server may have hung up already
            line.writer.write_eof()
        try:
            async with asyncio.timeout(target.patience_s):
                reply = await line.reader.read(65536)
        except (TimeoutError, ConnectionError) as error:
            return SILENT if isinstance(error, TimeoutError) else CLOSED
    if any(trace in reply for trace in TRACES):
        raise AssertionError(f"a traceback was sent to a client: {reply!r}")
    return REJECTED if reply else CLOSED


async def foreign_page(target: Target, random: Generator) -> str:
    """A web page that tries to talk to the robot's policy."""
    async with peer(target) as line:
        return ANSWERED if await line.upgrade(b"Origin: https://example.com\r\n") else REJECTED


def _payload(make: Callable[[Target, Generator], bytes]) -> Callable[[Target, Generator], Awaitable[str]]:
    async def attack(target: Target, random: Generator) -> str:
        async with peer(target) as line:
            if not await line.upgrade():
                return REJECTED
            await line.send(frame(make(target, random)))
            return await line.outcome()

    return attack


def _frames(act: Callable[[Peer, Generator], Awaitable[str]]) -> Callable[[Target, Generator], Awaitable[str]]:
    async def attack(target: Target, random: Generator) -> str:
        async with peer(target) as line:
            return await act(line, random) if await line.upgrade() else REJECTED

    return attack


KINDS: dict[str, Callable[[Target, Generator], Awaitable[str]]] = {
    **{name: _payload(make) for name, make in PAYLOADS.items()},
    **{name: _frames(act) for name, act in FRAMES.items()},
    "no handshake": no_handshake,
    "foreign web page": foreign_page,
}
"""Name -> attack; returns its outcome."""


async def slow_loris(target: Target) -> None:
    """A handshake, one byte every half second, until the server has had enough."""
    async with peer(target) as line:
        for byte in b"GET / HTTP/1.1\r\nHost: " + b"r" * 100_000:
            await line.send(bytes([byte]))
            try:
                async with asyncio.timeout(0.5):
                    if not await line.reader.read(1):
                        return
            except TimeoutError:
                continue
            except ConnectionError:
                return


async def half_open(target: Target) -> None:
    """A proper handshake and then silence: not even pings are answered. Until the server has had enough."""
    async with peer(target) as line:
        if await line.upgrade():
            with suppress(ConnectionError):
                while await line.reader.read(4096):
                    pass


async def slow_message(target: Target) -> None:
    """A message, one byte every half second, until the server has had enough."""
    async with peer(target) as line:
        if not await line.upgrade():
            return
        for byte in frame(target.message * 100):
            await line.send(bytes([byte]))
            await asyncio.sleep(0.5)
            if line.reader.at_eof():
                return


LOITERERS = {"slow handshake": slow_loris, "half-open connection": half_open, "slow message": slow_message}
"""Attackers that take their time; each returns once the server has thrown it out."""
