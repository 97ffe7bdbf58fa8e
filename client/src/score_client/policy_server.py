"""Serves somebody's generative policy, from the environment that it lives in, as a base policy for `score`.

    python -m score_client.policy_server package.module:factory --port 8000 [--option name=value ...]
    python -m score_client.policy_server score_client.lerobot_policy:load --option path=MODEL

The factory returns a `ServedPolicy`; `NoisePolicy` makes one of anything that takes its noise as an argument. Needs
numpy, msgpack and websockets. `score ... --policy openpi://host:8000` opens it on the other side.

Messages (msgpack, arrays as in `score_client.wire`): the server begins with its `fingerprint` and `spec` (JSON as
bytes); then every request has one answer:

    do = encode, rows, window/KEY (n, numbers)                    handle, features (n, c)
    do = decode, handle, index (m,), latent (m, l, w)             actions (m, h, a), or unknown = true

The context of an encoded window stays here, under its handle; the oldest are dropped, and a client that needs one
again sends its window again. An error is a text frame; the connection goes on. Where the environment variable
SCORE_API_KEY is set, only clients are let in that show it (`score` does, from the same variable).
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import importlib
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from score_client import wire

Arrays = Mapping[str, np.ndarray]
MAX_CONTEXTS = 64
"""Encoded windows that are kept for each connection."""
MAX_MESSAGE_BYTES = 1 << 30
"""Largest request: a batch of images."""
PROTOCOL = "score_policy/1"
API_KEY_VARIABLE = "SCORE_API_KEY"
"""Environment variable with the key that clients must show; without it nobody is asked."""


class ServedPolicy(Protocol):
    """A frozen policy a = f(observation, z), z ~ N(0, I), in numpy."""

    spec: dict[str, Any]
    """What it reads and writes, see `policy_spec`."""
    fingerprint: str
    """Names its weights: equal only where `encode` and `decode` are."""

    def encode(self, window: Arrays) -> tuple[Any, np.ndarray]:
        """(context, features (n, c) of about unit scale) of a window {key: (n, frames, *shape)}."""
        ...

    def decode(self, context: Any, index: np.ndarray, latent: np.ndarray) -> np.ndarray:
        """Actions (m, h, a), in physical units, of rows `index` (m,) of a context and latents (m, l, w)."""
        ...


def policy_spec(
    observation: Mapping[str, dict[str, Any]],
    action_names: list[str],
    control_rate_hz: float,
    history: int,
    horizon: int,
    latent_shape: tuple[int, int],
    action_unit: str = "",
) -> dict[str, Any]:
    """The specification of a policy in plain values. observation: key -> fields of `array`."""
    action = array([len(action_names)], unit=action_unit, names=action_names)
    return {
        "interface": {
            "observation": {key: array(**fields) for key, fields in observation.items()},
            "action": action,
            "control_rate_hz": float(control_rate_hz),
            "views": {},
        },
        "history": int(history),
        "horizon": int(horizon),
        "latent_shape": [int(size) for size in latent_shape],
    }


def array(
    shape: list[int], dtype: str = "float32", unit: str = "", frame: str = "", names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """One array of the specification; dtype is float32 or uint8."""
    return {"shape": list(shape), "dtype": dtype, "unit": unit, "frame": frame, "names": list(names)}


class NoisePolicy:
    """Anything that takes its noise as an argument. The context is the window itself, encoded anew at every decision.

    sample: (window {key: (m, frames, *shape)}, noise (m, l, w)) -> actions (m, h, a). embed: window -> (n, c), e.g. a
    pooled embedding; None: the numbers that are no pixels. max_rows: rows that are sampled at once.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        sample: Callable[[Arrays, np.ndarray], np.ndarray],
        fingerprint: str,
        embed: Callable[[Arrays], np.ndarray] | None = None,
        max_rows: int = 256,
    ) -> None:
        self.spec, self.fingerprint = spec, fingerprint
        self._sample, self._embed, self._max_rows = sample, embed or self._numbers, max_rows

    def encode(self, window: Arrays) -> tuple[Arrays, np.ndarray]:
        """See `ServedPolicy`."""
        return dict(window), np.asarray(self._embed(window), np.float32)

    def decode(self, context: Arrays, index: np.ndarray, latent: np.ndarray) -> np.ndarray:
        """See `ServedPolicy`."""
        parts = []
        for start in range(0, len(index), self._max_rows):
            rows = slice(start, start + self._max_rows)
            window = {key: values[index[rows]] for key, values in context.items()}
            parts.append(np.asarray(self._sample(window, latent[rows]), np.float32))
        return np.concatenate(parts)

    def _numbers(self, window: Arrays) -> np.ndarray:
        numbers = [v.reshape(len(v), -1) for v in window.values() if v.dtype != np.uint8]
        if not numbers:
            raise ValueError("a policy that sees pixels alone needs an embedding: NoisePolicy(..., embed=...)")
        return np.concatenate(numbers, axis=1)


def hash_arrays(arrays: Mapping[str, Any]) -> str:
    """SHA-256 of named arrays (a `state_dict` on the CPU), for a fingerprint."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {values.shape} {values.dtype} ".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


# ---- the server -------------------------------------------------------------------------------------------------


class PolicyServer:
    """Answers any number of connections, one request at a time."""

    def __init__(
        self, policy: ServedPolicy, host: str = "127.0.0.1", port: int = 0, api_key: str | None = None
    ) -> None:
        """port 0: a free one, see `port`. api_key: clients must send `Authorization: Api-Key KEY`."""
        self.policy, self._lock, self._api_key = policy, threading.Lock(), api_key
        options = {"max_size": MAX_MESSAGE_BYTES, "compression": None, "process_request": self._admit}
        self._server: Server = serve(self._connection, host, port, **options)
        self.port = self._server.socket.getsockname()[1]

    def serve(self) -> None:
        """Answer until `close`."""
        self._server.serve_forever()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """None for a client that has the key; others are told to show it."""
        if self._api_key is None:
            return None
        given, expected = request.headers.get_all("Authorization"), f"Api-Key {self._api_key}".encode()
        if len(given) == 1 and hmac.compare_digest(given[0].encode(errors="replace"), expected):
            return None
        return connection.respond(HTTPStatus.UNAUTHORIZED, "Send the header Authorization: Api-Key KEY.\n")

    def _connection(self, connection: ServerConnection) -> None:
        spec = np.frombuffer(json.dumps(self.policy.spec).encode(), np.uint8)
        connection.send(wire.pack({"protocol": PROTOCOL, "fingerprint": self.policy.fingerprint, "spec": spec}))
        contexts: OrderedDict[int, Any] = OrderedDict()
        try:
            for count, message in enumerate(connection):
                try:
                    with self._lock:
                        answer = self._answer(wire.unpack(message), contexts, count)
                    connection.send(wire.pack(answer))
                except ConnectionClosed:
                    raise
                except Exception as error:  # whatever somebody's policy may raise
                    logging.exception("a request failed")
                    connection.send(f"{type(error).__name__}: {error}")
        except ConnectionClosed:
            pass

    def _answer(self, request: dict[str, Any], contexts: OrderedDict[int, Any], count: int) -> dict[str, Any]:
        if request["do"] == "encode":
            context, features = self.policy.encode(self._window(request))
            contexts[count] = context
            while len(contexts) > MAX_CONTEXTS:
                contexts.popitem(last=False)
            return {"handle": count, "features": np.asarray(features, np.float32)}
        if request["do"] != "decode":
            raise ValueError(f"cannot do {request['do']!r}")
        if request["handle"] not in contexts:
            return {"unknown": True}
        contexts.move_to_end(request["handle"])
        index, latent = request["index"], request["latent"]
        actions = self.policy.decode(contexts[request["handle"]], index, latent)
        return {"actions": np.asarray(actions, np.float32)}

    def _window(self, request: dict[str, Any]) -> dict[str, np.ndarray]:
        arrays = self.policy.spec["interface"]["observation"]
        frames, rows = self.policy.spec["history"], request["rows"]
        return {
            key: np.array(request[f"window/{key}"], fields["dtype"]).reshape(rows, frames, *fields["shape"])
            for key, fields in arrays.items()
        }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("factory", help="package.module:factory that returns a ServedPolicy")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="argument of the factory")
    parser.add_argument("--host", default="127.0.0.1", help="what is not local should have a key, and a tunnel")
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one")
    arguments = parser.parse_args()
    key = os.environ.get(API_KEY_VARIABLE)
    if key is not None and len(key) < 16:
        parser.error(f"the key in {API_KEY_VARIABLE} needs at least 16 characters ({len(key)} given)")
    module, _, name = arguments.factory.partition(":")
    options = dict(_option(text) for text in arguments.option)
    policy = getattr(importlib.import_module(module), name)(**options)
    server = PolicyServer(policy, arguments.host, arguments.port, key)
    print(f"serving {arguments.factory} on openpi://{arguments.host}:{server.port}", flush=True)
    server.serve()


def _option(text: str) -> tuple[str, Any]:
    """Name and value of "name=value"; the value as JSON where it is, else as text."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


if __name__ == "__main__":
    main()
