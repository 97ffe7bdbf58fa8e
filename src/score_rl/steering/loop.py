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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from score_rl.contracts import FlowPolicy, Observation, Window
from score_rl.core import ranks
from score_rl.core.arrays import check_finite
from score_rl.core.checkpoints import load_tensors, ordered, save_tensors
from score_rl.core.chunks import ChunkRunner
from score_rl.core.errors import Diverged, ScoreError
from score_rl.core.progress import progress
from score_rl.core.ranges import Count, Natural, NonNegative
from score_rl.core.records import parse
from score_rl.core.runs import Run
from score_rl.core.seeding import derive_seed, seeded
from score_rl.data.windows import WindowBatch
from score_rl.steering import reference
from score_rl.steering.advice import Adviser
from score_rl.steering.config import Stage, SteerConfig
from score_rl.steering.learning import Sizes
from score_rl.steering.method import SCORE, Method, Trained
from score_rl.steering.metrics import RolloutMetrics, Stopwatch
from score_rl.steering.penalties import hinge_penalty
from score_rl.steering.plan import check, iterations_of, make_learner, rollout_sizes
from score_rl.steering.policy import blank_policy, load_steering, save_steering
from score_rl.steering.start import prepare

CHECKPOINT, BUNDLE = "checkpoint.safetensors", "steering"
CHECKPOINT_KIND = "score_rl.steering_checkpoint"


def steer(
    policy: FlowPolicy,
    stages: Sequence[Stage],
    config: SteerConfig,
    run: Run,
    initial: Trained | None = None,
    method: Method = SCORE,
    options: Mapping[str, Any] | None = None,
    demonstrations: WindowBatch | None = None,
    examples: WindowBatch | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Learn to steer a frozen policy; resumes an unfinished run, returns the result of a finished one.

    The run directory receives one record per iteration in metrics.jsonl (see docs/metrics.md), a checkpoint, and
    at the end the bundle `steering/` (`load_steering`). initial: start from this policy instead of from the base (see
    `steering.start`): a policy of the same kind, a ticket, or one of another method whose successes are cloned.
    examples: windows and chunks to clone before the first update. method: what is learned, with its `options` (plain
    values) and, where it reads them, the demonstrations. notify: hears what goes wrong and what to change
    (`steering.advice`). SCORE leaves the best constant latent where this does better (`steering.reference`).

    Raises ScoreError where policy, worlds, initial policy or checkpoint do not fit together, and where an
    observation, action, reward, loss or gradient is not finite: the last checkpoint stays, the run unfinished.
    """
    if run.finished:
        device = stages[0].world.spec.device if stages else "cpu"
        return load_steering(run.path(BUNDLE), policy, device=device, methods={method.name: method})
    if method.search is None:
        given = (initial, method, options, demonstrations, examples)
        notify = notify if run.writes else lambda line: None
        steering, figures = _learn(_Session(policy, stages, config, run, *given), notify)
    else:
        spec = check(policy, stages, config, method, options, initial, examples=examples is not None)
        steering, figures = method.search(policy, stages, config, run, spec)
    if run.writes:
        save_steering(run.path(BUNDLE), steering, {"config": asdict(config), **figures})
    run.finish({**figures, "wall_s": run.wall_s})
    return steering


def _learn(session: _Session, notify: Callable[[str], None]) -> tuple[Trained, Mapping[str, Any]]:
    """All iterations that are still to come; the policy, and figures of the training."""
    run, config, stages = session.run, session.config, session.stages
    plan = [stage for stage in stages for _ in range(stage.iterations(config))]
    first = session.resume()
    if first == 0:
        session.prepare()
        if session.method.steers and (why := reference.too_dear(stages[-1], config)):
            notify(f"  {why}")
    past = run.metrics.read() if run.writes else ()
    adviser = Adviser(config.ppo, len(plan), notify, past) if session.method.steers else None
    with progress("steer", total=len(plan), done=first) as advance:
        for iteration in range(first, len(plan)):
            try:
                record = session.iterate(iteration, plan[iteration])
            except Diverged as error:
                kept = f"the last good checkpoint, of {session.saved} iterations, is {run.path(CHECKPOINT)}"
                kept = kept if session.saved else "there is no checkpoint yet"
                raise ScoreError(f"steering stopped in iteration {iteration}: {error}; {kept}") from error
            run.log(record)
            if adviser is not None:
                zero = reference.zero_success(session.started, plan[iteration], config, stages)
                adviser.hear(record, zero, session.started.setdefault("advice", {}))
            if (iteration + 1) % config.checkpoint_every == 0 or iteration + 1 == len(plan):
                session.save(iteration + 1)
            advance(note=f"success {record['success']:.2f}")
    with seeded("steer", config.seed, "finish", device=session.device):
        finished = session.method.finish(session.learner)
    steering, compared = session.deployed()
    made = {"control_steps": session.control_steps, "iterations": len(plan), **ordered(session.started), **finished}
    return steering, made | compared


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a checkpoint knows besides the learner's tensors."""

    kind: str
    base: str
    """Fingerprint of the base policy."""
    control_steps: Natural
    filler_steps: Natural
    iteration: Natural
    """The one to go on with."""
    records: Natural
    """Records of the log that were written before it."""
    wall_s: NonNegative
    ranks: Count
    """Processes that learned together."""
    started: dict[str, Any]
    """What is known of how the actor began, what it is compared with, and what was said on the way."""
    optimizer: Mapping[str, Any]
    """The learner's plain settings."""


class _Session:
    """One run of `steer`: the learner, the head, and the counters."""

    def __init__(
        self,
        policy: FlowPolicy,
        stages: Sequence[Stage],
        config: SteerConfig,
        run: Run,
        initial: Trained | None,
        method: Method = SCORE,
        options: Mapping[str, Any] | None = None,
        demonstrations: WindowBatch | None = None,
        examples: WindowBatch | None = None,
    ) -> None:
        given = (demonstrations is not None, examples is not None)
        self.spec = check(policy, stages, config, method, options, initial, *given)
        self.policy, self.stages, self.config, self.run, self.method = policy, stages, config, run, method
        self.device = stages[0].world.spec.device
        self.initial, self.examples = initial, examples
        self.head = method.make_head(self.spec, self.device)
        self.iterations = iterations_of(stages, config)
        self.control_steps = self.filler_steps = 0
        self.saved = 0
        """Iterations that the checkpoint holds; 0: there is none."""
        self.started: dict[str, Any] = {}
        """Figures of how the actor came to its start, of what it is compared with, and what was said on the way."""
        self.chunks: ChunkRunner | None = None
        penalties = method.make_penalties(policy, self.head, self.spec, demonstrations)
        if config.hinge_coefficient > 0 and method.steers:
            penalties += (hinge_penalty(config.hinge_coefficient),)
        with seeded("steer", config.seed, "weights"):
            given = (config, penalties, policy, self.spec, self.device)
            self.learner = make_learner(method, self._sizes(stages[0]), *given)

    def prepare(self) -> None:
        """Put the actor where it starts; see `steering.start`."""
        actor, start, world = self.learner.actor, self.config.start, self.stages[0].world
        if self.initial is not None and self.initial.spec == self.spec:
            actor.load_state_dict(self.initial.actor.state_dict())
        elif self.method.steers:
            place = (self.initial, self.examples, start, self.config.seed)
            self.started = prepare(actor, self.head, self.policy, self.spec, world, *place)
            self.control_steps += self.started.get("start_control_steps", 0)
        if self.method.steers:
            if start.std != 1.0:
                actor.set_std(start.std)
            self.started |= reference.constants(self.policy, self.stages[-1], self.config, self.initial)
        self.started = ordered(self.started)

    def deployed(self) -> tuple[Trained, dict[str, Any]]:
        """The policy that the run leaves, and what it was compared with."""
        trained = self.trained_policy()
        if not self.method.steers:
            return trained, {}
        given = (self.stages[-1], self.config, self.started, self.initial)
        return reference.deployed(self.policy, trained, *given)

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
                w = learner.act(context, critic, chunks.window)
                decision = head.act(policy, context, w, self._noise(w.shape[0]))
            seen = {f"observation '{key}'": past for key, past in chunks.window.items()}
            seen |= {"the critic's input": critic, "the policy's action": decision.chunk}
            check_finite(chunks.world.spec.name, seen)
            with watch("environment"):
                result = chunks.execute(decision.chunk)
            final = _privileged(result.final_observation)
            check_finite(chunks.world.spec.name, {"the reward": result.reward, "the critic's input": final})
            learner.record(result, final)
            metrics.add(result, decision.latent)
        metrics.add_episodes(chunks.take_episodes())
        return metrics

    def iterate(self, iteration: int, stage: Stage) -> dict[str, Any]:
        """One rollout and one update; returns the record for the log."""
        self._enter(stage)
        watch = Stopwatch()
        key, n, rank = ("steer", self.config.seed, iteration), stage.world.spec.num_envs, ranks.rank()
        seeds = [derive_seed(*key, "episode", rank * n + row) for row in range(n)]
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
            trained = blank_policy(self.policy, self.spec, self.method, self.device)
        trained.actor.load_state_dict(self.learner.actor.state_dict())
        return trained

    def save(self, iteration: int) -> None:
        """Write the checkpoint from which `resume` continues at `iteration`."""
        self.saved = iteration
        if not self.run.writes:
            return
        tensors, settings = self.learner.state()
        about = CheckpointMetadata(
            kind=CHECKPOINT_KIND,
            base=self.spec.base,
            control_steps=self.control_steps,
            filler_steps=self.filler_steps,
            iteration=iteration,
            records=len(self.run.metrics),
            wall_s=self.run.wall_s,
            ranks=ranks.count(),
            started=self.started,
            optimizer=settings,
        )
        save_tensors(self.run.path(CHECKPOINT), tensors, vars(about))

    def resume(self) -> int:
        """Load the checkpoint if there is one and rewind the log to it; the iteration to go on with."""
        path = self.run.path(CHECKPOINT)
        shown = {"environments": [stage.world.spec.num_envs for stage in self.stages], "checkpoint": path.exists()}
        ranks.agree(shown, f"their environments, or in whether they see {path}")
        if not path.exists():
            self.run.rewind(0)
            return 0
        tensors, metadata = load_tensors(path, CHECKPOINT_KIND)
        about = parse(CheckpointMetadata, metadata, path)
        if about.base != (own := self.spec.base):
            raise ScoreError(f"{path} belongs to the base policy {about.base[:12]}, not to {own[:12]}")
        if about.ranks != ranks.count():
            raise ScoreError(f"{path} was made by {about.ranks} rank(s), here are {ranks.count()}: use as many")
        self.learner.load_state(tensors, about.optimizer, path)
        self.control_steps, self.filler_steps = about.control_steps, about.filler_steps
        self.started = about.started
        self.run.rewind(about.records, about.wall_s)
        self.saved = about.iteration
        ranks.agree(self.saved, f"the iteration of {path}")
        return self.saved

    def _enter(self, stage: Stage) -> None:
        """Make `stage` the current one."""
        if self.chunks is not None and self.chunks.world is stage.world:
            return
        self.learner.resize(self._sizes(stage))
        filler = None if self.config.between_decisions == "hold" else self._base_chunk
        self.chunks = ChunkRunner(
            stage.world, self.policy.spec, self.config.execute_steps, filler, gamma=self.config.ppo.gamma
        )

    def _base_chunk(self, window: Window) -> Tensor:
        """A chunk of the base policy itself."""
        context = self.policy.encode(window)
        bound = self.config.latent.bound
        return self.policy.decode(context, self._noise(len(context.features)).clamp(-bound, bound))

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, *self.policy.spec.latent_shape, device=self.device)

    def _sizes(self, stage: Stage) -> Sizes:
        return rollout_sizes(self.spec, stage, self.config, self.head, self.iterations)


def _privileged(observation: Observation) -> Tensor:
    """The critic group as one input (n, p)."""
    return torch.cat([values.flatten(1) for values in observation.critic.values()], dim=1)
