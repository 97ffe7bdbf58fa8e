"""Recipes for point clouds beside one another: the default's, each augmentation by itself, and the paper's.

    score --task push_ball --observation cloud collect --robot-seed 101 --out runs/cloud_recipes/demonstrations
    score --task push_ball --recipe paper collect --robot-seed 101 --out runs/cloud_recipes/demonstrations_paper
    python benchmarks/cloud_recipes.py train --device cuda
    python benchmarks/cloud_recipes.py steer --device cuda
    python benchmarks/cloud_recipes.py evaluate --device cuda

Both collections are of the same episodes, number for number; the paper's shows 512 points of object and hand.
Trainings may run side by side (`train --only ...`) and on another machine than evaluations: what is told of them
comes from their own records. Policies act in the proxy of that robot: base, z = 0 and, where one was steered, SCORE,
on the same seeds. What the default comes to with steering is `experiments/clouds.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from score_rl.core.files import write_json
from score_rl.core.records import read_json_lines
from score_rl.core.run_record import METRICS, read_run
from score_rl.evaluation.spread import SpreadConfig
from score_rl.pipeline import stages
from score_rl.policies.flow.augmentation import AugmentConfig
from score_rl.policies.flow.train import PretrainConfig
from score_rl.tasks.recipe import PAPER, Recipe, get_recipe
from score_rl.tasks.settings import PretrainSettings

AUGMENTATIONS: Mapping[str, tuple[str, AugmentConfig]] = {
    "jitter": ("points moved by up to 5 mm", AugmentConfig(jitter_m=0.005)),
    "shift": ("clouds moved by up to 10 mm", AugmentConfig(shift_m=0.01)),
    "turn": ("clouds turned by up to 0.1 rad", AugmentConfig(turn_rad=0.1)),
    "hidden": ("a tenth out of sight", AugmentConfig(hidden=0.1)),
    "paper_augmentation": ("the paper's augmentation", AugmentConfig(jitter_m=0.02, shift_m=0.05, turn_rad=0.2)),
}
"""Variants of the default that change its augmentation alone."""
HELD_OUT = ("held_out_loss", "action_error", "action_error_z0")
"""What is measured on held-out episodes, at every thousand steps (the curve: step, then these) and at the end."""
LABELS = {"default": "default", **{name: label for name, (label, _) in AUGMENTATIONS.items()}, "paper": "the paper's"}
"""What each variant is called, in the order of the table."""


@dataclass(frozen=True)
class Train:
    """Train base policies."""

    task: str = "push_ball"
    """Task."""
    root: Path = Path("runs/cloud_recipes")
    """Where the demonstrations are and the policies go."""
    only: tuple[str, ...] = tuple(LABELS)
    """Variants."""
    device: str = "cuda"
    """Torch device."""
    paper_steps: int = 80_000
    """Optimiser steps of the paper's recipe; 80,000 are the recipe's own."""

    def run(self) -> None:
        """One policy after the other."""
        for name in self.only:
            settings = PretrainSettings(replace(self.training(name), device=self.device))
            stages.pretrain(settings, demonstrations(self.root, name), self.root / name, notify=print)

    def training(self, name: str) -> PretrainConfig:
        """Settings of a variant."""
        training = recipe_of(self.task, name).pretrain.training
        if name == "paper":
            return replace(training, steps=self.paper_steps, checkpoint_every=self.paper_steps)
        return training if name == "default" else replace(training, augmentation=AUGMENTATIONS[name][1])


@dataclass(frozen=True)
class Steer:
    """Calibrate the twin and steer in it, by the task's own settings."""

    task: str = "push_ball"
    """Task."""
    root: Path = Path("runs/cloud_recipes")
    """Where demonstrations and policies are and steering goes."""
    only: tuple[str, ...] = ("paper",)
    """Variants."""
    device: str = "cuda"
    """Torch device of base policy and learner."""
    num_envs: int = 128
    """Environments side by side."""
    control_steps: int = 400_000
    """Budget."""

    def run(self) -> None:
        """One policy after the other."""
        for name in self.only:
            recipe = recipe_of(self.task, name)
            shown, twin = demonstrations(self.root, name), self.root / f"calibration_{name}"
            world = str(stages.calibrate(recipe.calibrate, shown, twin, notify=print).twin)
            amount = {"control_steps": (self.control_steps,), "num_envs": self.num_envs}
            steer = replace(recipe.steer, worlds=(world,), device=self.device, **amount)
            stages.steer(steer, self.root / name, self.root / f"steering_{name}", notify=print)


@dataclass(frozen=True)
class Evaluate:
    """Let them act, and write one record per policy: how it was trained, and what it does."""

    task: str = "push_ball"
    """Task."""
    robot_seed: int = 101
    """Robot of the proxy, whose demonstrations they saw."""
    root: Path = Path("runs/cloud_recipes")
    """Where the policies are."""
    only: tuple[str, ...] = tuple(LABELS)
    """Variants that act; what others did before is told too, and of all how they were trained."""
    episodes: int = 100
    """n."""
    device: str = ""
    """Torch device; by default the CPU."""
    result: Path = Path("benchmarks/results/cloud_recipes.json")
    """Result file to write."""

    def run(self) -> None:
        """Every variant whose policy is there; what was evaluated before is not repeated."""
        recipe = get_recipe(self.task, observation="cloud")
        amount = replace(recipe.evaluate.evaluation, episodes=self.episodes, spread=SpreadConfig(states=32))
        settings = replace(recipe.evaluate, world="proxy", robot_seed=self.robot_seed, evaluation=amount)
        settings = replace(settings, execute_steps=recipe.steer.learner.execute_steps, device=self.device)
        records = []
        for name in [name for name in LABELS if (self.root / name).exists()]:
            out, acts, steering = self.root / f"evaluation_{name}", [], self.root / f"steering_{name}"
            found = steering if steering.exists() else None
            if name in self.only or (out / "result.json").exists():
                acts = stages.evaluate(settings, self.root / name, out, steering=found, notify=print).records
            made = {"task": self.task, "variant": name, **trained(self.root / name)}
            if found:
                made["steering"] = steered(found)
            records.append({**made, "evaluations": acts})
        write_json(self.result, records)


def recipe_of(task: str, name: str) -> Recipe:
    """The recipe that a variant is of."""
    return get_recipe(task, PAPER) if name == "paper" else get_recipe(task, observation="cloud")


def demonstrations(root: Path, name: str) -> Path:
    """What a variant is trained on."""
    return root / ("demonstrations_paper" if name == "paper" else "demonstrations")


def trained(directory: Path) -> dict[str, Any]:
    """What a training's own records say of it."""
    record, config = read_run(directory)
    training, machine, log = config["settings"]["training"], record.machine, read_json_lines(directory / METRICS)
    return {
        "label": LABELS[directory.name],
        "steps": training["steps"],
        "batch_size": training["batch_size"],
        "draws": training["draws"],
        "seed": training["seed"],
        "device": training["device"],
        "wall_s": round(record.wall_s, 1),
        "examples_per_s": round(training["steps"] * training["batch_size"] / record.wall_s, 1),
        **{key: record.summary[key] for key in HELD_OUT},
        "curve": [[line["step"], *(line[key] for key in HELD_OUT)] for line in log if HELD_OUT[0] in line],
        "command": record.command,
        "commit": record.commit,
        "machine": f"{machine['gpu'] or machine['cpu']}, {machine['cores']} CPU cores",
        "versions": {key: record.versions[key] for key in ("score-rl", "torch", "numpy")},
        "python": record.python,
    }


def steered(directory: Path) -> dict[str, Any]:
    """What a steering's own records say of it."""
    record, config = read_run(directory)
    return {
        "control_steps": record.summary["control_steps"],
        "deployed": record.summary.get("deployed"),  # None of a budget too small to compare with z = 0
        "device": config["settings"]["device"],
        "wall_s": round(record.wall_s, 1),
        "command": record.command,
        "commit": record.commit,
    }


if __name__ == "__main__":
    tyro.cli(Train | Steer | Evaluate, description=__doc__).run()
