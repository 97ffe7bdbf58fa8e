"""`best_of_n`: search instead of steering: of n latents per decision, take the one whose chunk is worth most.

    z_1 .. z_n ~ N(0, I),    a_i = f(o, z_i),    decide for the a_i with the largest Q(o, a_i)

Q is trained in the twin by regression on discounted returns: first of the base policy's own decisions, then of
decisions of best-of-n, so that it learns the value of what it will be asked about. Every chunk is a sample of the
base policy, so this control stays in the support by construction; what it can gain is bounded by n.

    return_t = r_t + gamma^k return_{t+1} within an episode;  the value V(s) of the final state where time ran out

V reads the privileged state, exists in training only and serves nothing but that bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn

from score_rl.contracts import Context, FlowPolicy, Window
from score_rl.core import ranks
from score_rl.core.arrays import repeat_rows
from score_rl.core.checkpoints import joined, load_module, optimizer_to_tensors, restore_optimizer, take_prefix
from score_rl.core.chunks import ChunkResult
from score_rl.core.errors import Diverged, ScoreError
from score_rl.core.ranges import Count, Range
from score_rl.core.records import validate
from score_rl.steering.heads import Decision, LatentHead, draws
from score_rl.steering.learning import Rollout, Sizes, explained_variance, gradient_step
from score_rl.steering.method import Decider, Method, SteeringSpec, latent_head
from score_rl.steering.methods.unconstrained import check_coordinates
from score_rl.steering.networks import Critic

if TYPE_CHECKING:
    from score_rl.steering.ppo import PPOConfig


@dataclass(frozen=True)
class BestOfNConfig:
    """The search and its value function; widths, step size and discount are those of --learner.ppo."""

    n: Annotated[int, Range(2)] = 16
    """Latents per decision."""
    base_iterations: Count = 8
    """First iterations, in which the base policy decides."""
    memory: Count = 12
    """Newest iterations whose decisions are regressed on; they are part of the checkpoint."""
    epochs: Count = 4
    """Passes over them per iteration, in minibatches of the same size as PPO's."""


class Ranker(nn.Module):
    """Q(o, a): what a chunk is worth, given the base policy's context."""

    def __init__(self, spec: SteeringSpec) -> None:
        super().__init__()
        self.count = spec.own(BestOfNConfig).n
        width = spec.context_dim + math.prod(spec.chunk_shape)
        self.value = Critic(width, *spec.network)

    @torch.no_grad()
    def choose(self, policy: FlowPolicy, context: Context, candidates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Row of the best of the latents (n, m, l, w) in their flat order (n,), its features, all values (n, m).

        Features (n, c + h a): those of the context, and the chunk as its difference to that of latent 0 in
        normalised actions.
        """
        n, m = candidates.shape[:2]
        middle = policy.normalize(context, policy.decode(context, torch.zeros_like(candidates[:, 0])))
        repeated = repeat_rows(context, m)
        x = policy.normalize(repeated, policy.decode(repeated, candidates.flatten(0, 1)))
        change = (x - middle.repeat_interleave(m, dim=0)).flatten(1)
        features = torch.cat((repeated.features, change), dim=1)
        values = self.value(features).view(n, m)
        best = values.argmax(dim=1) + m * torch.arange(n, device=values.device)
        return best, features[best], values


class BestOfNPolicy:
    """The trained search; see `steering.method.Trained`."""

    def __init__(self, spec: SteeringSpec, device: str = "cpu") -> None:
        self.spec = spec
        self.actor = Ranker(spec).requires_grad_(False).eval().to(device)

    def deciders(self, policy: FlowPolicy) -> dict[str, Decider]:
        """There is one way to deploy it."""
        return {"best_of_n": BestOfNDecider(policy, self)}


class BestOfNDecider:
    """Candidates from the decision's noise, the first one being the noise itself: the base policy's choice."""

    def __init__(self, policy: FlowPolicy, trained: BestOfNPolicy) -> None:
        self.spec, self.policy, self.trained = policy.spec, policy, trained

    def decide(self, window: Window, noise: Tensor) -> Decision:
        """See `steering.method.Decider`."""
        ranker, bound = self.trained.actor, self.trained.spec.latent.bound
        candidates = draws(noise, ranker.count).clamp(-bound, bound)
        context = self.policy.encode(window)
        best, _, _ = ranker.choose(self.policy, context, candidates)
        latent = candidates.flatten(0, 1)[best]
        return Decision(self.policy.decode(context, latent), latent)


class BestOfNLearner:
    """Regression of Q and V on returns; the counterpart of `steering.ppo.Learner`."""

    def __init__(self, sizes: Sizes, ppo: PPOConfig, policy: FlowPolicy, spec: SteeringSpec, device: str) -> None:
        """Initial weights come from torch's global generator. Raises ScoreError for settings out of range."""
        validate(ppo, "ppo")
        self.policy, self.spec, self.ppo, self.device = policy, spec, ppo, device
        self.config = spec.own(BestOfNConfig)
        self.actor = Ranker(spec).to(device)
        self.critic = Critic(sizes.critic, *ppo.network).to(device)
        self.optimizer = torch.optim.Adam([*self.actor.parameters(), *self.critic.parameters()])
        self.iteration = 0
        self._memory: list[dict[str, Tensor]] = []
        self.resize(sizes)

    def resize(self, sizes: Sizes) -> None:
        """See `steering.method.Learns`."""
        self.minibatch = self.ppo.minibatch_size(sizes.envs * sizes.decisions)
        self.rollout = Rollout(sizes.decisions, self.ppo.gamma, self.spec.execute_steps)

    @torch.no_grad()
    def act(self, context: Context, critic: Tensor, window: Window | None = None) -> Tensor:
        """The chosen latents as w (n, l w): of one candidate in the first iterations, of n later."""
        count = 1 if self.iteration < self.config.base_iterations else self.config.n
        candidates = torch.randn(len(critic), count, *self.spec.latent_shape, device=self.device)
        candidates = candidates.clamp(-self.spec.latent.bound, self.spec.latent.bound)
        best, features, values = self.actor.choose(self.policy, context, candidates)
        self.rollout.decide(critic, features=features, gain=values.amax(dim=1) - values.mean(dim=1))
        return candidates.flatten(0, 1)[best].flatten(1)

    def record(self, result: ChunkResult, final_critic: Tensor) -> None:
        """See `steering.method.Learns`."""
        self.rollout.record(result, final_critic)

    def update(self, last_critic: Tensor, elapsed: float = 0.0) -> dict[str, float]:
        """See `steering.method.Learns`."""
        _, returns = self.rollout.estimate(self.critic, last_critic, gae_lambda=1.0)
        newest = self.rollout.flat("features", "critic") | {"returns": returns.flatten()}
        with torch.no_grad():
            explained = explained_variance(self.actor.value(newest["features"]), newest["returns"])
        gain = float(self.rollout["gain"].mean())
        self.rollout.clear()
        for network, inputs in ((self.actor.value, newest["features"]), (self.critic, newest["critic"])):
            network.observe(inputs)
        self._memory = [*self._memory, newest][-self.config.memory :]
        self.optimizer.param_groups[0]["lr"] = self.ppo.learning_rate * self.ppo.learning_rate_factor(elapsed)
        losses = self._regress()
        self.iteration += 1
        return {"explained_variance": explained, "value_loss": losses[1], "q_loss": losses[0], "q_gain": gain}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `steering.method.Learns`."""
        optimizer, settings = optimizer_to_tensors(self.optimizer)
        parts = {"actor": self.actor.state_dict(), "critic": self.critic.state_dict(), "optimizer": optimizer}
        parts |= {f"memory{index}": kept for index, kept in enumerate(self._memory)}
        return joined(**parts), {"optimizer": settings, "iteration": self.iteration, "memory": len(self._memory)}

    def load_state(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], source: object) -> None:
        """See `steering.method.Learns`."""
        load_module(self.actor, take_prefix("actor", tensors), source)
        load_module(self.critic, take_prefix("critic", tensors), source)
        restore_optimizer(self.optimizer, take_prefix("optimizer", tensors), settings["optimizer"], source)
        self.iteration = settings["iteration"]
        kept = [take_prefix(f"memory{index}", tensors) for index in range(settings["memory"])]
        if not all(part.keys() == {"features", "critic", "returns"} for part in kept):
            raise ScoreError(f"{source}: the memory of earlier iterations is incomplete")
        self._memory = [{name: value.to(self.device) for name, value in part.items()} for part in kept]

    def _regress(self) -> tuple[float, float]:
        """Mean losses of Q and V over the passes."""
        data = {key: torch.cat([part[key] for part in self._memory]) for key in self._memory[0]}
        networks = ((self.actor.value, "features"), (self.critic, "critic"))
        sums, steps = torch.zeros(2), 0
        for _ in range(self.config.epochs):
            for rows in torch.randperm(len(data["returns"])).to(self.device).split(self.minibatch):
                target = data["returns"][rows]
                losses = [(network(data[key][rows]) - target).square().mean() for network, key in networks]
                trained = [network for network, _ in networks]
                gradient_step(self.optimizer, sum(losses), trained, self.ppo.max_grad_norm)
                sums += torch.stack(losses).detach().cpu()
                steps += 1
        losses = tuple((sums / steps).tolist())
        if not all(math.isfinite(loss) for loss in losses):
            raise Diverged(f"the losses of Q and V are {losses}")
        return losses


def _head(spec: SteeringSpec, device: str) -> LatentHead:
    """The learner chooses whole latents."""
    return latent_head(replace(spec, latent=replace(spec.latent, kind="full")), device)


def _learner(sizes: Sizes, ppo: PPOConfig, policy: FlowPolicy, spec: SteeringSpec, device: str) -> BestOfNLearner:
    if ranks.launched() > 1:
        raise ScoreError("best_of_n learns in one process, without torchrun: its memory is not shared among ranks")
    return BestOfNLearner(sizes, ppo, policy, spec, device)


def _check(policy: FlowPolicy, spec: SteeringSpec, demonstrations: bool) -> None:
    check_coordinates(policy)
    spec.own(BestOfNConfig)


BEST_OF_N = Method(
    "best_of_n",
    make_head=_head,
    check=_check,
    make_learner=_learner,
    make_trained=lambda policy, spec, head, device: BestOfNPolicy(spec, device),
    searches=True,
)
