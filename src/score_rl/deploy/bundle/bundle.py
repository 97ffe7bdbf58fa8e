"""The bundle: one folder with everything that a robot's computer needs, and the policy that it holds.

    BUNDLE/manifest.json                size and SHA-256 of every file (`deploy.bundle.manifest`)
    BUNDLE/bundle.json                  the specification (`deploy.bundle.spec.BundleSpec`)
    BUNDLE/base/policy.{json,safetensors}          base policy with its normalisers, or
    BUNDLE/base/reference.json                     the URI and the fingerprint of one that lives elsewhere
    BUNDLE/steering/steering.{json,safetensors}    steering policy, where there is one

Equal inputs give equal bytes. Nothing is pickled.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import ArraySpec, FlowPolicy, PolicySpec, Window
from score_rl.core.arrays import check_window
from score_rl.core.errors import ScoreError
from score_rl.core.files import previous_folder, replace_folder, restore_folder, write_bytes, write_json
from score_rl.core.interfaces import as_array, check_offer
from score_rl.core.locks import Lock
from score_rl.core.outputs import resolve_output
from score_rl.core.records import read_json
from score_rl.core.run_record import read_run
from score_rl.deploy.bundle.manifest import Manifest, foreign_files, verify_manifest, write_manifest
from score_rl.deploy.bundle.spec import (
    VERSION,
    BundleSpec,
    RobotLimits,
    check_policy,
    check_spec,
    parse_spec,
)
from score_rl.policies.flow import policy as base_files
from score_rl.policies.open import FILES, open_policy, policy_folder, save_reference
from score_rl.steering import policy as steering_files
from score_rl.steering.handover import HandOver
from score_rl.steering.method import Decider, Trained
from score_rl.steering.methods import load_trained
from score_rl.steering.policy import BaseDecider, Decision

KIND = "score_rl.bundle"
SPEC, BASE, STEERING = "bundle.json", "base", "steering"

Array = Tensor | np.ndarray


class Bundle:
    """A policy ready to run: observation history in, chunk of actions out."""

    def __init__(
        self,
        spec: BundleSpec,
        base: FlowPolicy,
        steering: Trained | None,
        manifest: Manifest,
        deterministic: bool = True,
    ) -> None:
        self.spec, self.base, self.steering, self.manifest = spec, base, steering, manifest
        self.fallback: Decider = BaseDecider(base)
        """The base policy alone."""
        self.decider = self.fallback if steering is None else _decider(steering, base, deterministic)
        """The policy, unclipped, for `score_rl.evaluation`."""
        self._low, self._high = torch.tensor(spec.action_low), torch.tensor(spec.action_high)

    @property
    def digest(self) -> str:
        """SHA-256 of everything in the bundle: its identity."""
        return self.manifest.digest

    def decide(self, window: Mapping[str, Array], noise: Array) -> Decision:
        """Chunks (n, h, a) within the action bounds for windows {key: (n, frames, *shape)}, as `spec.policy.window`
        says, and noise (n, l, w) ~ N(0, I).

        Further keys in the window are ignored. Numbers that are not finite pass through: guard the output.
        Raises ScoreError for missing keys, and wrong shapes and types.
        """
        return self._decide(self.decider, window, noise)

    def base_decide(self, window: Mapping[str, Array], noise: Array) -> Decision:
        """As `decide`, by the base policy alone with z = noise: what to fall back to where steering is in doubt."""
        return self._decide(self.fallback, window, noise)

    def hand_over(self, samples: int) -> Callable[[Mapping[str, Array], Array, Array], Decision]:
        """`decide` with a third argument, the actions (n, r, a) that are under way: of `samples` chunks inside the
        support the one that goes on from them best (`steering.handover`). Raises ScoreError where there is nothing to
        choose from."""
        handing = HandOver(self.base, self.steering, samples)

        def decide(window: Mapping[str, Array], noise: Array, running: Array) -> Decision:
            under_way = torch.as_tensor(running, dtype=torch.float32)
            return self._decide(_Continuing(self.base.spec, handing, under_way), window, noise)

        return decide

    def _decide(self, decider: Decider, window: Mapping[str, Array], noise: Array) -> Decision:
        arrays, latent = self.spec.policy.window, self.spec.policy.latent_shape
        if missing := [key for key in arrays if key not in window]:
            raise ScoreError(f"the window lacks {', '.join(missing)}; it has {', '.join(sorted(window))}")
        tensors = {key: _tensor(window[key], array, f"window of {key!r}") for key, array in arrays.items()}
        check_window(self.spec.policy, tensors)
        noise, n = _tensor(noise, ArraySpec(latent), "noise"), len(next(iter(tensors.values())))
        if tuple(noise.shape) != (n, *latent):
            raise ScoreError(f"noise has shape {tuple(noise.shape)}, expected {(n, *latent)}")
        decision = decider.decide(tensors, noise)
        return replace(decision, chunk=torch.clamp(decision.chunk, self._low, self._high))


@dataclass(frozen=True)
class _Continuing:
    """A hand-over as a `Decider`."""

    spec: PolicySpec
    hand_over: HandOver
    running: Tensor

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `Decider`."""
        return self.hand_over.decide(window, noise, self.running)


def create_bundle(
    out: str | Path,
    policy: str | Path,
    steering_dir: str | Path | None,
    limits: RobotLimits,
    task: str,
    evaluation: Sequence[Mapping[str, Any]] = (),
    execute_steps: int | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Pack a base policy and its steering into a new folder `out`; it appears complete or not at all.

    Args:
        policy: URI of the base policy; one that lives in no folder is stored as a reference.
        steering_dir: folder of `save_steering`; None: the base policy alone.
        limits: the robot. execute_steps: None takes those of the steering's training, else half a chunk.
        evaluation: result records to carry along. overwrite: replace a bundle that is there.

    A bundle whose replacement was killed between its two renames is put back first. Raises ScoreError before
    anything is written where the parts do not belong together.
    """
    given = {"policy": policy_folder(policy), "steering": steering_dir}
    inputs = {role: Path(folder) for role, folder in given.items() if folder is not None}
    place = resolve_output(out, inputs)
    if Path.cwd().is_relative_to(place):
        raise ScoreError(f"the output {str(out)!r} is or contains the current folder; choose a folder of its own")
    with Lock(place.with_name(f".{place.name}.lock"), Path(out)):
        return _create(place, policy, steering_dir, limits, task, evaluation, execute_steps, overwrite)


def _create(
    out: Path,
    policy: str | Path,
    steering_dir: str | Path | None,
    limits: RobotLimits,
    task: str,
    evaluation: Sequence[Mapping[str, Any]],
    execute_steps: int | None,
    overwrite: bool,
) -> Bundle:
    """See `create_bundle`; `out` is free to be written."""
    restore_folder(out)
    base = open_policy(policy)
    steering = load_trained(steering_dir, base) if steering_dir is not None else None
    spec = _make_spec(base, steering, limits, task, evaluation, execute_steps)
    spec = replace(spec, provenance=_provenance(base, policy, steering_dir))
    check_spec(spec)
    _check_target(out, overwrite)
    # Always the same name, so that what a killed process left is cleared by the next.
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _store_base(policy, base, partial / BASE)
    if steering_dir is not None:
        names = (steering_files.DESCRIPTION, steering_files.WEIGHTS)
        _copy(Path(steering_dir), partial / STEERING, names)
    write_json(partial / SPEC, spec)
    write_manifest(partial, KIND, VERSION)
    load_bundle(partial)
    try:
        replace_folder(partial, out)
    except OSError as error:
        raise ScoreError(f"cannot write {out}: {error.strerror or error}") from error
    return load_bundle(out)


def load_bundle(path: str | Path, deterministic: bool = True) -> Bundle:
    """Check every byte of a bundle and load it. `deterministic`: the steering's mean instead of a draw.

    Raises ScoreError that says what is wrong: a changed, missing or additional file, another version, or parts that
    do not belong together.
    """
    path = Path(path)
    manifest, spec = _verified(path)
    base = open_policy(path / BASE)
    check_policy(spec, base.spec)
    folder = path / STEERING
    steering = load_trained(folder, base) if folder.is_dir() else None
    return Bundle(spec, base, steering, manifest, deterministic)


def read_manifest(path: str | Path) -> tuple[Manifest, BundleSpec]:
    """Manifest and specification of a bundle, every byte checked, no policy loaded. Raises ScoreError."""
    return _verified(Path(path))


def default_steps(policy: PolicySpec, steering: Trained | None) -> int:
    """Control steps to run of every chunk: as in the steering's training; half a chunk of a policy never steered."""
    return steering.spec.execute_steps if steering is not None else max(1, policy.horizon // 2)


def _verified(path: Path) -> tuple[Manifest, BundleSpec]:
    if not path.is_dir():
        if (kept := previous_folder(path)).is_dir():
            raise ScoreError(
                f"{path} was being replaced when that was cut off; the one of before is complete in {kept}: rename "
                f"it to {path.name}, or repeat `score bundle`, which puts it back first"
            )
        raise ScoreError(f"{path} is no bundle: there is no such folder")
    manifest = verify_manifest(path, KIND, VERSION)
    return manifest, parse_spec(read_json(path / SPEC), path / SPEC)


def _make_spec(
    base: FlowPolicy,
    steering: Trained | None,
    limits: RobotLimits,
    task: str,
    evaluation: Sequence[Mapping[str, Any]],
    execute_steps: int | None,
) -> BundleSpec:
    if steering is not None and steering.spec.privileged:
        raise ScoreError(
            f"this policy of {steering.spec.method} reads {', '.join(steering.spec.privileged)}, which no robot can "
            "show: it can be evaluated in simulation, not deployed"
        )
    interface = base.spec.interface
    check_offer(interface, "the policy", limits.interface, limits.robot.name, same_names=True)
    shown = replace(
        limits.interface,
        observation={key: limits.interface.observation[key] for key in interface.observation},
        views={key: limits.interface.views[key] for key in interface.views},
        action=interface.action,
    )
    return BundleSpec(
        version=VERSION,
        method="base" if steering is None else steering.spec.method,
        task=task,
        policy=replace(base.spec, interface=shown),
        execute_steps=execute_steps or default_steps(base.spec, steering),
        action_low=limits.action_low,
        action_high=limits.action_high,
        action_velocity_limit=limits.action_velocity_limit,
        action_acceleration_limit=limits.action_acceleration_limit,
        robot=limits.robot,
        provenance={},
        evaluation=tuple(evaluation),
    )


def _provenance(base: FlowPolicy, policy: str | Path, steering_dir: str | Path | None) -> dict[str, Any]:
    """What the parts, and the run directories that they lie in, say about themselves."""
    folder = policy_folder(policy)
    held = folder is not None and (folder / base_files.DESCRIPTION).is_file()
    about = base_files.load_provenance(folder) | _run(folder) if held else {"uri": str(policy)}
    provenance: dict[str, Any] = {"base_fingerprint": base.fingerprint(), "base": about}
    if steering_dir is not None:
        folder = Path(steering_dir)
        description = steering_files.read_description(folder)
        provenance["steering"] = dict(description.provenance) | _run(folder, folder.parent)
    return provenance


def _run(*folders: Path) -> dict[str, Any]:
    """Commit, seeds, versions and hashes of the inputs of the run in the first of the folders that holds one."""
    for folder in folders:
        if (folder / "run.json").is_file():
            run, config = read_run(folder)
            kept = {
                name: getattr(run, name) for name in ("stage", "command", "commit", "seeds", "versions", "started_at")
            }
            return {"run": kept | {"inputs": config.get("inputs", {})}}
    return {}


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise ScoreError(f"{out} exists; choose another folder or pass --overwrite")
    if others := foreign_files(out, KIND):
        raise ScoreError(f"{out} holds {others[0]}, which no `score bundle` wrote; move it away, or choose another")


def _store_base(uri: str | Path, base: FlowPolicy, target: Path) -> None:
    """Copy the files of a policy's folder, or refer to a policy that lives in none."""
    folder = policy_folder(uri)
    if folder is None:
        save_reference(target, str(uri), base)
    else:
        _copy(folder, target, [name for name in FILES if (folder / name).is_file()])


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    for name in names:
        write_bytes(target / name, (source / name).read_bytes())


def _decider(steering: Trained, base: FlowPolicy, deterministic: bool) -> Decider:
    """The steering's mean or its draws, as evaluated; a method that knows only one way to decide has that one."""
    deciders = steering.deciders(base)
    if len(deciders) == 1:
        return next(iter(deciders.values()))
    return deciders[f"{steering.spec.method}_{'det' if deterministic else 'stoch'}"]


def _tensor(values: Array, array: ArraySpec, what: str) -> Tensor:
    """Tensor (n, *shape) of an array's type; arrays are copied, since those of a message are read-only."""
    return values if isinstance(values, Tensor) else torch.from_numpy(as_array(values, array, what))
