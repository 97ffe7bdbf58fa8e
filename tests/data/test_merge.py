"""Several datasets as one, and what their motion suggests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from door import as_version21, write

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.data.dataset import load_dataset
from score_rl.data.merge import merge
from score_rl.data.proposal import propose


def test_episodes_follow_each_other(tmp_path):
    one = load_dataset(write(tmp_path / "a", (5, 7), task="push"))
    two = load_dataset(as_version21(write(tmp_path / "b", (6,), task="pull")))
    both = merge([one, two])
    assert both.starts.tolist() == [0, 5, 12] and both.ends.tolist() == [5, 12, 18]
    assert both.tasks == ("push", "push", "pull") and both.num_frames == 18
    for name in one.columns:
        np.testing.assert_array_equal(both.episode(1)[name], one.episode(1)[name])
        np.testing.assert_array_equal(both.episode(2)[name], two.episode(0)[name])
    assert both.derived == ("observation.command",) and both.notes == ()
    assert merge([one]) is one


def test_what_does_not_fit_together_is_refused_or_said(tmp_path):
    one = load_dataset(write(tmp_path / "a"))
    with pytest.raises(ScoreError, match=r"a was recorded at 10 Hz, .*b at 20 Hz"):
        merge([one, load_dataset(write(tmp_path / "b", fps=20))])
    named = {**one.features, "action": replace(one.features["action"], names=("x", "y"))}
    with pytest.raises(ScoreError, match=r"'action' is .* \[\] in .*\['x', 'y'\] in"):
        merge([one, replace(one, features=named)])
    more = {**one.columns, "observation.load": np.zeros((one.num_frames, 1), np.float32)}
    other = replace(
        one, columns=more, features={**one.features, "observation.load": ArraySpec((1,))}, robot_type="leg"
    )
    both = merge([one, other])
    assert "observation.load" not in both.columns
    assert both.notes == (
        "the datasets are of several robots: arm, leg",
        "not every dataset has observation.load: left out",
    )


def wave(tmp_path, period, length=400):
    def change(episode, frames):
        t = np.arange(length)[:, None] * 2 * np.pi / period
        frames["action"][:] = np.hstack([np.sin(t), np.cos(t)])
        frames["observation.state"][:, 1] = 0.0

    return load_dataset(write(tmp_path / str(period), (length,), change=change))


@pytest.mark.parametrize(("period", "horizon"), [(24, 4), (50, 8), (100, 16), (400, 32)])
def test_a_chunk_lasts_until_actions_change(tmp_path, period, horizon):
    # A wave resembles itself by cos(2 pi lag / period), which falls below 3/4 at lag 0.115 periods.
    proposal = propose(wave(tmp_path, period))
    assert (proposal.keys, proposal.action, proposal.horizon) == (("state",), "modes", horizon)
    assert proposal.modes <= 2


def test_fast_motion_needs_more_modes_and_its_options_are_whole(tmp_path):
    proposal = propose(wave(tmp_path, 4))  # the third of four modes of a chunk has this period
    assert (proposal.horizon, proposal.modes) == (4, 3)
    pretrain, steer = proposal.options()
    assert pretrain.split("--training.policy.representation.") == ["", "keys state ", "action modes ", "horizon 4"]
    assert steer == "--learner.latent.kind leading --learner.latent.modes 3 --learner.ppo.learning-rate 0.001"


def test_a_recorded_command_makes_actions_relative(tmp_path):
    dataset = replace(wave(tmp_path, 50), derived=())
    assert propose(dataset).action == "relative"
    actions = {name: column for name, column in dataset.columns.items() if name != "action"}
    assert propose(replace(dataset, columns=actions)) is None
