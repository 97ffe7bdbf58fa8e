"""The steering policy pi_steer(z | o), its bundle on disk, and the four ways to decide that are always compared.

A decider is a pure function of (window, noise). The same noise can thus be given to all of them, and a steering
policy before training decides, number for number, what the base policy decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from score_rl.contracts import FlowPolicy, PolicySpec, Window
from score_rl.foundation.checkpoints import load_module, load_tensors, save_tensors
from score_rl.foundation.errors import ScoreError
from score_rl.foundation.files import read_json, write_json
from score_rl.foundation.seeding import rng
from score_rl.learning.ppo import GaussianActor
from score_rl.steering.latent import LATENT_BOUND, LatentConfig, LatentMap

KIND, VERSION = "score_rl.steering_policy", 1
WEIGHTS, DESCRIPTION = "steering.safetensors", "steering.json"


@dataclass(frozen=True)
class SteeringSpec:
    """Everything that determines a steering policy but its weights."""

    context_dim: int
    """c: width of the base policy's context."""
    latent_shape: tuple[int, int]
    """(h, a) of the base policy."""
    latent: LatentConfig
    """Parametrisation of the latent."""
    hidden: tuple[int, ...]
    """Widths of the actor."""
    activation: str
    """Activation of the actor."""
    execute_steps: int
    """Control steps that were run of every chunk in training."""
    base: str
    """`fingerprint` of the base policy that it belongs to; it means nothing to any other."""


class SteeringPolicy:
    """pi_steer(z | o): a diagonal Gaussian over latent coordinates, given the base policy's context."""

    def __init__(self, spec: SteeringSpec, actor: GaussianActor, device: str = "cpu") -> None:
        self.spec, self.actor = spec, actor.requires_grad_(False).eval().to(device)
        self.map = LatentMap(spec.latent, spec.latent_shape, device)

    @torch.no_grad()
    def stochastic(self, context: Tensor, noise: Tensor) -> Tensor:
        """Latents (n, h, a) as in training: coordinates mean + std * B^T noise, complement of the noise.

        With mean 0 and std 1 (before training) that is the clamped noise itself.
        """
        mean, std = self.actor.mean_std(context)
        return self.map.compose(mean + std * self.map.coordinates(noise), noise)

    @torch.no_grad()
    def deterministic(self, context: Tensor, noise: Tensor) -> Tensor:
        """Latents (n, h, a) of the mean; the complement is 0, or the noise's where `latent.complement` says so."""
        rest = noise if self.spec.latent.complement == "noise" else torch.zeros_like(noise)
        return self.map.compose(self.actor.mean_std(context)[0], rest)


def save_steering(directory: str | Path, steering: SteeringPolicy, provenance: dict[str, Any]) -> None:
    """Write the bundle: `steering.safetensors` (weights) and `steering.json` (the rest, and where it comes from)."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_tensors(directory / WEIGHTS, steering.actor.state_dict(), {"kind": KIND, "version": VERSION})
    description = {"kind": KIND, "version": VERSION, "spec": asdict(steering.spec), "provenance": provenance}
    write_json(directory / DESCRIPTION, description)


def load_steering(directory: str | Path, policy: FlowPolicy, device: str = "cpu") -> SteeringPolicy:
    """Read a bundle of `save_steering` for its base policy.

    Raises ScoreError where a file is missing, corrupt or of another version, or where `policy` is not the base
    policy that the bundle was trained on.
    """
    path = Path(directory) / DESCRIPTION
    description = read_json(path)
    if not isinstance(description, dict) or description.get("kind") != KIND:
        raise ScoreError(f"{path} does not describe a steering policy (kind {KIND!r})")
    if description.get("version") != VERSION:
        raise ScoreError(f"{path} has format version {description.get('version')}; this program reads {VERSION}")
    spec = _parse_spec(description.get("spec"), path)
    if spec.base != fingerprint(policy):
        raise ScoreError(
            f"{directory} steers the base policy {spec.base[:12]}, but was given {fingerprint(policy)[:12]}: "
            "a latent means nothing to another base policy; steer this one first"
        )
    outputs = LatentMap(spec.latent, spec.latent_shape).dim
    actor = GaussianActor(spec.context_dim, outputs, spec.hidden, spec.activation)
    tensors, _ = load_tensors(Path(directory) / WEIGHTS, KIND)
    load_module(actor, tensors, Path(directory) / WEIGHTS)
    return SteeringPolicy(spec, actor, device)


def fingerprint(policy: FlowPolicy) -> str:
    """SHA-256 of a policy's spec and weights (its `state_dict`).

    A policy that is no torch module provides `fingerprint() -> str` itself; ScoreError where it has neither.
    """
    if callable(own := getattr(policy, "fingerprint", None)):
        return own()
    if not isinstance(policy, nn.Module):
        name = type(policy).__name__
        raise ScoreError(f"{name} is no torch module: give it a method fingerprint() -> str that names its weights")
    digest = hashlib.sha256(repr(policy.spec).encode())
    for name, tensor in sorted(policy.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Decision:
    """One decision per row."""

    chunk: Tensor
    """(n, h, a) actions in physical units."""
    latent: Tensor
    """(n, h, a) latent that was decoded."""


class Decider(Protocol):
    """Anything that decides from what a robot sees; baselines implement it too."""

    spec: PolicySpec

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """Chunks for windows {key: (n, history, d)}; noise (n, h, a) ~ N(0, I) is the only source of chance."""
        ...


class BaseDecider:
    """The base policy: its latent is the noise, clamped as in steering; or z = 0, where `zero`."""

    def __init__(self, policy: FlowPolicy, zero: bool = False, bound: float = LATENT_BOUND) -> None:
        self.spec, self.policy, self.zero, self.bound = policy.spec, policy, zero, bound

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `Decider`."""
        latent = torch.zeros_like(noise) if self.zero else noise.clamp(-self.bound, self.bound)
        return Decision(self.policy.decode(self.policy.encode(window), latent), latent)


class SteeredDecider:
    """pi_steer -> pi_base: steering chooses the latent, the frozen base policy turns it into actions."""

    def __init__(self, policy: FlowPolicy, steering: SteeringPolicy, deterministic: bool = True) -> None:
        """Raises ScoreError where the steering policy belongs to another base policy."""
        if steering.spec.base != fingerprint(policy):
            raise ScoreError("this steering policy belongs to another base policy")
        self.spec, self.policy = policy.spec, policy
        self._latent = steering.deterministic if deterministic else steering.stochastic

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `Decider`."""
        context = self.policy.encode(window)
        latent = self._latent(context, noise)
        return Decision(self.policy.decode(context, latent), latent)


def compulsory_deciders(policy: FlowPolicy, steering: SteeringPolicy | None = None) -> dict[str, Decider]:
    """The ways that are always reported, by their names in result files; the first two where no steering is given."""
    deciders: dict[str, Decider] = {"base": BaseDecider(policy), "base_z0": BaseDecider(policy, zero=True)}
    if steering is not None:
        deciders["score_stoch"] = SteeredDecider(policy, steering, deterministic=False)
        deciders["score_det"] = SteeredDecider(policy, steering, deterministic=True)
    return deciders


def decision_noise(seeds: Sequence[int], decision: int, latent_shape: tuple[int, int]) -> Tensor:
    """Noise (n, h, a) ~ N(0, I) of each row's decision number `decision`, on the CPU.

    Row i depends on (seeds[i], decision) alone, so the rows that happen to be evaluated together do not matter.
    """
    rows = [rng("decision", seed, decision) for seed in seeds]
    return torch.from_numpy(np.stack([row.standard_normal(latent_shape, dtype=np.float32) for row in rows]))


def _parse_spec(values: Any, path: Path) -> SteeringSpec:
    """Spec of plain JSON values: every field and no other."""
    latent = values.get("latent") if isinstance(values, dict) else None
    for cls, given in ((SteeringSpec, values), (LatentConfig, latent)):
        names = {field.name for field in fields(cls)}
        if not isinstance(given, dict) or given.keys() != names:
            found = sorted(given) if isinstance(given, dict) else given
            raise ScoreError(f"{path}: {cls.__name__} has the fields {found}, expected {sorted(names)}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return SteeringSpec(**{**plain, "latent": LatentConfig(**latent)})
