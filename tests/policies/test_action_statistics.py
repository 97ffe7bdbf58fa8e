"""What the normalisers are fitted to: what was really done, from where it was really held; and refused numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import policy_spec

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.core.runs import start_run
from score_rl.data.dataset import Dataset, load_dataset
from score_rl.data.windows import Windows
from score_rl.data.writer import DatasetWriter
from score_rl.policies.flow import train as train_module
from score_rl.policies.flow.demonstrations import check_demonstrations
from score_rl.policies.flow.networks import NetworkConfig
from score_rl.policies.flow.policy import PolicyConfig
from score_rl.policies.flow.representation import RepresentationConfig, fit_representation
from score_rl.policies.flow.train import PretrainConfig, pretrain


def ramp(length: int, horizon: int, **config: object):
    """The action normaliser of one episode whose one action rises from 0 to 1."""
    values = np.linspace(0, 1, length, dtype=np.float32)[:, None]
    before = np.concatenate([values[:1], values[:-1]])
    columns = {"observation.state": values, "observation.command": before, "action": values}
    ends = np.array([length])
    dataset = Dataset(
        Path("ramp"), 10.0, "arm", columns, dict.fromkeys(columns, ArraySpec((1,))), ends - length, ends, ("",), {}
    )
    spec = policy_spec({"state": 1, "command": 1}, ("x",), 1, horizon)
    batch = Windows(dataset, spec).all()
    representation = RepresentationConfig(horizon=horizon, **config)
    return fit_representation(spec, representation, batch.observation, batch.action, batch.is_pad).actions


def test_padding_has_no_say_in_the_statistics():
    # Ten frames 0, 1/9, ..., 1 and a horizon of 64: mean 1/2, variance (10^2 - 1) / 12 / 9^2 = 0.319^2.
    actions = ramp(10, 64, action_scale="standard")
    assert actions.offset.flatten().tolist() == pytest.approx([0.5] * 64, rel=1e-5)
    assert actions.scale.flatten().tolist() == pytest.approx([np.sqrt(99 / 12) / 9] * 64, rel=1e-5)


def test_changes_are_pooled_over_all_that_was_done():
    # Frames 0, 1/2, 1 in chunks of 9 from a command that is the action before: first and later changes of 1/2, but
    # for the first frame's 0. Padding would add changes of 0.
    actions = ramp(3, 9, action="delta", action_scale="min_max", keys=("state", "command"))
    assert actions.offset[0].item() == pytest.approx(0.25) and actions.scale[0].item() == pytest.approx(0.25)


def test_every_step_has_the_statistics_of_what_was_done_there():
    # Three frames 0, 1/2, 1: step 0 sees all of them, step 1 the last two, step 2 the last, step 3 nothing.
    actions = ramp(3, 4, action_scale="min_max", per_step=True, action_floor=0.01)
    assert actions.offset.flatten().tolist() == pytest.approx([0.5, 0.75, 1.0, 0.5])
    assert actions.scale.flatten().tolist() == pytest.approx([0.5, 0.25, 0.01, 0.5])


def test_modes_are_fitted_to_whole_chunks():
    # Frames 0, 1/2, 1 in chunks of two: (0, 1/2) and (1/2, 1) are whole; their means over sqrt(2) are 1/2, 3/2.
    actions = ramp(3, 2, action="modes", action_scale="min_max", per_step=True)
    assert actions.offset[0].item() == pytest.approx(np.sqrt(2) * 0.5)
    assert actions.scale[0].item() == pytest.approx(np.sqrt(2) * 0.25)


RELATIVE = PretrainConfig(
    policy=PolicyConfig(
        RepresentationConfig(keys=("state", "command"), horizon=4, action="relative"), NetworkConfig(widths=(8,))
    ),
    steps=2,
    batch_size=8,
    held_out_fraction=0.2,
)


@pytest.fixture
def recorded(tmp_path):
    """Writes a dataset without a command: actions near 3 that move by 0.01; `change(episode, frames)` edits it."""

    def record(change=lambda episode, frames: None):
        features = {"observation.state": ArraySpec((2,)), "action": ArraySpec((2,))}
        writer = DatasetWriter(tmp_path / "d", 10, features, "arm")
        for episode in range(5):
            rise = 3 + 0.01 * np.arange(30, dtype=np.float32)[:, None] * [1, -1]
            frames = {"observation.state": rise.astype(np.float32), "action": rise.astype(np.float32)}
            change(episode, frames)
            writer.add_episode(frames, "t")
        writer.finalize()
        return load_dataset(tmp_path / "d")

    return record


def test_a_command_that_nobody_recorded_does_not_stretch_relative_actions(recorded):
    dataset = recorded()
    spec = train_module.policy_spec(dataset, RELATIVE)
    training, _ = train_module.split_windows(dataset, spec, RELATIVE)
    assert len(training) == 4 * 29 and not set(training.frames.tolist()) & set(dataset.starts.tolist())
    state = train_module.initial_state(spec, training, RELATIVE)
    # From the command of the frame before, four actions later is 0.04 away at most; from zeros it would be 3.
    assert state.policy.representation.actions.inverse(torch.ones(4, 2)).abs().max() < 0.041
    assert any(
        "every episode's first frame" in line
        for line in check_demonstrations(dataset, spec, RELATIVE.policy.representation)
    )


def test_a_recorded_command_is_used_from_the_first_frame(recorded):
    dataset = replace(recorded(), derived=())
    spec = train_module.policy_spec(dataset, RELATIVE)
    training, _ = train_module.split_windows(dataset, spec, RELATIVE)
    assert len(training) == 4 * 30 and check_demonstrations(dataset, spec, RELATIVE.policy.representation) == ()


def test_a_sentinel_is_refused_before_training(recorded, tmp_path):
    def change(episode, frames):
        if episode == 3:
            frames["observation.state"][4, 1] = 3.4e38

    run = start_run(tmp_path / "run", "pretrain", RELATIVE, {})
    with pytest.raises(ScoreError, match=r"3\.4e\+38 in 'observation\.state' \(entry 1, episode 3, frame 4\)"):
        pretrain(recorded(change), RELATIVE, run)
    assert not (tmp_path / "run" / "policy.safetensors").exists()


def test_warnings_are_in_the_run_s_record(recorded, tmp_path):
    def change(episode, frames):
        if episode == 3:
            frames["action"][4, 0] = 300.0

    run = start_run(tmp_path / "run", "pretrain", RELATIVE, {})
    pretrain(recorded(change), RELATIVE, run)
    assert any("a spike: 300 in 'action' (entry 0, episode 3, frame 4)" in line for line in run.summary["warnings"])
