from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import policy_spec

from score_rl.contracts import ArraySpec
from score_rl.core.errors import ScoreError
from score_rl.data.dataset import Dataset
from score_rl.data.windows import Windows, best_episodes, split_episodes


def windows_of(dataset, keys, history, horizon, episodes=None) -> Windows:
    spec = policy_spec({key: 1 for key in keys}, ("x", "y"), history, horizon)
    return Windows(dataset, spec, episodes)


def make_dataset(lengths=(3, 2)) -> Dataset:
    """State: frame number of the dataset; action: the same and its negative."""
    ends = np.cumsum(lengths)
    total = int(ends[-1])
    frame = np.arange(total, dtype=np.float32)[:, None]
    return Dataset(
        root=Path("toy"),
        fps=10.0,
        robot_type="arm",
        columns={
            "observation.state": frame,
            "observation.flag": np.ones((total, 1), dtype=bool),
            "action": np.hstack([frame, -frame]),
        },
        features={
            "observation.state": ArraySpec((1,)),
            "observation.flag": ArraySpec((1,), "bool"),
            "action": ArraySpec((2,)),
        },
        starts=ends - np.array(lengths),
        ends=ends,
        tasks=("t",) * len(lengths),
        extra={},
    )


def test_padding_by_hand():
    # Episodes: frames 0 1 2 and frames 3 4.
    windows = windows_of(make_dataset(), ["state"], history=2, horizon=3)
    batch = windows.all()
    assert len(windows) == 5 and windows.frames.tolist() == [0, 1, 2, 3, 4]
    assert batch.observation["state"].squeeze(-1).tolist() == [[0, 0], [0, 1], [1, 2], [3, 3], [3, 4]]
    assert batch.action[..., 0].tolist() == [[0, 1, 2], [1, 2, 2], [2, 2, 2], [3, 4, 4], [4, 4, 4]]
    assert torch.equal(batch.action[..., 1], -batch.action[..., 0])
    assert batch.is_pad.tolist() == [
        [False, False, False],
        [False, False, True],
        [False, True, True],
        [False, False, True],
        [False, True, True],
    ]


def test_history_longer_than_the_episode_repeats_its_first_frame():
    batch = windows_of(make_dataset(), ["state"], history=4, horizon=1, episodes=[1]).all()
    assert batch.observation["state"].squeeze(-1).tolist() == [[3, 3, 3, 3], [3, 3, 3, 4]]
    assert not batch.is_pad.any()


def test_shapes_types_and_choice_of_windows():
    windows = windows_of(make_dataset((5, 6, 7)), ["state", "flag"], history=2, horizon=4, episodes=[2, 0])
    assert len(windows) == 12 and windows.frames.tolist() == [*range(11, 18), *range(0, 5)]
    batch = windows.batch(torch.tensor([8, 0]))
    assert batch.observation["state"].shape == (2, 2, 1) and batch.action.shape == (2, 4, 2)
    assert batch.observation["flag"].dtype == batch.action.dtype == torch.float32
    assert batch.observation["state"][:, -1, 0].tolist() == [1.0, 11.0]


def test_unknown_keys_and_empty_requests_are_named():
    with pytest.raises(ScoreError, match=r"toy has no feature 'observation\.pose'"):
        windows_of(make_dataset(), ["pose"], history=1, horizon=1)
    with pytest.raises(ScoreError, match="no episodes"):
        windows_of(make_dataset(), ["state"], history=1, horizon=1, episodes=[])
    with pytest.raises(ScoreError, match="at least 1, got 0 and 1"):
        windows_of(make_dataset(), ["state"], history=0, horizon=1)


def test_the_split_is_disjoint_complete_and_stable():
    train, held_out = split_episodes(25, 0.2, seed=3)
    assert len(held_out) == 5 and sorted([*train, *held_out]) == list(range(25))
    again = split_episodes(25, 0.2, seed=3)
    np.testing.assert_array_equal(held_out, again[1])
    # Frozen: a release that splits otherwise would train on what was held out.
    assert held_out.tolist() == [3, 4, 5, 7, 17]
    assert not np.array_equal(held_out, split_episodes(25, 0.2, seed=4)[1])


@pytest.mark.parametrize(
    ("n", "fraction", "sizes"), [(10, 0.0, (10, 0)), (2, 0.01, (1, 1)), (2, 0.9, (1, 1)), (1, 0.5, (1, 0))]
)
def test_split_at_the_edges(n, fraction, sizes):
    train, held_out = split_episodes(n, fraction, seed=0)
    assert (len(train), len(held_out)) == sizes


@pytest.mark.parametrize(("n", "fraction"), [(0, 0.1), (5, 1.0), (5, -0.1)])
def test_impossible_splits_are_refused(n, fraction):
    with pytest.raises(ScoreError, match="fraction"):
        split_episodes(n, fraction, seed=0)


def test_the_best_demonstrations_are_the_shortest_successes() -> None:
    recorded = make_dataset((5, 3, 4, 2))
    played = replace(recorded, extra={"success": np.array([True, True, True, False])})
    assert best_episodes(played, 0.5) == [1, 2]  # lengths 5, 3, 4; two of three, rounded
    assert best_episodes(played, 0.01) == [1]
    assert best_episodes(played, 1.0) == [0, 1, 2]
    assert best_episodes(recorded, 0.5) == [1, 3]  # no outcome was recorded
    with pytest.raises(ScoreError, match="no successful demonstration"):
        best_episodes(replace(recorded, extra={"success": np.zeros(4, bool)}), 0.5)
