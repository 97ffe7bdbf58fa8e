"""A bundle for the terminal: what it says about itself, in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from score_rl.deploy.bundle.manifest import Manifest
from score_rl.deploy.bundle.spec import BundleSpec
from score_rl.report.tables import plain_table, results_table


def bundle_page(manifest: Manifest, spec: BundleSpec) -> Iterator[RenderableType]:
    """Everything that a bundle says about itself, block by block."""
    yield _overview(manifest, spec)
    for title, table in (
        ("observation", _observation(spec)),
        ("actions", _actions(spec)),
        ("provenance", _provenance(spec.provenance)),
        ("files", _files(manifest)),
        ("evaluation", results_table(spec.evaluation) if spec.evaluation else "none"),
    ):
        yield Text(f"\n{title}", style="bold")
        yield table


def _overview(manifest: Manifest, spec: BundleSpec) -> Table:
    table = _table()
    interface, policy = spec.interface, spec.policy
    rate = interface.control_rate_hz
    for name, value in {
        "bundle": f"{manifest.digest} (version {spec.version}, all files as packed)",
        "task": spec.task,
        "method": spec.method,
        "robot": f"{spec.robot.name}, {interface.action_dim} actions ({interface.action.unit or 'no unit'})",
        "control rate": f"{rate:g} Hz",
        "window": f"{policy.history} frames ({1000 * policy.history / rate:.0f} ms)",
        "chunk": f"{policy.horizon} actions, of which {spec.execute_steps} run ({spec.execute_steps / rate:.2g} s)",
        "latent": " x ".join(str(size) for size in policy.latent_shape),
    }.items():
        table.add_row(Text(name, style="dim"), value)
    return table


def _observation(spec: BundleSpec) -> Table:
    table = _table("key", "shape", "type", "unit", "frame", "names")
    views = {f"{key} (view)": array for key, array in spec.interface.views.items()}
    for key, array in (spec.interface.observation | views).items():
        names = array.names if len(array.names) <= 7 else (*array.names[:3], "...", array.names[-1])
        shape = " x ".join(map(str, array.shape))
        table.add_row(key, shape, array.dtype, array.unit or "–", array.frame or "–", " ".join(names) or "–")
    return table


def _actions(spec: BundleSpec) -> Table:
    unit = spec.interface.action.unit or "unit"
    table = _table("action", f"low ({unit})", "high", "home", f"speed ({unit}/s)", f"acceleration ({unit}/s²)")
    nothing = (None,) * spec.interface.action_dim
    columns = (
        spec.action_low,
        spec.action_high,
        spec.robot.home or nothing,
        spec.action_velocity_limit or nothing,
        spec.action_acceleration_limit or nothing,
    )
    for name, *values in zip(spec.interface.action_names, *columns):
        table.add_row(name, *("–" if value is None else f"{value:.4g}" for value in values))
    return table


def _provenance(provenance: Mapping[str, Any]) -> Table:
    table = _table()
    for name, value in _leaves(provenance, skip=("training", "config", "versions")):
        table.add_row(Text(name, style="dim"), str(value))
    return table


def _files(manifest: Manifest) -> Table:
    table = _table("file", "bytes", "SHA-256")
    for name, entry in manifest.files.items():
        table.add_row(name, f"{entry['size']:,}", entry["sha256"])
    return table


def _leaves(values: Mapping[str, Any], skip: tuple[str, ...], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted name, value) of everything in a nested mapping but the mappings of the names to skip."""
    leaves: list[tuple[str, Any]] = []
    for name, value in values.items():
        if not isinstance(value, Mapping):
            leaves.append((f"{prefix}{name}", value))
        elif name not in skip:
            leaves += _leaves(value, skip, f"{prefix}{name}.")
    return leaves


def _table(*columns: str) -> Table:
    table = plain_table(*(columns or ("", "")))
    table.show_header = bool(columns)
    return table
