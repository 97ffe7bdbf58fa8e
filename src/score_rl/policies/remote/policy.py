"""A base policy behind a connection: `open_policy("openpi://host:port")`.

On the other side runs `python -m score_client.policy_server` in whatever environment the policy lives in (lerobot's,
openpi's); its page has the messages. The key of a server that wants one is in the environment (`core.access`).
What is encoded stays there under a handle; a `RemoteContext` keeps the window, so that a server that was restarted,
or has dropped the handle, is asked again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import PolicySpec, Window
from score_rl.core import plugins
from score_rl.core.access import API_KEY_VARIABLE, read_api_key
from score_rl.core.arrays import check_window
from score_rl.core.errors import ScoreError
from score_rl.core.extras import optional
from score_rl.core.fingerprint import fingerprint
from score_rl.core.interfaces import check_policy_spec
from score_rl.core.records import parse, parse_json, shown

PROTOCOL = "score_policy/1"
MAX_ANSWER_BYTES = 1 << 28
DAY_S = 86_400
ROWS = 4096
"""Latents that are sent at once."""


@dataclass
class _Shared:
    """What the rows of one encoded window have in common."""

    window: Window
    handle: int
    connection: int
    """Number of the connection that the handle belongs to."""


@dataclass(frozen=True)
class RemoteContext:
    """A `contracts.Context` whose decoding half is on the other side."""

    features: Tensor
    """(n, c)."""
    index: Tensor
    """(n,) int64 rows of the encoded window."""
    shared: _Shared

    def rows(self, index: Tensor) -> RemoteContext:
        """See `Context.rows`."""
        return replace(self, features=self.features[index], index=self.index[index.to(self.index.device)])


class RemotePolicy:
    """A `contracts.FlowPolicy` that is served elsewhere. Calls of several threads are answered one by one."""

    spec: PolicySpec

    def __init__(self, address: str, timeout_s: float = 300.0, connect_s: float = 10.0) -> None:
        """address: "host:port". timeout_s: longest that one answer takes. connect_s: longest wait for the server.

        Raises ScoreError where there is no server, or another one than promised.
        """
        for name, value in (("timeout_s", timeout_s), ("connect_s", connect_s)):
            if not isinstance(value, int | float) or not 0 < value <= DAY_S:
                raise ScoreError(
                    f"{name} of a remote policy is {shown(value)}, expected seconds above 0, a day at most"
                )
        self._address, self._timeout_s, self._connect_s = address, timeout_s, connect_s
        self._lock, self._socket, self._connections = threading.Lock(), None, 0
        self._served: tuple[PolicySpec, str] | None = None
        self._width: int | None = None  # of the features; the first ones say it
        with self._lock:
            self._connect()
        self.spec, self._weights = self._served

    def fingerprint(self) -> str:
        """See `FlowPolicy.fingerprint`: of the specification and what the server calls its weights."""
        return fingerprint(self.spec, {"served": torch.tensor(list(self._weights.encode()), dtype=torch.uint8)})

    def encode(self, window: Window) -> RemoteContext:
        """See `FlowPolicy.encode`. Raises ScoreError for another window, and where the server fails."""
        check_window(self.spec, window)
        own = {key: window[key].detach().clone() for key in self.spec.window}
        with self._lock:
            shared, features = self._encode(own)
        device = next(iter(own.values())).device
        return RemoteContext(features.to(device), torch.arange(len(features), device=device), shared)

    def decode(self, context: RemoteContext, latent: Tensor) -> Tensor:
        """See `FlowPolicy.decode`. Raises ScoreError where the server fails."""
        n, shape = len(context.index), tuple(latent.shape)
        if shape != (n, *self.spec.latent_shape):
            raise ScoreError(f"latents have shape {shape}, expected {(n, *self.spec.latent_shape)}")
        index, values = context.index.cpu().numpy(), latent.detach().float().cpu().numpy()
        parts = []
        with self._lock:
            for start in range(0, n, ROWS):
                rows = slice(start, start + ROWS)
                parts.append(self._decode(context.shared, index[rows], values[rows]))
        return torch.cat(parts).to(latent.device)

    def close(self) -> None:
        """Hang up; the next call connects again."""
        with self._lock:
            self._drop()

    # ---- the wire, under the lock -------------------------------------------------------------------------------

    def _encode(self, window: Window) -> tuple[_Shared, Tensor]:
        rows = len(next(iter(window.values())))
        sent = {f"window/{key}": value.reshape(rows, -1).cpu().numpy() for key, value in window.items()}
        answer = self._ask({"do": "encode", "rows": rows, **sent})
        handle = answer.get("handle")
        if type(handle) is not int:
            raise ScoreError(f"{self._address} gave the handle {handle!r}, expected a number")
        features = self._numbers(answer, "features", (rows, self._width or "c"))
        self._width = features.shape[1]
        return _Shared(window, handle, self._connections), features

    def _decode(self, shared: _Shared, index: np.ndarray, latent: np.ndarray) -> Tensor:
        for _ in range(2):
            if shared.connection == self._connections:
                request = {"do": "decode", "handle": shared.handle, "index": index, "latent": latent}
                answer = self._ask(request)
                if not answer.get("unknown") and shared.connection == self._connections:
                    return self._numbers(answer, "actions", (len(index), *self.spec.chunk_shape))
            again, _ = self._encode(shared.window)
            shared.handle, shared.connection = again.handle, again.connection
        answer = self._ask({"do": "decode", "handle": shared.handle, "index": index, "latent": latent})
        return self._numbers(answer, "actions", (len(index), *self.spec.chunk_shape))

    def _numbers(self, answer: dict[str, Any], name: str, shape: tuple[int | str, ...]) -> Tensor:
        """An array of the answer; a size that is text, in `shape`, may be any."""
        values = answer.get(name)
        good = isinstance(values, np.ndarray) and values.dtype == np.float32 and values.ndim == len(shape)
        if not good or any(size not in (have, "c") or not have for size, have in zip(shape, values.shape)):
            found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else shown(values)
            raise ScoreError(f"{name} of {self._address} are {found}, expected float32 {shape}")
        if not np.isfinite(values).all():
            raise ScoreError(f"{name} of {self._address} are not finite")
        return torch.from_numpy(values.copy())

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer; asked once more over a new connection where the old one broke."""
        from score_client import wire
        from websockets.exceptions import WebSocketException

        message = wire.pack(request)
        for attempt in (1, 2):
            try:
                if self._socket is None:
                    self._connect()
                    if request["do"] == "decode":
                        return {"unknown": True}  # the handle was of the old connection
                self._socket.send(message)
                reply = self._socket.recv(timeout=self._timeout_s)
                break
            except (OSError, EOFError, WebSocketException) as error:
                self._drop()
                if attempt == 2 or isinstance(error, TimeoutError):
                    raise ScoreError(f"the policy at {self._address} does not answer: {error!r}") from error
        if isinstance(reply, str):
            raise ScoreError(f"the policy at {self._address} failed: {reply}")
        return _unpacked(reply, self._address)

    def _connect(self) -> None:
        with optional("a remote policy"):
            import score_client  # noqa: F401
            from websockets.exceptions import InvalidStatus, WebSocketException
            from websockets.sync.client import connect

        deadline, key = time.monotonic() + self._connect_s, read_api_key()
        while True:
            try:
                options = {"compression": None, "max_size": MAX_ANSWER_BYTES, "proxy": None}
                options["additional_headers"] = {"Authorization": f"Api-Key {key}"} if key is not None else None
                self._socket = connect(f"ws://{self._address}", open_timeout=self._connect_s, **options).__enter__()
                reply = self._socket.recv(timeout=self._connect_s)
                break
            except InvalidStatus as error:
                status = error.response.status_code
                if status == 401:
                    raise ScoreError(f"{self._address} wants its key in {API_KEY_VARIABLE}") from error
                raise ScoreError(f"{self._address} answers with HTTP status {status}") from error
            except (OSError, EOFError, WebSocketException, ValueError) as error:
                self._drop()
                if time.monotonic() >= deadline:
                    raise ScoreError(f"no policy at {self._address}: {error}") from error
                time.sleep(0.1)
        served = _read_served(reply, self._address)
        if self._served not in (None, served):
            self._drop()
            raise ScoreError(f"the policy at {self._address} is another one than it was")
        self._served, self._connections = served, self._connections + 1

    def _drop(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(Exception):
                self._socket.close()
        self._socket = None


def open_remote(uri: str) -> RemotePolicy:
    """The policy of `openpi://host:port?timeout_s=300&connect_s=10`. Raises ScoreError."""
    target, options = plugins.parse_uri(uri)
    address = target.partition("://")[2]
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ScoreError(f"a remote policy is openpi://host:port, not {shown(uri)}")
    return plugins.call(RemotePolicy, f"policy '{target}'", options, {"address": address})


def _read_served(reply: bytes | str, address: str) -> tuple[PolicySpec, str]:
    """(specification, name of the weights) of a server's first message. Raises ScoreError."""
    if isinstance(reply, str):
        raise ScoreError(f"{address} says: {reply}")
    first = _unpacked(reply, address)
    spec, weights = first.get("spec"), first.get("fingerprint")
    if first.get("protocol") != PROTOCOL or not isinstance(spec, np.ndarray) or not isinstance(weights, str):
        raise ScoreError(f"{address} serves no policy of the protocol {PROTOCOL}; see score_client.policy_server")
    spec = parse(PolicySpec, parse_json(spec.tobytes(), f"the specification of {address}"), address)
    check_policy_spec(spec, address)
    return spec, weights


def _unpacked(reply: bytes, address: str) -> dict[str, Any]:
    from score_client import wire

    try:
        return wire.unpack(reply)
    except wire.WireError as error:
        raise ScoreError(f"what {address} answers cannot be read: {error}") from error
