"""Methods that deploy a flow of their own in place of the frozen base policy: a fine-tuned copy, or a new one."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from score_rl.contracts import Context, FlowPolicy
from score_rl.core.errors import ScoreError
from score_rl.steering.heads import ChunkHead
from score_rl.steering.method import Decider, SteeringSpec
from score_rl.steering.policy import BaseDecider


class OwnFlow:
    """A flow policy that replaces the base policy; see `steering.method.Trained`. Its weights are the bundle's."""

    def __init__(self, spec: SteeringSpec, flow: nn.Module) -> None:
        self.spec, self.actor = spec, flow.requires_grad_(False).eval()

    def deciders(self, policy: FlowPolicy) -> dict[str, Decider]:
        """With random latents, as it is trained, and at latent 0."""
        bound = self.spec.latent.bound
        return {
            f"{self.spec.method}_stoch": BaseDecider(self.actor, bound=bound),
            f"{self.spec.method}_det": BaseDecider(self.actor, zero=True, bound=bound),
        }


def own_flow(policy: FlowPolicy, spec: SteeringSpec, head: ChunkHead, device: str) -> OwnFlow:
    """One like the base policy."""
    return OwnFlow(spec, copy.deepcopy(policy).to(device))


def chunk_head(spec: SteeringSpec, device: str) -> ChunkHead:
    """Its learner decides on whole chunks."""
    return ChunkHead(spec.chunk_shape)


def check_trainable(policy: FlowPolicy, *also: str) -> None:
    """Raise ScoreError where a policy cannot be trained; `also`: further capabilities that it needs."""
    needed = ("normalize", "denormalize", "matching_error", *also)
    if not isinstance(policy, nn.Module) or (missing := [name for name in needed if not hasattr(policy, name)]):
        lacks = f"has no {', '.join(missing)}" if isinstance(policy, nn.Module) else "is no torch module"
        raise ScoreError(f"{type(policy).__name__} {lacks} (see contracts.FlowPolicy), and this method trains a flow")
    if policy.spec.latent_shape != policy.spec.chunk_shape:
        shapes = f"{policy.spec.latent_shape} and {policy.spec.chunk_shape}"
        raise ScoreError(f"a flow is trained on chunks of its latents' shape; these are {shapes}")


@torch.no_grad()
def sample(flow: FlowPolicy, context: Context, bound: float) -> Tensor:
    """Normalised chunks (n, h, a) of random latents from torch's global generator."""
    features = context.features
    latent = torch.randn(len(features), *flow.spec.latent_shape, device=features.device).clamp(-bound, bound)
    return flow.normalize(context, flow.decode(context, latent))
