"""What each stage of the loop can be told; a recipe is one value of each.

These dataclasses are also the command line: a field is an option, its docstring the help text.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import tyro

from score_rl.core.clouds import CloudConfig, Sight
from score_rl.core.ranges import Count, Envs, Seed
from score_rl.evaluation.audit.run import AuditConfig
from score_rl.evaluation.run import EvaluateConfig
from score_rl.policies.flow.train import PretrainConfig
from score_rl.real2sim.settings import CalibrateConfig
from score_rl.steering.config import SteerConfig
from score_rl.steering.controls import ControlsConfig
from score_rl.steering.latent import LatentConfig
from score_rl.steering.methods.base_ticket import TicketConfig
from score_rl.steering.methods.bc_regularized import BCConfig
from score_rl.steering.methods.best_of_n import BestOfNConfig
from score_rl.steering.methods.fpo import FPOConfig
from score_rl.steering.methods.residual import ResidualConfig
from score_rl.steering.methods.rialto import RialtoConfig
from score_rl.steering.methods.unconstrained import UnconstrainedConfig
from score_rl.steering.ppo import PPOConfig
from score_rl.tasks.people.settings import CollectConfig

FALLING_STEPS = PPOConfig(learning_rate=2e-3, final_learning_rate=0.1, clip=0.3)
"""Large steps at first and small ones at the end, for small budgets."""


@dataclass(frozen=True)
class CollectSettings:
    """Recording demonstrations."""

    task: str = "pinch_cube"
    """What to demonstrate; the defaults of all other options are this task's."""
    world: str = "proxy"
    """Robot to record on: a shipped domain (twin, proxy) or the path of a TOML file."""
    robot_seed: Seed = 0
    """Which robot of the domain: its systematic errors are drawn from this seed."""
    num_envs: Envs = 50
    """Episodes recorded side by side."""
    observation: Sight = "pose"
    """"cloud": also record what a depth camera sees of the objects, as point clouds. Poses are always recorded."""
    cloud: CloudConfig = field(default_factory=lambda: CloudConfig(hand_points=128))
    """Which points, for --observation cloud."""
    demonstrations: CollectConfig = field(default_factory=CollectConfig)
    """How many, and how the person behaves."""


@dataclass(frozen=True)
class PretrainSettings:
    """Training the base policy on demonstrations."""

    training: PretrainConfig = field(default_factory=PretrainConfig)
    """Policy, optimiser and schedule."""


@dataclass(frozen=True)
class CalibrateSettings:
    """Fitting the twin to the robot of the demonstrations."""

    task: str = "pinch_cube"
    """Task of the demonstrations; the defaults of all other options are this task's."""
    world: str = "twin"
    """The twin to start from: a shipped domain or a TOML file."""
    camera: str = ""
    """Domain, of the robot say, whose depth camera is in the same place; by default the twin says where it is."""
    fit: CalibrateConfig = field(default_factory=CalibrateConfig)
    """What of the demonstrations is used."""


@dataclass(frozen=True)
class SteerSettings:
    """Reinforcement learning on the latent of a frozen base policy, or by one of the methods it is compared with."""

    task: str = "pinch_cube"
    """Task to improve at; the defaults of all other options are this task's."""
    method: str = "score"
    """What is learned: score, or one of its rivals and controls (residual, unconstrained, bc_regularized,
    score_residual, best_of_n, base_ticket, fpo, rialto)."""
    worlds: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--world"])] = ("twin",)
    """Worlds to learn in, one after the other, usually the calibrated twin: domains (twin, proxy, PATH.toml),
    installed worlds or package.module:factory, with options as in NAME?key=value."""
    control_steps: tuple[Count, ...] = (400_000,)
    """Budget of control steps in each of the worlds. Three times the recipes' is better where there is time for it:
    docs/levers.md has by how much."""
    num_envs: Envs = 128
    """Environments that run side by side."""
    threads: Count = 1
    """CPU threads of torch (the simulator uses all cores); results are bit-exact for the same number only."""
    device: str = ""
    """Torch device where base policy and learner compute, "cuda" say for a large policy; by default where the world
    does."""
    learner: SteerConfig = field(default_factory=SteerConfig)
    """Latent, PPO and penalties."""
    residual: ResidualConfig = field(default_factory=ResidualConfig)
    """For --method residual: how far an action may be moved."""
    score_residual: ResidualConfig = field(default_factory=ResidualConfig)
    """For --method score_residual: how far an action may be moved."""
    unconstrained: UnconstrainedConfig = field(default_factory=UnconstrainedConfig)
    """For --method unconstrained: the free shift."""
    bc_regularized: BCConfig = field(default_factory=BCConfig)
    """For --method bc_regularized: the free shift and what pulls it back."""
    best_of_n: BestOfNConfig = field(default_factory=BestOfNConfig)
    """For --method best_of_n: the search and its value function."""
    base_ticket: TicketConfig = field(default_factory=TicketConfig)
    """For --method base_ticket, which is `score ticket`: the search."""
    fpo: FPOConfig = field(default_factory=FPOConfig)
    """For --method fpo: the learner of the flow's weights."""
    rialto: RialtoConfig = field(default_factory=RialtoConfig)
    """For --method rialto: its three phases."""

    def options(self) -> dict[str, Any]:
        """The chosen method's own settings, as plain values; the field has its name, and `score` has none."""
        return {} if self.method == "score" else asdict(getattr(self, self.method))


@dataclass(frozen=True)
class TicketSettings:
    """Searching for the best constant latent of a base policy."""

    task: str = "pinch_cube"
    """Task to improve at; `score tasks` lists the names."""
    world: str = "twin"
    """World to search in, usually the calibrated twin: a domain, a TOML file or another world."""
    control_steps: Count = 400_000
    """Budget of control steps."""
    num_envs: Envs = 128
    """Environments that run side by side."""
    threads: Count = 1
    """CPU threads of torch."""
    device: str = ""
    """Torch device where the base policy computes; by default where the world does."""
    seed: Seed = 0
    """Seed of candidates and episodes."""
    execute_steps: Count = 8
    """k: control steps that run of every chunk before the next decision."""
    latent: LatentConfig = field(default_factory=lambda: LatentConfig(kind="full"))
    """Where candidates are drawn: the full latent, or some modes of it with all others 0."""
    search: TicketConfig = field(default_factory=TicketConfig)
    """The search itself."""

    def steer_settings(self) -> SteerSettings:
        """The same as settings of steering, by the method base_ticket."""
        learner = SteerConfig(seed=self.seed, execute_steps=self.execute_steps, latent=self.latent)
        return SteerSettings(
            task=self.task,
            method="base_ticket",
            worlds=(self.world,),
            control_steps=(self.control_steps,),
            num_envs=self.num_envs,
            threads=self.threads,
            device=self.device,
            learner=learner,
            base_ticket=self.search,
        )


def ticket_settings(steer: SteerSettings) -> TicketSettings:
    """The search that suits how steering is set: its world and decisions, half of its budget."""
    return TicketSettings(
        task=steer.task,
        world=steer.worlds[-1] if steer.worlds else "",
        control_steps=sum(steer.control_steps) // 2,
        num_envs=steer.num_envs,
        threads=steer.threads,
        device=steer.device,
        seed=steer.learner.seed,
        execute_steps=steer.learner.execute_steps,
    )


@dataclass(frozen=True)
class EvaluateSettings:
    """Comparing policies on the same episodes."""

    task: str = "pinch_cube"
    """Task; the defaults of all other options are this task's."""
    world: str = "proxy"
    """Where to evaluate: a domain (twin, proxy, PATH.toml), an installed world or package.module:factory."""
    robot_seed: Seed = 0
    """Which robot of the domain; take the one that the demonstrations were recorded on."""
    device: str = ""
    """Torch device where policies compute; by default where the world does."""
    execute_steps: Count | None = None
    """Control steps run of every chunk; by default as in steering, or half the horizon without steering."""
    policies: tuple[str, ...] = ()
    """Only these of the policies, by name or by how it ends (base_z0, det); by default all."""
    controls: tuple[str, ...] = ()
    """Further ways to draw from the base policy: base_tiled, most_supported_of_n."""
    control: ControlsConfig = field(default_factory=ControlsConfig)
    """Settings of these."""
    evaluation: EvaluateConfig = field(default_factory=EvaluateConfig)
    """How many episodes, and from which seed."""


@dataclass(frozen=True)
class AuditSettings:
    """Asking which mismatch between twin and robot a policy survives."""

    task: str = "pinch_cube"
    """Task; `score tasks` lists the names."""
    domain: str = "runs/calibration/domain.toml"
    """The calibrated twin."""
    deployed: str = ""
    """Which of the policies, by name or by how it ends (stoch); by default the mean of the steering policy."""
    panel: AuditConfig = field(default_factory=AuditConfig)
    """Mismatches, sizes and episodes."""
