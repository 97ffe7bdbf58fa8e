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
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from score_rl.contracts import Interface, PolicySpec, Window
from score_rl.core import checkpoints, records
from score_rl.core.arrays import repeat_rows
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.interfaces import check_interface
from score_rl.core.parallel import check_device
from score_rl.core.progress import progress
from score_rl.core.ranges import Batch, Count, Natural, NonNegative, Positive, Range, Seed
from score_rl.core.runs import Run
from score_rl.core.seeding import torch_generator
from score_rl.data.dataset import ACTION, OBSERVATION, Dataset
from score_rl.data.windows import WindowBatch, Windows, split_episodes
from score_rl.policies.flow.augmentation import AugmentConfig, augmented
from score_rl.policies.flow.demonstrations import check_demonstrations, unknown_frames
from score_rl.policies.flow.policy import (
    DESCRIPTION,
    WEIGHTS,
    ConditionalFlow,
    PolicyConfig,
    load_policy,
    save_policy,
)
from score_rl.policies.flow.representation import check_representation, fit_representation

CHECKPOINT, CHECKPOINT_KIND = "checkpoint.safetensors", "pretrain_checkpoint"


@dataclass(frozen=True)
class PretrainConfig:
    """Pretraining of a flow policy."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Representation, network and flow."""
    action_units: str = "rad"
    """Unit of the actions, recorded in the policy's specification, where the dataset does not name one."""
    steps: Count = 6000
    """Optimiser steps."""
    batch_size: Batch = 256
    """Examples per step, drawn uniformly over all frames of the training episodes."""
    learning_rate: Positive = 1e-3
    """Peak of the cosine schedule (AdamW)."""
    warmup_steps: Natural = 200
    """Steps of linear warm-up."""
    weight_decay: NonNegative = 1e-6
    """Decoupled weight decay."""
    grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    ema_power: NonNegative = 0.75
    """The averaged weights, which are deployed, decay by 1 - (1 + step)^-power."""
    ema_max: Annotated[float, Range(0, 1, open="high")] = 0.9999
    """Largest decay of the average."""
    draws: Count = 1
    """Flow times and noises drawn for every example of a batch; an expensive encoder runs once for all of them."""
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    """What is done to point clouds."""
    observation_noise: dict[str, NonNegative] = field(default_factory=dict)
    """Key -> standard deviation [unit of the key] of a constant offset added to training windows; labels stay."""
    loss_weighting: Literal["velocity", "network"] = "network"
    """"velocity": squared error of the velocity, the flow-matching loss proper. "network": of the network's
    output, i.e. the former divided by c(t)^2 of the analytic skip, so that all flow times count alike: with a
    narrow width the former is nearly all at late times, and early ones stay noisy. Same without a skip."""
    held_out_fraction: Annotated[float, Range(0, 1, open="high")] = 0.1
    """Share of episodes kept out of training to measure loss and action error."""
    seed: Seed = 0
    """Seed of the split, the initial weights and every draw."""
    threads: Count = 1
    """CPU threads of torch; results are bit-exact for the same number only."""
    log_every: Count = 100
    """Steps between records of the training loss."""
    validate_every: Count = 1000
    """Steps between measurements on held-out episodes."""
    checkpoint_every: Count = 1000
    """Steps between checkpoints, from which an interrupted run resumes."""
    device: str = "cpu"
    """Torch device."""


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


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a checkpoint knows besides its tensors."""

    kind: str
    step: Natural
    records: Natural
    """Records of the log that were written before it."""
    wall_s: NonNegative
    optimizer: Mapping[str, Any]
    """Plain settings of the optimiser."""


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
    check_noise(spec, config)
    warnings = check_demonstrations(dataset, spec, config.policy.representation)
    training, held_out = split_windows(dataset, spec, config)
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
    run.own(DESCRIPTION, WEIGHTS)
    save_policy(run.directory, state.average, provenance)
    run.finish({"steps": state.step, **summary, "warnings": warnings})
    return load_policy(run.directory)


def policy_spec(dataset: Dataset, config: PretrainConfig) -> PolicySpec:
    """What a policy trained on the dataset reads and writes. Raises ScoreError for keys that it lacks."""
    r, offered = config.policy.representation, dataset.interface()
    arrays = offered.observation
    if missing := [OBSERVATION + key for key in (*r.keys, *r.views) if key not in arrays]:
        choices = unknown_choice("feature", missing[0], dataset.columns)
        keys = " ".join(key for key in arrays if OBSERVATION + key not in dataset.derived)
        poses = ", or see poses in place of clouds: --observation pose" if set(r.keys) <= set(arrays) else ""
        raise ScoreError(
            f"{dataset.root} has no feature {', '.join(missing)}: {choices}. "
            f"Choose among them: --training.policy.representation.keys {keys}{poses}"
        )
    interface = Interface(
        observation={key: arrays[key] for key in r.keys},
        action=replace(offered.action, unit=offered.action.unit or config.action_units),
        control_rate_hz=offered.control_rate_hz,
        views={key: arrays[key] for key in r.views},
    )
    check_interface(interface, str(dataset.root))
    return PolicySpec(interface, r.history, r.horizon, latent_shape=(r.horizon, interface.action_dim))


def split_windows(dataset: Dataset, spec: PolicySpec, config: PretrainConfig) -> tuple[Windows, Windows | None]:
    """Windows of the training and of the held-out episodes; None where none are held out."""
    episodes, held_out = split_episodes(dataset.num_episodes, config.held_out_fraction, config.seed)

    def windows(chosen: Any) -> Windows:
        skip = unknown_frames(dataset, config.policy.representation)
        return Windows(dataset, spec, chosen, config.device, skip)

    return windows(episodes), windows(held_out) if len(held_out) else None


def train(state: TrainState, training: Windows, held_out: Windows | None, config: PretrainConfig, run: Run) -> None:
    """Advance the state to the last step, with logs, validation and checkpoints."""
    with progress("pretrain", total=config.steps, done=state.step) as advance:
        while state.step < config.steps:
            loss = train_step(state, training, config)
            note = ""
            if state.step % config.log_every == 0 or state.step % config.checkpoint_every == 0:
                _check_finite(loss, state.step, run)
            if state.step % config.log_every == 0:
                rate = learning_rate(config, state.step - 1)
                run.log({"step": state.step, "loss": loss.item(), "learning_rate": rate})
                note = f"loss {loss.item():.4f}"
            if state.step % config.validate_every == 0 or state.step == config.steps:
                _check_finite(loss, state.step, run)
                run.log({"step": state.step, **validate(state.average, held_out, config)})
            if state.step % config.checkpoint_every == 0:
                checkpoint(state, run)
            advance(1, note)


def _check_finite(loss: Tensor, step: int, run: Run) -> None:
    """Raise ScoreError where training has diverged: nothing that follows would be of use."""
    if not loss.isfinite():
        kept = f"the last good checkpoint is {path}" if (path := run.path(CHECKPOINT)).exists() else "none was saved"
        raise ScoreError(f"training diverged: the loss is {loss.item()} at step {step}; {kept}")


def initial_state(spec: PolicySpec, training: Windows, config: PretrainConfig) -> TrainState:
    """Fresh weights, and normalisers fitted to the training windows."""
    examples = training.all()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        representation = fit_representation(
            spec, config.policy.representation, examples.observation, examples.action, examples.is_pad
        )
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
    window = augmented(window, config.augmentation, generator)
    loss = flow_loss(state.policy, window, batch, config, generator, config.draws)
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
    draws: int = 1,
) -> Tensor:
    """Mean squared error of the velocity on straight paths at t ~ U[0, 1], where labels are no padding.

    `window` is what the policy sees (the batch's observations, perhaps with noise); draws: of t and noise for each.
    """
    context, action, real = policy.context(window), batch.action, ~batch.is_pad
    if draws > 1:
        context = repeat_rows(context, draws)
        action, real = (values.repeat_interleave(draws, dim=0) for values in (action, real))
    data = policy.normalize(context, action)
    noise = torch.randn(data.shape, generator=generator).to(data.device)
    t = torch.rand(len(data), generator=generator).to(data.device)
    error = policy.matching_error(context, data, noise, t, config.loss_weighting)
    return (error * real).sum() / real.sum()


def with_noise(window: Window, noise: Mapping[str, float], generator: torch.Generator) -> dict[str, Tensor]:
    """Window with Gaussian offsets of the given standard deviations (units of the key) added to some keys.

    One offset per window, key and entry of its last axis, the same for all frames (and points): a robot errs by its
    calibration, and noise from frame to frame would hide the motion.
    """
    noisy = dict(window)
    for key in sorted(noise):
        value = window[key]
        offset = torch.randn(len(value), *[1] * (value.ndim - 2), value.shape[-1], generator=generator)
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
    about = CheckpointMetadata(CHECKPOINT_KIND, state.step, len(run.metrics), run.wall_s, settings)
    checkpoints.save_tensors(run.path(CHECKPOINT), tensors, vars(about))


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
    about = records.parse(CheckpointMetadata, metadata, path)
    checkpoints.restore_optimizer(state.optimizer, moments, about.optimizer, path)
    state.step = about.step
    run.rewind(about.records, about.wall_s)


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
    records.validate(config)
    keys = (*config.policy.representation.keys, *config.policy.representation.views)
    for key in sorted(config.observation_noise.keys() - set(keys)):
        raise unknown_choice("key of observation_noise", key, keys)
    check_device(config.device)


def check_noise(spec: PolicySpec, config: PretrainConfig) -> None:
    """Raise ScoreError where noise is to be added to a key that does not hold numbers."""
    for key in config.observation_noise:
        if (array := spec.window[key]).dtype != "float32":
            raise ScoreError(f"observation_noise names '{key}', which is {array.dtype}: it takes float32 keys only")


def dataset_hash(dataset: Dataset, spec: PolicySpec) -> str:
    """SHA-256 of the numbers that the policy is trained on: its observations, actions and episode starts."""
    digest = hashlib.sha256(dataset.starts.tobytes())
    for name in (*sorted(OBSERVATION + key for key in spec.window), ACTION):
        digest.update(name.encode())
        digest.update(dataset.columns[name].tobytes())
    return digest.hexdigest()
