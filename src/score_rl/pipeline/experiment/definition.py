"""An experiment: methods x tasks x robots x training seeds, and how much is evaluated and audited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from score_rl.core.ranges import Count, Envs, Length, Natural, NonNegative, Seed, Share
from score_rl.evaluation.audit.run import AuditConfig
from score_rl.pipeline.experiment.settings import changed_all
from score_rl.tasks.recipe import FULL, Recipe, get_recipe

ROLES = ("ours", "rival", "control")
EVALUATIONS = ("twin", "proxy", "proxy_raw")
"""Where a policy is evaluated: the twin that it was trained in; the recipe's verdict world (for the shipped recipes
the hardware proxy); the same without its protective stop."""
REFERENCE_POLICIES = ("base", "base_z0")
"""Policies that need no training."""
BASE = "base"
"""The method that trains nothing: its policies are those of `REFERENCE_POLICIES`."""


@dataclass(frozen=True)
class Method:
    """One way of improving the base policy, or of making it."""

    name: str
    """Name in this experiment: small letters, digits and underscores."""
    method: str
    """`score steer --method`; or `base`: nothing is steered, base policy and z = 0 are evaluated."""
    label: str
    """Name for people."""
    role: str = "rival"
    """"ours", "rival" or "control"; the best rival is the one of that role with the highest mean proxy success."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted setting of any stage -> value, e.g. {"steer.learner.ppo.learning_rate" = 1e-3}."""
    twin_stop_n: NonNegative | None = None
    """Train in the calibrated twin with this protective stop (N; 0: none) in place of its own."""
    twin_calibration: Share = 1.0
    """Train in a twin that holds this share of the calibration; 0: the twin that calibration starts from."""
    domain: str = ""
    """Train in this domain in place of the calibrated twin: a shipped one (twin_randomised) or a TOML file."""
    start: str = ""
    """Start from what another method of the experiment, listed before, has learned (`score steer --start`). Where the
    whole file is swept, from its point of the same values."""
    policy: str = "det"
    """The policy that stands for the method: det, its mean, or a policy's name where there is but one way."""
    demonstrations: bool = False
    """Whether the method reads the demonstrations while it learns (`score steer --dataset`)."""
    tasks: tuple[str, ...] = ()
    """Only on these of the experiment's tasks; by default on all."""
    robots: tuple[Seed, ...] = ()
    """Only on these of the experiment's robots; by default on all."""
    sweep: str | None = None
    """Name of the sweep that this method is a point of."""
    sweep_value: float | str | None = None
    """Value of the swept setting; of several settings, their values as text."""

    @property
    def trains(self) -> bool:
        """Whether anything is steered."""
        return self.method != BASE


REFERENCES = Method("references", BASE, "base policy", "control")
"""Stands in front of every experiment's methods: the base policy and z = 0, which all are compared with."""


@dataclass(frozen=True)
class Amounts:
    """How much is evaluated."""

    worlds: Annotated[tuple[str, ...], Length(1)] = EVALUATIONS
    """Where."""
    twin_episodes: Count = 100
    """Episodes of every policy in the twin."""
    proxy_episodes: Count = 200
    """Episodes of every policy in the proxy, and again without the protective stop."""
    first_seed: Seed = 1_000_000
    """First episode seed; all policies play the same seeds."""
    num_envs: Envs = 100
    """Environments stepped together."""
    traced: Natural = 0
    """Episodes of every policy that are kept in full."""
    stochastic: tuple[str, ...] = ("twin", "proxy")
    """Evaluations in which policies are also sampled, beside their means."""
    support: tuple[str, ...] = ("twin", "proxy")
    """Evaluations in which the support of what was executed is measured; it takes several times as long."""
    support_episodes: Natural = 0
    """Episodes of every policy in which it is measured, from the first; 0: all."""


@dataclass(frozen=True)
class Audit:
    """An audit of every policy in its robot's calibrated twin: what its success would survive."""

    name: str
    """Name in this experiment: small letters, digits and underscores."""
    panel: AuditConfig
    """Mismatches, sizes and episodes."""
    methods: tuple[str, ...] = ()
    """Only these methods, or sweeps (`references`: base policy and z = 0); by default all."""
    tasks: tuple[str, ...] = ()
    """Only on these of the experiment's tasks; by default on all."""
    robots: tuple[Seed, ...] = ()
    """Only on these of the experiment's robots; by default on all."""

    def asks(self, task: str, robot: int, method: Method) -> bool:
        """Whether the policies of a method on a robot are audited."""
        wanted = ((self.tasks, task), (self.robots, robot))
        named = not self.methods or method.name in self.methods or method.sweep in self.methods
        return named and all(one in some or not some for some, one in wanted)


@dataclass(frozen=True)
class Experiment:
    """What is compared; read from TOML by `file.load_experiment`."""

    name: str
    description: str
    tasks: tuple[str, ...]
    robots: tuple[Seed, ...]
    """Robot seeds: each has its own demonstrations, base policy, calibration and training."""
    training_seeds: tuple[Seed, ...]
    """Seeds of steering."""
    methods: tuple[Method, ...]
    recipe: str = FULL
    """Which recipe of every task, e.g. debug."""
    observation: str = ""
    """What policies see of objects, "pose" or "cloud"; by default what each task's recipe says."""
    base_per_seed: bool = False
    """Whether a training seed is that of the base policy too; otherwise there is one base policy per robot."""
    datasets: Mapping[str, str] = field(default_factory=dict)
    """Task -> folder of given demonstrations, for recipes that do not record their own."""
    amounts: Amounts = Amounts()
    audits: tuple[Audit, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted setting of a recipe -> value, for all tasks, e.g. {"steer.control_steps" = [1000000]}."""
    task_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Task -> the same, for one task."""

    def cells(self, method: Method) -> list[tuple[str, int]]:
        """(task, robot) of a method."""
        return [(task, robot) for task in method.tasks or self.tasks for robot in method.robots or self.robots]

    def seeds(self, method: Method) -> tuple[int | None, ...]:
        """Training seeds of a method; (None,) where nothing of it is seeded."""
        return self.training_seeds if method.trains or self.base_per_seed else (None,)

    def recipe_of(self, task: str, method: Method = REFERENCES, seed: int | None = None) -> Recipe:
        """The recipe of a task as a method follows it. Raises ScoreError for settings that do not exist.

        The experiment's settings come first, then the task's, the training seed, and the method's.
        """
        source, seeded = f"experiment {self.name}", {}
        if seed is not None and method.trains:
            seeded["steer.learner.seed"] = seed
        if seed is not None and self.base_per_seed:
            seeded["pretrain.training.seed"] = seed
        recipe = changed_all(get_recipe(task, self.recipe, self.observation), self.settings, f"{source}, [settings]")
        recipe = changed_all(recipe, self.task_settings.get(task, {}), f"{source}, [task_settings]")
        if method.trains:
            seeded["steer.method"] = method.method
        return changed_all(recipe, {**seeded, **method.settings}, f"method {method.name}")
