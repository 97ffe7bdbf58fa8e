"""Pretraining of the base policy on demonstrations by conditional flow matching.

Every random number of a step comes from a generator seeded by (seed, step), so a run that is resumed from a
checkpoint continues bit for bit as if it had not been interrupted (same machine and thread count).
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from score_rl.contracts import PolicySpec, Window
from score_rl.core import checkpoints, flow
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.progress import progress
from score_rl.core.runs import Run
from score_rl.core.seeding import torch_generator
from score_rl.data.dataset import ACTION, OBSERVATION, Dataset
from score_rl.data.windows import WindowBatch, Windows, split_episodes
from score_rl.policies.flow.policy import ConditionalFlow, PolicyConfig, check_flow, load_policy, save_policy
from score_rl.policies.flow.representation import check_representation, fit_representation

CHECKPOINT, CHECKPOINT_KIND = "checkpoint.safetensors", "pretrain_checkpoint"


@dataclass(frozen=True)
class PretrainConfig:
    """Pretraining of a flow policy."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Representation, network and flow."""
    action_units: str = "rad"
    """Units of the actions, recorded in the policy's specification."""
    steps: int = 6000
    """Optimiser steps."""
    batch_size: int = 256
    """Examples per step, drawn uniformly over all frames of the training episodes."""
    learning_rate: float = 1e-3
    """Peak of the cosine schedule (AdamW)."""
    warmup_steps: int = 200
    """Steps of linear warm-up."""
    weight_decay: float = 1e-6
    """Decoupled weight decay."""
    grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    ema_power: float = 0.75
    """The averaged weights, which are deployed, decay by 1 - (1 + step)^-power."""
    ema_max: float = 0.9999
    """Largest decay of the average."""
    observation_noise: dict[str, float] = field(default_factory=dict)
    """Key -> standard deviation [units of the key] of a constant offset added to training windows; labels stay."""
    loss_weighting: Literal["velocity", "network"] = "network"
    """"velocity": squared error of the velocity, the flow-matching loss proper. "network": of the network's
    output, i.e. the former divided by c(t)^2 of the analytic skip, so that all flow times count alike: with a
    narrow width the former is nearly all at late times, and early ones stay noisy. Same without a skip."""
    held_out_fraction: float = 0.1
    """Share of episodes kept out of training to measure loss and action error."""
    seed: int = 0
    """Seed of the split, the initial weights and every draw."""
    threads: int = 1
    """CPU threads of torch; results are bit-exact for the same number only."""
    log_every: int = 100
    """Steps between records of the training loss."""
    validate_every: int = 1000
    """Steps between measurements on held-out episodes."""
    checkpoint_every: int = 1000
    """Steps between checkpoints, from which an interrupted run resumes."""
    device: str = "cpu"
    """Torch device."""


LOSS_WEIGHTINGS = ("velocity", "network")

VALIDATION_WINDOWS = 512
"""Held-out windows measured, evenly spaced."""


@dataclass
class TrainState:
    """What a step changes."""

    policy: ConditionalFlow
    average: ConditionalFlow
    """Exponential moving average of the policy's weights: what is deployed."""
    optimizer: torch.optim.Optimizer
    step: int = 0


def pretrain(dataset: Dataset, config: PretrainConfig, run: Run) -> ConditionalFlow:
    """Train a policy on a dataset and leave its bundle in the run's directory.

    A finished run's policy is loaded, an interrupted run continues from its checkpoint. Raises ScoreError before
    any work where dataset and configuration do not fit.
    """
    if run.finished:
        return load_policy(run.directory)
    check_config(config)
    spec = policy_spec(dataset, config)
    check_representation(spec, config.policy.representation)
    training, held_out = split_windows(dataset, config)
    with torch_threads(config.threads):
        state = initial_state(spec, training, config)
        restore(state, run)
        train(state, training, held_out, config, run)
        summary = validate(state.average, held_out, config)
    provenance = {
        "dataset": {
            "root": dataset.root,
            "robot_type": dataset.robot_type,
            "sha256": dataset_hash(dataset, spec),
            "episodes": dataset.num_episodes,
            "frames": dataset.num_frames,
        },
        "training": config,
        "results": summary,
    }
    save_policy(run.directory, state.average, provenance)
    run.finish({"steps": state.step, **summary})
    return load_policy(run.directory)


def policy_spec(dataset: Dataset, config: PretrainConfig) -> PolicySpec:
    """What a policy trained on the dataset reads and writes. Raises ScoreError for keys that it lacks."""
    representation = config.policy.representation
    features = [OBSERVATION + key for key in representation.keys] + [ACTION]
    if missing := [name for name in features if name not in dataset.columns]:
        have = ", ".join(sorted(dataset.columns))
        raise ScoreError(f"{dataset.root} has no feature {', '.join(missing)}; it has {have}")
    width = dataset.columns[ACTION].shape[1]
    return PolicySpec(
        observation={key: dataset.columns[OBSERVATION + key].shape[1] for key in representation.keys},
        history=representation.history,
        horizon=representation.horizon,
        action_names=dataset.names[ACTION] or tuple(f"action_{i}" for i in range(width)),
        action_units=config.action_units,
        control_rate_hz=float(dataset.fps),
    )


def split_windows(dataset: Dataset, config: PretrainConfig) -> tuple[Windows, Windows | None]:
    """Windows of the training and of the held-out episodes; None where none are held out."""
    r = config.policy.representation
    episodes, held_out = split_episodes(dataset.num_episodes, config.held_out_fraction, config.seed)

    def windows(chosen: Any) -> Windows:
        return Windows(dataset, r.keys, r.history, r.horizon, chosen, config.device)

    return windows(episodes), windows(held_out) if len(held_out) else None


def train(state: TrainState, training: Windows, held_out: Windows | None, config: PretrainConfig, run: Run) -> None:
    """Advance the state to the last step, with logs, validation and checkpoints."""
    with progress("pretrain", total=config.steps, done=state.step) as advance:
        while state.step < config.steps:
            loss = train_step(state, training, config)
            note = ""
            if state.step % config.log_every == 0:
                rate = learning_rate(config, state.step - 1)
                run.log({"step": state.step, "loss": loss.item(), "learning_rate": rate})
                note = f"loss {loss.item():.4f}"
            if state.step % config.validate_every == 0 or state.step == config.steps:
                run.log({"step": state.step, **validate(state.average, held_out, config)})
            if state.step % config.checkpoint_every == 0:
                checkpoint(state, run)
            advance(1, note)


def initial_state(spec: PolicySpec, training: Windows, config: PretrainConfig) -> TrainState:
    """Fresh weights, and normalisers fitted to the training windows."""
    examples = training.all()
    representation = fit_representation(spec, config.policy.representation, examples.observation, examples.action)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        policy = ConditionalFlow(spec, config.policy, representation).to(config.device)
    average = copy.deepcopy(policy).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    return TrainState(policy, average, optimizer)


def train_step(state: TrainState, windows: Windows, config: PretrainConfig) -> Tensor:
    """One optimiser step; returns the loss. Depends on the state, the windows and (seed, step) alone."""
    generator = torch_generator("pretrain", config.seed, state.step)
    # Everything random is drawn on the CPU, so that every device sees the same numbers.
    index = torch.randint(len(windows), (config.batch_size,), generator=generator)
    batch = windows.batch(index.to(config.device))
    window = with_noise(batch.observation, config.observation_noise, generator)
    loss = flow_loss(state.policy, window, batch, config, generator)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.policy.parameters(), config.grad_norm)
    state.optimizer.step()
    state.step += 1
    decay = min(1.0 - (1.0 + state.step) ** -config.ema_power, config.ema_max)
    for average, weight in zip(state.average.parameters(), state.policy.parameters()):
        average.lerp_(weight.detach(), 1.0 - decay)
    return loss.detach()


def flow_loss(
    policy: ConditionalFlow,
    window: Window,
    batch: WindowBatch,
    config: PretrainConfig,
    generator: torch.Generator,
) -> Tensor:
    """Mean squared error of the velocity on straight paths at t ~ U[0, 1], where labels are no padding.

    `window` is what the policy sees (the batch's observations, perhaps with noise).
    """
    context = policy.encode(window)
    data = policy.representation.normalize(context, batch.action)
    noise = torch.randn(data.shape, generator=generator).to(data.device)
    t = torch.rand(len(data), generator=generator).to(data.device)
    x, target = flow.path(noise, data, t)
    error = (policy.velocity(context, x, t) - target).square().mean(-1)
    if config.loss_weighting == "network" and policy.config.flow.width is not None:
        error = error / flow.gaussian_skip(t, policy.config.flow.width)[1].square()[:, None]
    real = ~batch.is_pad
    return (error * real).sum() / real.sum()


def with_noise(window: Window, noise: Mapping[str, float], generator: torch.Generator) -> dict[str, Tensor]:
    """Window with Gaussian offsets of the given standard deviations (units of the key) added to some keys.

    One offset per window, key and dimension, the same for all frames: a robot errs by its calibration, and
    noise from frame to frame would hide the motion.
    """
    noisy = dict(window)
    for key in sorted(noise):
        value = window[key]
        offset = torch.randn(len(value), 1, value.shape[-1], generator=generator)
        noisy[key] = value + noise[key] * offset.to(value.device)
    return noisy


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Linear warm-up, then a cosine from the peak to zero at the last step."""
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    progressed = max(0, step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * warmup * 0.5 * (1.0 + math.cos(math.pi * min(progressed, 1.0)))


@torch.no_grad()
def validate(policy: ConditionalFlow, windows: Windows | None, config: PretrainConfig) -> dict[str, float]:
    """Flow loss and action error on held-out windows, at the same times and noise whenever called.

    `action_error`: mean absolute difference [action units] of a sampled chunk to the label;
    `action_error_z0`: of the chunk at latent 0. Empty without held-out windows.
    """
    if windows is None:
        return {}
    size = min(VALIDATION_WINDOWS, len(windows))
    batch = windows.batch(torch.linspace(0, len(windows) - 1, size).round().long().to(config.device))
    generator = torch_generator("pretrain validation", config.seed)
    loss = flow_loss(policy, batch.observation, batch, config, generator)
    context = policy.encode(batch.observation)
    latent = torch.randn(batch.action.shape, generator=generator).to(batch.action.device)

    def error(latent: Tensor) -> float:
        return (policy.decode(context, latent) - batch.action).abs()[~batch.is_pad].mean().item()

    return {
        "held_out_loss": loss.item(),
        "action_error": error(latent),
        "action_error_z0": error(torch.zeros_like(latent)),
    }


def checkpoint(state: TrainState, run: Run) -> None:
    """Write everything that the remaining steps depend on."""
    moments, settings = checkpoints.optimizer_to_tensors(state.optimizer)
    tensors = {
        **checkpoints.with_prefix("policy", state.policy.state_dict()),
        **checkpoints.with_prefix("average", state.average.state_dict()),
        **checkpoints.with_prefix("optimizer", moments),
    }
    metadata = {
        "kind": CHECKPOINT_KIND,
        "step": state.step,
        "records": len(run.metrics),
        "wall_s": run.wall_s,
        "optimizer": settings,
    }
    checkpoints.save_tensors(run.path(CHECKPOINT), tensors, metadata)


def restore(state: TrainState, run: Run) -> None:
    """Continue from the run's checkpoint; without one, from the start. Raises ScoreError for a bad file."""
    path = run.path(CHECKPOINT)
    if not path.exists():
        run.rewind(0)
        return
    tensors, metadata = checkpoints.load_tensors(path, CHECKPOINT_KIND)
    checkpoints.load_module(state.policy, checkpoints.take_prefix("policy", tensors), path)
    checkpoints.load_module(state.average, checkpoints.take_prefix("average", tensors), path)
    moments = checkpoints.take_prefix("optimizer", tensors)
    checkpoints.restore_optimizer(state.optimizer, moments, metadata["optimizer"], path)
    state.step = metadata["step"]
    run.rewind(metadata["records"], metadata["wall_s"])


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set torch's CPU threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_config(config: PretrainConfig) -> None:
    """Raise ScoreError for settings that can not work."""
    for name in ("steps", "batch_size", "threads", "log_every", "validate_every", "checkpoint_every"):
        if getattr(config, name) < 1:
            raise ScoreError(f"{name} must be at least 1, not {getattr(config, name)}")
    for name in ("learning_rate", "grad_norm"):
        if not 0.0 < getattr(config, name) < math.inf:
            raise ScoreError(f"{name} must be positive, not {getattr(config, name)}")
    if not 0.0 <= config.ema_max <= 1.0:
        raise ScoreError(f"ema_max must lie in [0, 1], not {config.ema_max}")
    check_flow(config.policy.flow)
    if config.loss_weighting not in LOSS_WEIGHTINGS:
        raise unknown_choice("loss weighting", config.loss_weighting, LOSS_WEIGHTINGS)
    keys = config.policy.representation.keys
    if unknown := sorted(config.observation_noise.keys() - set(keys)):
        raise ScoreError(f"observation_noise names {', '.join(unknown)}; the policy reads {', '.join(keys)}")


def dataset_hash(dataset: Dataset, spec: PolicySpec) -> str:
    """SHA-256 of the numbers that the policy is trained on: its observations, actions and episode starts."""
    digest = hashlib.sha256(dataset.starts.tobytes())
    for name in (*sorted(OBSERVATION + key for key in spec.observation), ACTION):
        digest.update(name.encode())
        digest.update(dataset.columns[name].tobytes())
    return digest.hexdigest()
