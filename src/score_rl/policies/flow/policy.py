"""The base policy: a conditional flow from latents z ~ N(0, I) to action chunks, and its bundle on disk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from score_rl.contracts import PolicySpec, Window
from score_rl.core import flow
from score_rl.core.arrays import check_window
from score_rl.core.checkpoints import load_module, load_tensors, save_tensors
from score_rl.core.errors import ScoreError
from score_rl.core.files import write_json
from score_rl.core.fingerprint import fingerprint
from score_rl.core.interfaces import check_policy_spec
from score_rl.core.parallel import map_rows
from score_rl.core.ranges import Count, Positive, Range
from score_rl.core.records import parse_kind, read_json, validate
from score_rl.core.run_record import verify
from score_rl.policies.flow.networks import NetworkConfig, make_network
from score_rl.policies.flow.representation import FlowContext, Representation, RepresentationConfig

WEIGHTS, DESCRIPTION = "policy.safetensors", "policy.json"
KIND, VERSION = "score_rl.flow_policy", 2


@dataclass(frozen=True)
class FlowConfig:
    """The flow itself."""

    steps: Count = 5
    """Midpoint steps of the sampler (two network evaluations each)."""
    width: Annotated[float, Range(0, 1, open="low")] | None = 0.1
    """Width s of the actions given the observation, in normalised units, for the analytic skip of
    `core.flow.gaussian_skip`. None: the network is the whole velocity, which a small one can not be: it
    would have to pass all h x a numbers of x through its hidden layers."""
    context_limit: Positive = 10.0
    """The network sees the context clamped to this many units, so that states far from the data stay finite."""


@dataclass(frozen=True)
class PolicyConfig:
    """Everything that determines the policy but its weights."""

    representation: RepresentationConfig = field(default_factory=RepresentationConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)


@dataclass(frozen=True)
class Description:
    """The content of policy.json."""

    kind: str
    version: int
    spec: PolicySpec
    config: PolicyConfig
    provenance: Mapping[str, Any]
    """Where the policy comes from."""


class ConditionalFlow(nn.Module):
    """A `contracts.FlowPolicy`: frozen after pretraining, deterministic given the latent.

    The flow runs in normalised coordinates x of an action chunk; its parameters and all normalisers are one state
    dict. Gradients flow through `context` (learned encoders) and `velocity` only.
    """

    def __init__(self, spec: PolicySpec, config: PolicyConfig, representation: Representation) -> None:
        super().__init__()
        validate(config)
        self.spec, self.config = spec, config
        self.representation = representation
        self.network = make_network(config.network, spec.chunk_shape, representation.context_width)

    def fingerprint(self) -> str:
        """See `FlowPolicy.fingerprint`."""
        return fingerprint(self.spec, self.state_dict())

    @torch.no_grad()
    def encode(self, window: Window) -> FlowContext:
        """See `FlowPolicy.encode`. Raises ScoreError for other shapes and types than the spec's."""
        return self.context(window)

    def context(self, window: Window) -> FlowContext:
        """As `encode`, with gradients: what training sees."""
        check_window(self.spec, window)
        return self.representation.context(window)

    def decode(self, context: FlowContext, latent: Tensor) -> Tensor:
        """Action chunk (n, h, a) in physical units, unclipped, of latents (n, h, a)."""
        self._check_chunk("latent", latent)
        parts = (context.features, latent, *([] if context.held is None else [context.held]))
        return map_rows(self._decode, *parts)

    def _decode(self, features: Tensor, latent: Tensor, held: Tensor | None = None) -> Tensor:
        x = flow.midpoint(self._field(features), latent, self.config.flow.steps)
        return self.representation.denormalize(held, x)

    @torch.no_grad()
    def invert(
        self, context: FlowContext, chunk: Tensor, tolerance: float = 1e-5, max_iterations: int = 500
    ) -> flow.Inversion:
        """Latents that `decode` maps to the chunks (n, h, a); the residual is in normalised units."""
        self._check_chunk("action chunk", chunk)
        x = self.normalize(context, chunk)
        return flow.invert_midpoint(
            self._field(context.features), x, self.config.flow.steps, tolerance, max_iterations
        )

    def normalize(self, context: FlowContext, chunk: Tensor) -> Tensor:
        """Chunks (n, h, a) in physical units -> the flow's coordinates x."""
        return self.representation.normalize(context.held, chunk)

    def denormalize(self, context: FlowContext, x: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        return self.representation.denormalize(context.held, x)

    def matching_error(
        self, context: FlowContext, x: Tensor, noise: Tensor, t: Tensor, weighting: str = "network"
    ) -> Tensor:
        """Squared error (n, h) of the flow-matching loss, mean over actions, on the straight paths to normalised x.

        x, noise (n, h, a); t (n,). weighting: "velocity", the loss proper; "network": divided by c(t)^2 of the
        analytic skip, so that all flow times count alike (the same without a skip). Gradients are kept.
        """
        point, target = flow.path(noise, x, t)
        error = (self.velocity(context, point, t) - target).square().mean(-1)
        if weighting == "network" and self.config.flow.width is not None:
            error = error / flow.gaussian_skip(t, self.config.flow.width)[1].square()[:, None]
        return error

    def fresh(self) -> ConditionalFlow:
        """A policy with the same normalisers and encoders and a new velocity network, from torch's global generator.

        The network can be trained, see `matching_error`; encoders, the learned ones too, stay those of this policy.
        """
        return ConditionalFlow(self.spec, self.config, copy.deepcopy(self.representation)).to(
            next(self.parameters()).device
        )

    def velocity(self, context: FlowContext, x: Tensor, t: Tensor | float) -> Tensor:
        """Velocity (n, h, a) of the flow at normalised x (n, h, a) and flow time t, (n,) or one for all."""
        return self._field(context.features)(x, t)

    def _field(self, features: Tensor) -> Callable[[Tensor, Tensor | float], Tensor]:
        """The velocity (x, t) at fixed features."""
        limit, width = self.config.flow.context_limit, self.config.flow.width
        condition = self.network.prepare(features.clamp(-limit, limit))

        def velocity(x: Tensor, t: Tensor | float) -> Tensor:
            t = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1)  # (n,) or (1,)
            output = self.network(x, t, condition)
            if width is None:
                return output
            skip, scale = flow.gaussian_skip(t.view(-1, 1, 1), width)
            return skip * x + scale * output

        return velocity

    def _check_chunk(self, name: str, chunk: Tensor) -> None:
        if tuple(chunk.shape[1:]) != self.spec.chunk_shape:
            raise ScoreError(f"{name} has shape {tuple(chunk.shape)}, expected (n, *{self.spec.chunk_shape})")


def save_policy(directory: str | Path, policy: ConditionalFlow, provenance: Mapping[str, Any]) -> None:
    """Write the bundle: `policy.safetensors` (weights and normalisers) and `policy.json` (everything else).

    `provenance` says where the policy comes from (dataset and its hash, training configuration, results).
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_tensors(directory / WEIGHTS, policy.state_dict(), {"kind": KIND, "version": VERSION})
    write_json(directory / DESCRIPTION, Description(KIND, VERSION, policy.spec, policy.config, provenance))


def load_policy(directory: str | Path, device: str = "cpu") -> ConditionalFlow:
    """Read a bundle written by `save_policy`; the policy comes frozen and in evaluation mode.

    Raises ScoreError where a file is missing, changed, corrupt, of another version, or does not fit the other.
    """
    directory = Path(directory)
    description = _read_description(directory)
    verify(directory, DESCRIPTION, WEIGHTS)
    spec, config = description.spec, description.config
    check_policy_spec(spec, directory / DESCRIPTION)
    tensors, _ = load_tensors(directory / WEIGHTS, KIND)
    with torch.random.fork_rng(devices=[]):  # the initial weights, drawn to be overwritten, leave no trace
        policy = ConditionalFlow(spec, config, Representation(spec, config.representation))
    load_module(policy, tensors, directory / WEIGHTS)
    return policy.requires_grad_(False).eval().to(device)


def load_provenance(directory: str | Path) -> dict[str, Any]:
    """Where the policy of a bundle comes from."""
    return dict(_read_description(Path(directory)).provenance)


def _read_description(directory: Path) -> Description:
    return parse_kind(Description, read_json(directory / DESCRIPTION), directory / DESCRIPTION, KIND, VERSION)
