"""Weights, optimiser and random state in one file: safetensors, with the rest as JSON in its header.

Nothing is unpickled, so a checkpoint from somebody else cannot run code, and nothing is loaded "as far as it
fits": a missing, unknown or wrongly shaped entry is an error that names the file. The header holds the SHA-256 of
everything else, so that a changed byte anywhere is an error too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from score_rl.core.errors import ScoreError
from score_rl.core.files import to_plain, write_bytes
from score_rl.core.records import parse, parse_json, shown

FORMAT_VERSION = 2
"""Version of the header. A reader accepts its own version only."""

_HEADER = "score_rl"  # One header key: safetensors writes several in random order, and files would differ.


@dataclass(frozen=True)
class Header:
    """What stands in the header's one entry."""

    version: int
    metadata: Mapping[str, Any]
    """Plain data; `kind` says what is stored."""
    sha256: str
    """Of the metadata and of every tensor's name, type, shape and bytes."""


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata atomically; equal contents give equal bytes.

    metadata must hold "kind", the name of what is stored (e.g. "policy"), which `load_tensors` asks for.
    """
    if not isinstance(metadata.get("kind"), str):
        raise ValueError("metadata needs a 'kind' that says what is stored")
    # Cloned, because safetensors refuses tensors that share memory.
    plain = {
        name: tensors[name].detach().cpu().clone(memory_format=torch.contiguous_format) for name in sorted(tensors)
    }
    header = Header(FORMAT_VERSION, to_plain(metadata), _digest(plain, to_plain(metadata)))
    text = json.dumps(to_plain(header), sort_keys=True, allow_nan=False)
    write_bytes(path, save(plain, {_HEADER: text}))


def load_tensors(path: str | os.PathLike[str], expected_kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and metadata of a file of `save_tensors`.

    Raises ScoreError where the file is missing, changed, corrupt, of another version or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise ScoreError(f"{path} does not exist")
    try:
        with safe_open(path, framework="pt") as stream:
            text = (stream.metadata() or {}).get(_HEADER)
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise ScoreError(f"{path} is corrupt or no safetensors file: {error}") from error
    if text is None:
        raise ScoreError(f"{path} is a safetensors file, but not one of score-rl")
    values = parse_json(text, f"the header of {path}")
    if isinstance(values, dict) and values.get("version", FORMAT_VERSION) != FORMAT_VERSION:
        raise ScoreError(f"{path} has format version {shown(values['version'])}; this release reads {FORMAT_VERSION}")
    header = parse(Header, values, f"the header of {path}")
    if _digest(tensors, header.metadata) != header.sha256:
        raise ScoreError(f"{path} was changed: it does not agree with its own SHA-256")
    if (kind := header.metadata.get("kind")) != expected_kind:
        raise ScoreError(f"{path} holds a '{kind}', expected a '{expected_kind}'")
    return tensors, dict(header.metadata)


def ordered(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data as they come back from a checkpoint, their keys in order: the same before and behind a resume."""
    return json.loads(json.dumps(to_plain(values), sort_keys=True, allow_nan=False))


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors named `prefix.name`, so that several parts fit into one file."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def joined(**parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of several parts, each named `part.name`."""
    return {name: tensor for part in parts for name, tensor in with_prefix(part, parts[part]).items()}


def take_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors named `prefix.name`, under `name`: the inverse of `with_prefix`."""
    start = f"{prefix}."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Load a module's complete state; `source` is the file that an error names.

    Raises ScoreError for missing or unknown names, for other shapes or types, and for NaN or infinite values.
    """
    own = module.state_dict()
    _same_names(tensors, own, source)
    for name, tensor in own.items():
        _same_shape(tensors[name], tensor, name, source)
        if tensors[name].dtype != tensor.dtype:
            raise ScoreError(f"{source}: '{name}' is {tensors[name].dtype}, expected {tensor.dtype}")
        if not tensors[name].isfinite().all():
            raise ScoreError(f"{source}: '{name}' holds NaN or infinity: its training diverged")
    module.load_state_dict(dict(tensors), strict=True)


def optimizer_to_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of an optimiser as tensors (`index.name`) and JSON-ready settings (its parameter groups)."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            (tensors if isinstance(value, Tensor) else values)[f"{index}.{name}"] = value
    # The names are kept twice, so that a tensor that went missing is noticed.
    return tensors, to_plain({"groups": state["param_groups"], "values": values, "tensors": sorted(tensors)})


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], source: object
) -> None:
    """Put back what `optimizer_to_tensors` took; `source` is the file that an error names.

    Raises ScoreError where the optimiser has other groups, parameters, settings or shapes.
    """
    _same_names(tensors, dict.fromkeys(meta["tensors"]), source)
    own_groups = optimizer.state_dict()["param_groups"]
    groups = [dict(group) for group in meta["groups"]]
    if [group["params"] for group in groups] != [group["params"] for group in own_groups]:
        raise ScoreError(f"{source}: the optimiser has other parameter groups than the checkpoint")
    for group, own in zip(groups, own_groups, strict=True):
        _same_names(group, own, source)
        for name, value in own.items():  # JSON has no tuples
            group[name] = tuple(group[name]) if isinstance(value, tuple) else group[name]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **meta["values"]}.items():
        index, _, name = key.partition(".")
        if not index.isdigit() or int(index) >= len(parameters):
            raise ScoreError(f"{source}: unknown optimiser entry '{key}'")
        if isinstance(value, Tensor) and value.ndim:  # scalars count steps
            _same_shape(value, parameters[int(index)], key, source)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def torch_rng_state(generator: torch.Generator | None = None) -> Tensor:
    """State (bytes,) uint8 of a torch CPU generator, by default the global one."""
    return generator.get_state() if generator is not None else torch.get_rng_state()


def restore_torch_rng(state: Tensor, source: object, generator: torch.Generator | None = None) -> None:
    """Put back a state of `torch_rng_state`. Raises ScoreError where it is none."""
    try:
        generator.set_state(state) if generator is not None else torch.set_rng_state(state)
    except (RuntimeError, TypeError) as error:
        raise ScoreError(f"{source}: bad random state: {error}") from error


def numpy_rng_state(generator: np.random.Generator) -> dict[str, Any]:
    """State of a numpy generator, ready for JSON (its integers are exact there)."""
    return generator.bit_generator.state


def restore_numpy_rng(generator: np.random.Generator, state: Mapping[str, Any], source: object) -> None:
    """Put back a state of `numpy_rng_state`. Raises ScoreError for another kind of generator."""
    try:
        generator.bit_generator.state = dict(state)
    except (ValueError, TypeError, KeyError) as error:
        raise ScoreError(f"{source}: bad random state: {error}") from error


def _same_names(stored: Mapping[str, Any], own: Mapping[str, Any], source: object) -> None:
    missing, unknown = sorted(own.keys() - stored.keys()), sorted(stored.keys() - own.keys())
    if missing or unknown:
        raise ScoreError(f"{source}: missing entries {missing}, unknown entries {unknown}")


def _same_shape(stored: Tensor, own: Tensor, name: str, source: object) -> None:
    if stored.shape != own.shape:
        raise ScoreError(f"{source}: '{name}' has shape {tuple(stored.shape)}, expected {tuple(own.shape)}")


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
