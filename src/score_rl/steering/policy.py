"""The steering policy pi_steer(w | o), its bundle on disk, and the ways to decide that are always compared.

A decider is a pure function of (window, noise). The same noise can thus be given to all of them, and a steering
policy before training decides, number for number, what the base policy decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import Context, FlowPolicy, Window
from score_rl.core.checkpoints import load_module, load_tensors, save_tensors
from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.records import parse_kind, read_json
from score_rl.core.run_record import verify
from score_rl.core.seeding import rng
from score_rl.steering.heads import Decision, Head
from score_rl.steering.latent import LATENT_BOUND
from score_rl.steering.method import SCORE, Decider, Method, SteeringSpec, Trained, find_method, latent_head
from score_rl.steering.networks import GaussianActor

KIND, VERSION = "score_rl.steering_policy", 2
BEFORE_METHODS = {"method": "score", "options": {}, "layer_norm": False, "privileged": {}}
"""What a bundle's specification leaves unsaid that was written when SCORE was the only method."""
WEIGHTS, DESCRIPTION = "steering.safetensors", "steering.json"


class SteeringPolicy:
    """A diagonal Gaussian over what the method's head takes, given the base policy's context."""

    def __init__(
        self, spec: SteeringSpec, actor: GaussianActor, device: str = "cpu", head: Head | None = None
    ) -> None:
        """`head`: that of the method; SCORE's where None."""
        self.spec, self.actor = spec, actor.requires_grad_(False).eval().to(device)
        self.head = head or latent_head(spec, device)

    @torch.no_grad()
    def stochastic(self, policy: FlowPolicy, context: Context, noise: Tensor) -> Decision:
        """Decisions as in training, for n contexts and noise (n, l, w).

        SCORE before training, with mean 0 and std 1, decides what the base policy decides with this noise.
        """
        mean, std = self.actor.mean_std(context.features)
        return self.head.act(policy, context, mean + std * self.head.exploration(noise), noise)

    @torch.no_grad()
    def deterministic(self, policy: FlowPolicy, context: Context, noise: Tensor) -> Decision:
        """Decisions of the mean; what still depends on the noise is the head's to say."""
        return self.head.act(policy, context, self.actor.mean_std(context.features)[0], self.head.at_rest(noise))

    def deciders(self, policy: FlowPolicy) -> dict[str, Decider]:
        """Sampled and at its mean, by their names in result files."""
        return {
            f"{self.spec.method}_stoch": SteeredDecider(policy, self, deterministic=False),
            f"{self.spec.method}_det": SteeredDecider(policy, self, deterministic=True),
        }


def blank_policy(policy: FlowPolicy, spec: SteeringSpec, method: Method, device: str = "cpu") -> Trained:
    """The trained policy of a spec, for its base policy, with weights that are still to be loaded."""
    head = method.make_head(spec, device)
    make = method.make_trained or steering_policy
    return make(policy, spec, head, device)


def steering_policy(policy: FlowPolicy, spec: SteeringSpec, head: Head, device: str = "cpu") -> SteeringPolicy:
    """A Gaussian over what the head takes, with blank weights."""
    return SteeringPolicy(spec, GaussianActor(spec.context_dim, head.dim, *spec.network), device, head)


@dataclass(frozen=True)
class Description:
    """The content of steering.json."""

    kind: str
    version: int
    spec: SteeringSpec
    provenance: Mapping[str, Any]
    """How the policy was trained: `config`, `control_steps`, `iterations`."""


def read_description(directory: str | Path) -> Description:
    """What a bundle says about itself. Raises ScoreError where it is no bundle of a steering policy."""
    path = Path(directory) / DESCRIPTION
    values = read_json(path)
    spec = values.get("spec") if isinstance(values, dict) else None
    if isinstance(spec, dict) and not {"method", "options"} & set(spec):
        values["spec"] = {**BEFORE_METHODS, **spec}
    return parse_kind(Description, values, path, KIND, VERSION)


def save_steering(directory: str | Path, steering: Trained, provenance: Mapping[str, Any]) -> None:
    """Write the bundle: `steering.safetensors` (weights) and `steering.json` (the rest, and where it comes from)."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_tensors(directory / WEIGHTS, steering.actor.state_dict(), {"kind": KIND, "version": VERSION})
    write_json(directory / DESCRIPTION, Description(KIND, VERSION, steering.spec, provenance))


def load_steering(
    directory: str | Path, policy: FlowPolicy, device: str = "cpu", methods: Mapping[str, Method] | None = None
) -> Trained:
    """Read a bundle of `save_steering` for its base policy; `methods` by name, SCORE alone where None.

    Raises ScoreError where a file is missing, changed, corrupt or of another version or method, or where `policy` is
    not the base policy that the bundle was trained on.
    """
    spec = read_description(directory).spec
    verify(directory, DESCRIPTION, WEIGHTS)
    if spec.base != policy.fingerprint():
        raise ScoreError(
            f"{directory} steers the base policy {spec.base[:12]}, but was given {policy.fingerprint()[:12]}: "
            "a latent means nothing to another base policy; steer this one first"
        )
    method = find_method(spec.method, {SCORE.name: SCORE} if methods is None else methods)
    with torch.random.fork_rng(devices=[]):  # the initial weights, drawn to be overwritten, leave no trace
        steering = blank_policy(policy, spec, method, device)
    tensors, _ = load_tensors(Path(directory) / WEIGHTS, KIND)
    load_module(steering.actor, tensors, Path(directory) / WEIGHTS)
    return steering


def moved(steering: Trained, policy: FlowPolicy, method: Method, device: str) -> Trained:
    """A copy on a device, for its base policy there."""
    copied = blank_policy(policy, steering.spec, method, device)
    copied.actor.load_state_dict(steering.actor.state_dict())
    return copied


class BaseDecider:
    """The base policy: its latent is the noise, clamped as in steering; or z = 0, where `zero`."""

    def __init__(self, policy: FlowPolicy, zero: bool = False, bound: float = LATENT_BOUND) -> None:
        self.spec, self.policy, self.zero, self.bound = policy.spec, policy, zero, bound

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `Decider`."""
        latent = torch.zeros_like(noise) if self.zero else noise.clamp(-self.bound, self.bound)
        return Decision(self.policy.decode(self.policy.encode(window), latent), latent)


class SteeredDecider:
    """pi_steer -> pi_base: steering chooses, the frozen base policy turns it into actions."""

    def __init__(self, policy: FlowPolicy, steering: SteeringPolicy, deterministic: bool = True) -> None:
        """Raises ScoreError where the steering policy belongs to another base policy."""
        if steering.spec.base != policy.fingerprint():
            raise ScoreError("this steering policy belongs to another base policy")
        self.spec, self.policy = policy.spec, policy
        self._decide = steering.deterministic if deterministic else steering.stochastic

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `Decider`."""
        return self._decide(self.policy, self.policy.encode(window), noise)


def compulsory_deciders(policy: FlowPolicy, *trained: Trained | None) -> dict[str, Decider]:
    """The ways that are always reported, by their names in result files: the base policy's, and those of what was
    trained (the best constant latent, a steering policy), where it is given."""
    deciders: dict[str, Decider] = {"base": BaseDecider(policy), "base_z0": BaseDecider(policy, zero=True)}
    for given in trained:
        deciders |= given.deciders(policy) if given is not None else {}
    return deciders


def decision_noise(seeds: Sequence[int], decision: int, latent_shape: tuple[int, int]) -> Tensor:
    """Noise (n, l, w) ~ N(0, I) of each row's decision number `decision`, on the CPU.

    Row i depends on (seeds[i], decision) alone, so the rows that happen to be evaluated together do not matter.
    """
    rows = [rng("decision", seed, decision) for seed in seeds]
    return torch.from_numpy(np.stack([row.standard_normal(latent_shape, dtype=np.float32) for row in rows]))
