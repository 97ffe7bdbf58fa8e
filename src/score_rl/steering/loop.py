"""SCORE: reinforcement learning that re-weights what a frozen generative policy can already do.

    given a base policy a = f(o, z) pretrained on real demonstrations, z ~ N(0, I), never updated again
    repeat
        start all environments anew
        for every decision
            o        what the robot sees; s: what only the simulator knows
            w        ~ pi_steer(. | o)                  chosen coordinates of the latent
            z        = compose(w, noise)                all other coordinates stay noise: z ~ N(0, I) at first
            a        = f(o, z)                          a chunk of actions, inside the support of the base
            r, s'    = run the chunk in the simulated twin
        update pi_steer and the critic V(s) by PPO on sparse rewards

What w means is the business of the method's head (`steering.heads`): the two lines `z = ..., a = ...` are SCORE's,
and `score_rl.steering.methods` has rivals with other heads in the same loop.

Each iteration starts from a reset with seeds derived from (seed, iteration), and all its random numbers are
derived from the same pair. A checkpoint therefore holds networks, optimiser and counters, nothing of the
simulator, and a killed run resumes to the same bits (on the CPU, with the same number of threads).

Under `torchrun` every rank steps environments of its own; all learn from the mean of their gradients and stay
identical. Rank 0 writes the files; the others read the checkpoint, so that they need the same file system.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from score_rl.contracts import COMMAND, FlowPolicy, Observation, Window, World, WorldSpec
from score_rl.core import ranks
from score_rl.core.checkpoints import load_tensors, save_tensors
from score_rl.core.chunks import ChunkRunner, check_fit
from score_rl.core.errors import Diverged, ScoreError, unknown_choice
from score_rl.core.fingerprint import fingerprint
from score_rl.core.progress import progress
from score_rl.core.runs import Run
from score_rl.core.seeding import derive_seed, seeded
from score_rl.data.windows import WindowBatch
from score_rl.steering.latent import LatentConfig, LatentMap
from score_rl.steering.method import SCORE, Learns, Method, SteeringSpec, Trained
from score_rl.steering.metrics import RolloutMetrics, Stopwatch
from score_rl.steering.penalties import Penalty, prior_penalty
from score_rl.steering.policy import blank_policy, load_steering, save_steering
from score_rl.steering.ppo import Learner, PPOConfig, Sizes

Between = Literal["base", "hold"]
CHECKPOINT, BUNDLE = "checkpoint.safetensors", "steering"
CHECKPOINT_KIND = "score_rl.steering_checkpoint"


@dataclass(frozen=True)
class SteerConfig:
    """Everything that determines a steering run besides policy and worlds."""

    seed: int = 0
    """Training seed: initial weights, episodes and all noise follow from it."""
    execute_steps: int = 8
    """k: control steps that run of every chunk before the next decision."""
    decisions: int = 38
    """Decisions per environment and iteration. decisions x execute_steps should cover the world's time limit, so
    that every iteration sees episodes from their start to their end."""
    latent: LatentConfig = field(default_factory=LatentConfig)
    """What part of the latent is chosen, and its bound."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """The learner."""
    prior_kl_coefficient: float = 0.0
    """Weight of KL(N(mu, sigma^2) || N(0, I)) on real observations [0.05 in the paper, as an option]: in states that
    were never simulated, fall back to the base policy. Needs `real_observations`."""
    prior_kl_batch: int = 256
    """Real observations per gradient step [256]."""
    between_decisions: Between = "base"
    """What an episode does that begins while the other rows are inside a chunk, until the next decision. base: it
    runs a chunk of the base policy. hold: it waits, repeating the robot's last command; the cheaper choice where
    actions are absolute targets."""
    checkpoint_every: int = 1
    """Iterations between two checkpoints."""


@dataclass(frozen=True)
class Stage:
    """One world to learn in. Several stages run one after the other, each from the weights of the one before:
    e.g. first a calibrated twin without disturbances, then one with light randomisation."""

    world: World
    """The simulated twin."""
    control_steps: int
    """Budget, filler steps included; it is never exceeded (but one iteration always runs)."""

    def iterations(self, config: SteerConfig) -> int:
        """Iterations that fit into the budget."""
        return max(1, self.control_steps // self.steps_per_iteration(config))

    def steps_per_iteration(self, config: SteerConfig) -> int:
        """Control steps of one iteration, of all ranks."""
        return ranks.count() * self.world.spec.num_envs * config.decisions * config.execute_steps


def steer(
    policy: FlowPolicy,
    stages: Sequence[Stage],
    config: SteerConfig,
    run: Run,
    real_observations: Window | None = None,
    initial: Trained | None = None,
    method: Method = SCORE,
    options: Mapping[str, Any] | None = None,
    demonstrations: WindowBatch | None = None,
) -> Trained:
    """Learn to steer a frozen policy; resumes an unfinished run, returns the result of a finished one.

    The run directory receives one record per iteration in metrics.jsonl (see docs/metrics.md), a checkpoint, and
    at the end the bundle `steering/` (`load_steering`). real_observations {key: (m, history, d)}: windows of the
    demonstrations, for the optional KL term. initial: start from this policy instead of from the base. method: what
    is learned, with its `options` (plain values) and, where it reads them, the demonstrations.

    Raises ScoreError where policy, worlds, initial policy or checkpoint do not fit together, and where an
    observation, action, reward, loss or gradient is not finite: the last checkpoint stays, the run unfinished.
    """
    if run.finished:
        return load_steering(run.path(BUNDLE), policy, methods={method.name: method})
    session = _Session(policy, stages, config, run, real_observations, initial, method, options, demonstrations)
    plan = [stage for stage in stages for _ in range(stage.iterations(config))]
    first = session.resume()
    with progress("steer", total=len(plan), done=first) as advance:
        for iteration in range(first, len(plan)):
            try:
                record = session.iterate(iteration, plan[iteration])
            except Diverged as error:
                kept = f"the last good checkpoint, of {session.saved} iterations, is {run.path(CHECKPOINT)}"
                kept = kept if session.saved else "there is no checkpoint yet"
                raise ScoreError(f"steering stopped in iteration {iteration}: {error}; {kept}") from error
            run.log(record)
            if (iteration + 1) % config.checkpoint_every == 0 or iteration + 1 == len(plan):
                session.save(iteration + 1)
            advance(note=f"success {record['success']:.2f}")
    steering = session.trained_policy()
    trained = {"control_steps": session.control_steps, "iterations": len(plan)}
    if run.writes:
        save_steering(run.path(BUNDLE), steering, {"config": asdict(config), **trained})
    run.finish({**trained, "wall_s": run.wall_s})
    return steering


class _Session:
    """One run of `steer`: the learner, the head, and the counters."""

    def __init__(
        self,
        policy: FlowPolicy,
        stages: Sequence[Stage],
        config: SteerConfig,
        run: Run,
        real_observations: Window | None,
        initial: Trained | None,
        method: Method = SCORE,
        options: Mapping[str, Any] | None = None,
        demonstrations: WindowBatch | None = None,
    ) -> None:
        check_settings(policy, stages, config, bool(real_observations))
        self.policy, self.stages, self.config, self.run, self.method = policy, stages, config, run, method
        self.device = stages[0].world.spec.device
        self.spec = steering_spec(policy, config, method, options, self.device)
        method.check(policy, self.spec, demonstrations is not None)
        self.head = method.make_head(self.spec, self.device)
        self.iterations = sum(stage.iterations(config) for stage in stages)
        self.control_steps = self.filler_steps = 0
        self.saved = 0
        """Iterations that the checkpoint holds; 0: there is none."""
        self.chunks: ChunkRunner | None = None
        penalties = method.make_penalties(policy, self.head, self.spec, demonstrations)
        if config.prior_kl_coefficient > 0:
            with torch.no_grad():
                contexts = policy.encode(real_observations)
            penalties += (prior_penalty(contexts, config.prior_kl_batch, config.prior_kl_coefficient),)
        with seeded("steer", config.seed, "weights"):
            self.learner = self._learner(self._sizes(stages[0].world.spec), penalties)
        if initial is not None:
            self._start_from(initial)

    @torch.no_grad()
    def rollout(self, seeds: Sequence[int], watch: Stopwatch) -> RolloutMetrics:
        """The inner loop of the algorithm: every environment makes `decisions` decisions."""
        policy, chunks, learner, head = self.policy, self.chunks, self.learner, self.head
        metrics = RolloutMetrics()
        with watch("environment"):
            chunks.start(seeds)
        for _ in range(self.config.decisions):
            with watch("policy"):
                context, critic = policy.encode(chunks.window), _privileged(chunks.observation)
                w = learner.act(context, critic)
                decision = head.act(policy, context, w, self._noise(len(w)))
            seen = {f"observation '{key}'": past for key, past in chunks.window.items()}
            _check_finite(chunks.world, {**seen, "the critic's input": critic, "the policy's action": decision.chunk})
            with watch("environment"):
                result = chunks.execute(decision.chunk)
            final = _privileged(result.final_observation)
            _check_finite(chunks.world, {"the reward": result.reward, "the critic's input": final})
            learner.record(result.reward, result.done, result.truncated, result.steps, final)
            metrics.add(result, decision.latent)
        metrics.add_episodes(chunks.take_episodes())
        return metrics

    def iterate(self, iteration: int, stage: Stage) -> dict[str, Any]:
        """One rollout and one update; returns the record for the log."""
        self._enter(stage)
        watch = Stopwatch()
        key, n, rank = ("steer", self.config.seed, iteration), stage.world.spec.num_envs, ranks.rank()
        seeds = [derive_seed(*key, "episode", row) for row in range(rank * n, rank * n + n)]
        with seeded(*key, *(("rank", rank) if rank else ()), device=self.device):
            rollout = self.rollout(seeds, watch).of_all_ranks()
            with watch("learner"):
                learned = self.learner.update(_privileged(self.chunks.observation), iteration / self.iterations)
        steps = stage.steps_per_iteration(self.config)
        self.control_steps += steps
        self.filler_steps += steps - rollout.decision_steps
        return {
            "iteration": iteration,
            "stage": self.stages.index(stage),
            "world": stage.world.spec.name,
            "control_steps": self.control_steps,
            "filler_steps": self.filler_steps,
            **rollout.summary(n * ranks.count()),
            **ranks.mean_figures(learned),
            **watch.summary(steps),
        }

    def trained_policy(self) -> Trained:
        """A copy of the policy as it is now."""
        with torch.random.fork_rng(devices=[]):
            trained = blank_policy(self.spec, self.method, self.device)
        trained.actor.load_state_dict(self.learner.actor.state_dict())
        return trained

    def save(self, iteration: int) -> None:
        """Write the checkpoint from which `resume` continues at `iteration`."""
        self.saved = iteration
        if not self.run.writes:
            return
        tensors, settings = self.learner.state()
        counters = {"control_steps": self.control_steps, "filler_steps": self.filler_steps}
        progress_made = {"iteration": iteration, "records": len(self.run.metrics), "wall_s": self.run.wall_s}
        metadata = {
            "kind": CHECKPOINT_KIND,
            "base": self.spec.base,
            **counters,
            **progress_made,
            "ranks": ranks.count(),
            "optimizer": settings,
        }
        save_tensors(self.run.path(CHECKPOINT), tensors, metadata)

    def resume(self) -> int:
        """Load the checkpoint if there is one and rewind the log to it; the iteration to go on with."""
        path = self.run.path(CHECKPOINT)
        shown = {"environments": [stage.world.spec.num_envs for stage in self.stages], "checkpoint": path.exists()}
        ranks.agree(shown, f"their environments, or in whether they see {path}")
        if not path.exists():
            self.run.rewind(0)
            return 0
        tensors, metadata = load_tensors(path, CHECKPOINT_KIND)
        if metadata["base"] != (own := self.spec.base):
            raise ScoreError(f"{path} belongs to the base policy {metadata['base'][:12]}, not to {own[:12]}")
        if metadata["ranks"] != ranks.count():
            raise ScoreError(f"{path} was made by {metadata['ranks']} rank(s), here are {ranks.count()}: use as many")
        self.learner.load_state(tensors, metadata["optimizer"], path)
        self.control_steps, self.filler_steps = metadata["control_steps"], metadata["filler_steps"]
        self.run.rewind(metadata["records"], metadata["wall_s"])
        self.saved = metadata["iteration"]
        ranks.agree(self.saved, f"the iteration of {path}")
        return self.saved

    def _learner(self, sizes: Sizes, penalties: tuple[Penalty, ...]) -> Learns:
        """The method's own learner, or PPO; initial weights come from torch's global generator."""
        if self.method.make_learner is None:
            return Learner(sizes, self.config.ppo, self.config.execute_steps, penalties, self.device)
        return self.method.make_learner(sizes, self.config.ppo, penalties, self.policy, self.spec, self.device)

    def _enter(self, stage: Stage) -> None:
        """Make `stage` the current one."""
        if self.chunks is not None and self.chunks.world is stage.world:
            return
        spec = self.policy.spec
        self.learner.resize(self._sizes(stage.world.spec))
        self.chunks = ChunkRunner(
            stage.world,
            spec.observation,
            spec.history,
            self.config.execute_steps,
            filler=self._hold if self.config.between_decisions == "hold" else self._base_chunk,
            gamma=self.config.ppo.gamma,
        )

    def _base_chunk(self, window: Window) -> Tensor:
        """A chunk of the base policy itself."""
        context = self.policy.encode(window)
        bound = self.config.latent.bound
        return self.policy.decode(context, self._noise(len(context)).clamp(-bound, bound))

    def _hold(self, window: Window) -> Tensor:
        """A chunk that repeats the last command."""
        return window[COMMAND][:, -1:].expand(-1, self.config.execute_steps, -1)

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, *self.policy.spec.latent_shape, device=self.device)

    def _sizes(self, world: WorldSpec) -> Sizes:
        return Sizes(
            context=self.spec.context_dim,
            critic=sum(world.critic.values()),
            action=self.head.dim,
            envs=world.num_envs,
            decisions=self.config.decisions,
        )

    def _start_from(self, initial: Trained) -> None:
        if initial.spec != self.spec:
            raise ScoreError(f"cannot start from another policy: {initial.spec} is not {self.spec}")
        self.learner.actor.load_state_dict(initial.actor.state_dict())


def steering_spec(
    policy: FlowPolicy,
    config: SteerConfig,
    method: Method = SCORE,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> SteeringSpec:
    """What the trained policy will be."""
    spec = policy.spec
    blank = {key: torch.zeros(1, spec.history, width, device=device) for key, width in spec.observation.items()}
    with torch.no_grad():
        context_dim = policy.encode(blank).shape[1]
    return SteeringSpec(
        context_dim=context_dim,
        latent_shape=spec.latent_shape,
        latent=config.latent,
        hidden=config.ppo.hidden,
        activation=config.ppo.activation,
        execute_steps=config.execute_steps,
        base=fingerprint(policy),
        method=method.name,
        options=dict(options or {}),
    )


def _privileged(observation: Observation) -> Tensor:
    """The critic group as one input (n, p)."""
    return torch.cat(list(observation.critic.values()), dim=1)


def _check_finite(world: World, values: Mapping[str, Tensor]) -> None:
    """Raise Diverged for values {name: (n, ...)} that hold NaN or infinity."""
    if math.isfinite(sum(value.sum() for value in values.values())):  # a sum is finite where all its terms are
        return
    for name, value in values.items():
        finite = value.isfinite().view(len(value), -1).all(dim=1)
        if rows := (~finite).nonzero().flatten().tolist():
            raise Diverged(f"{name} is not finite in environment(s) {rows} of {world.spec.name}")


def check_settings(policy: FlowPolicy, stages: Sequence[Stage], config: SteerConfig, real_observations: bool) -> None:
    """Raise ScoreError for everything that can be wrong before the first step.

    real_observations: whether there will be some.
    """
    config.ppo.validate()
    LatentMap(config.latent, policy.spec.latent_shape)  # raises what is wrong with it
    if config.decisions < 1 or config.checkpoint_every < 1:
        raise ScoreError("decisions and checkpoint_every must be positive")
    if not stages:
        raise ScoreError("steering needs at least one stage")
    for stage in stages:
        check_fit(policy.spec, stage.world.spec, config.execute_steps)
        if dict(stage.world.spec.critic) != dict(stages[0].world.spec.critic):
            raise ScoreError(f"the critic groups of the stages differ: {[dict(s.world.spec.critic) for s in stages]}")
        config.ppo.minibatch_size(stage.world.spec.num_envs * config.decisions)
        if stage.control_steps < 1:
            raise ScoreError(f"a stage needs a positive budget of control steps, got {stage.control_steps}")
    if config.between_decisions not in get_args(Between):
        raise unknown_choice("between_decisions", config.between_decisions, get_args(Between))
    if config.between_decisions == "hold" and policy.spec.observation.get(COMMAND) != policy.spec.action_dim:
        raise ScoreError(f"between_decisions = hold needs a policy that sees the last command ({COMMAND!r})")
    if config.prior_kl_coefficient > 0 and not real_observations:
        raise ScoreError("prior_kl_coefficient > 0 needs real_observations")
