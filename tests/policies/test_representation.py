"""Features and action coordinates, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from toys import policy_spec

from score_rl.core.errors import ScoreError
from score_rl.policies.flow.encoders import palm_features
from score_rl.policies.flow.representation import (
    Representation,
    RepresentationConfig,
    check_representation,
    fit_representation,
    plain_representation,
)

HALF = math.sqrt(0.5)
PLAIN = {"state": 3, "command": 2}


def spec_of(keys, config, action_dim):
    names = tuple(f"joint_{i}" for i in range(action_dim))
    return policy_spec(keys, names, config.history, config.horizon)


def test_palm_features_by_hand(hand):
    # The palm is at (0.5, 0, 0.2), turned by +90 degrees about z: its x axis is the base's y axis.
    frame = {
        "state": torch.arange(23.0),
        "command": torch.arange(23.0) + 100.0,
        "palm_pose": torch.tensor([0.5, 0.0, 0.2, HALF, 0.0, 0.0, HALF]),
        # 0.1 m ahead of the palm along the base's y; oriented as the base; the quaternion is not normalised.
        "object_pose": torch.tensor([0.5, 0.1, 0.2, 2.0, 0.0, 0.0, 0.0]),
        # One tip 0.3 m along the base's x: -0.3 along the palm's y. The others at the palm's origin.
        "fingertip_pos": torch.tensor([0.8, 0.0, 0.2] + 3 * [0.5, 0.0, 0.2]),
    }
    features = palm_features({key: value.view(1, 1, -1) for key, value in frame.items()}, tuple(hand))
    expected = {
        "palm_position": [0.5, 0.0, 0.2],
        "palm_orientation": [0.0, 1.0, 0.0, -1.0, 0.0, 0.0],
        "object_position_in_palm": [0.1, 0.0, 0.0],
        # The base's x axis is the palm's -y, its y axis the palm's x.
        "object_orientation_in_palm": [0.0, -1.0, 0.0, 1.0, 0.0, 0.0],
        "fingertips_in_palm": [0.0, -0.3, 0.0] + 9 * [0.0],
    }
    for name, values in expected.items():
        assert features[name].flatten().tolist() == pytest.approx(values, abs=1e-6), name
    assert features["state"].flatten().tolist() == list(range(23))
    assert features["command"].flatten().tolist() == list(range(100, 123))


def test_palm_layout_is_the_order_of_the_context(hand):
    config = RepresentationConfig(keys=(*hand, "extra"), observation="palm")
    layout = Representation(spec_of(hand | {"extra": 2}, config, 23), config).encoders[0].layout
    assert layout == {
        "state": 23,
        "command": 23,
        "palm_position": 3,
        "palm_orientation": 6,
        "object_position_in_palm": 3,
        "object_orientation_in_palm": 6,
        "fingertips_in_palm": 12,
        "extra": 2,
    }


@pytest.mark.parametrize("observation", ["identity", "palm"])
def test_context_of_the_training_data_has_unit_scale(hand, make_window, observation):
    config = RepresentationConfig(keys=tuple(hand), observation=observation, history=3)
    window = make_window(hand, 400, 3)
    window["state"] = 0.02 * window["state"] + 1.5
    spec = spec_of(hand, config, 23)
    representation = fit_representation(spec, config, window, torch.randn(400, *spec.latent_shape))
    context = representation.features(window)
    assert context.shape == (400, 3 * sum(representation.encoders[0].layout.values()))
    assert context.mean(0).abs().max() < 0.2
    assert context.std(0) == pytest.approx(torch.ones(context.shape[1]), abs=0.15)


def test_context_is_frames_oldest_first():
    config = RepresentationConfig(keys=("state",), history=2, horizon=1)
    window = {"state": torch.tensor([[[0.0], [1.0]], [[2.0], [3.0]]])}  # mean 1.5, deviation sqrt(1.25)
    representation = fit_representation(spec_of({"state": 1}, config, 1), config, window, torch.randn(2, 1, 1))
    deviation = math.sqrt(1.25)
    assert representation.features(window)[1].tolist() == pytest.approx([0.5 / deviation, 1.5 / deviation])


def test_relative_actions_by_hand():
    config = RepresentationConfig(keys=("command",), history=2, horizon=2, action="relative", per_step=True)
    spec = spec_of({"command": 1}, config, 1)
    # Commands held: 5 and 7 (the last frame). Relative targets: step 0 {1, 3}, step 1 {2, 10}.
    window = {"command": torch.tensor([[[9.0], [5.0]], [[0.0], [7.0]]])}
    chunk = torch.tensor([[[6.0], [7.0]], [[10.0], [17.0]]])
    representation = fit_representation(spec, config, window, chunk)
    held = representation.context(window).held
    x = representation.normalize(held, chunk)
    assert x.flatten().tolist() == pytest.approx([-1.0, -1.0, 1.0, 1.0], abs=1e-5)
    assert representation.denormalize(held, torch.zeros(2, 2, 1)).flatten().tolist() == pytest.approx(
        [7.0, 11.0, 9.0, 13.0]
    )


def test_delta_actions_by_hand():
    config = RepresentationConfig(keys=("command",), horizon=3, action="delta")
    # From the command 5: targets 6, 8, 7 are the deltas 1, 2, -1; from 0: 3, 3, 3 are 3, 0, 0. Their range is
    # [-1, 3], so that x = (delta - 1) / 2.
    window = {"command": torch.tensor([[[5.0]], [[0.0]]])}
    chunk = torch.tensor([[[6.0], [8.0], [7.0]], [[3.0], [3.0], [3.0]]])
    representation = fit_representation(spec_of({"command": 1}, config, 1), config, window, chunk)
    held = representation.context(window).held
    x = representation.normalize(held, chunk)
    assert x.flatten().tolist() == pytest.approx([0.0, 0.5, -1.0, 1.0, -0.5, -0.5], abs=1e-5)
    # x = 0 is the delta 1 at every step.
    targets = representation.denormalize(held, torch.zeros(2, 3, 1)).flatten().tolist()
    assert targets == pytest.approx([6.0, 7.0, 8.0, 1.0, 2.0, 3.0], abs=1e-5)


def test_statistics_pooled_over_the_chunk():
    config = RepresentationConfig(keys=("state",), horizon=2, per_step=False)
    chunk = torch.tensor([[[0.0], [4.0]], [[1.0], [2.0]]])  # range [0, 4] over both steps
    representation = fit_representation(
        spec_of({"state": 1}, config, 1), config, {"state": torch.randn(2, 1, 1)}, chunk
    )
    assert representation.normalize(None, chunk).flatten().tolist() == [-1.0, 1.0, -0.5, 0.0]


@pytest.mark.parametrize("action", ["absolute", "modes", "relative", "delta"])
@pytest.mark.parametrize("action_scale", ["min_max", "standard"])
@pytest.mark.parametrize("per_step", [False, True])
def test_actions_round_trip(make_window, action, action_scale, per_step):
    config = RepresentationConfig(
        keys=tuple(PLAIN), history=2, action=action, action_scale=action_scale, per_step=per_step
    )
    spec = spec_of(PLAIN, config, 2)
    window, chunk = make_window(PLAIN, 50, 2), torch.randn(50, *spec.latent_shape)
    representation = fit_representation(spec, config, window, chunk)
    far = make_window(PLAIN, 50, 2, seed=1)
    held = representation.context({key: 20.0 * value for key, value in far.items()}).held
    back = representation.denormalize(held, representation.normalize(held, chunk))
    assert torch.allclose(back, chunk, atol=1e-4)


def test_missing_keys_are_named():
    palm = RepresentationConfig(keys=tuple(PLAIN), observation="palm")
    with pytest.raises(ScoreError, match="object_pose, palm_pose, fingertip_pos"):
        check_representation(spec_of(PLAIN, palm, 2), palm)
    relative = RepresentationConfig(keys=("state",), action="relative")
    with pytest.raises(ScoreError, match="'command'"):
        check_representation(spec_of({"state": 3}, relative, 2), relative)
    with pytest.raises(ScoreError, match=r"shape \(5,\)"):
        check_representation(spec_of(PLAIN, relative, 5), relative)


def test_what_the_keys_do_not_serve_is_left_out():
    """Clouds in the palm's frame need the palm; in the base's they need nothing."""
    clouds = {"views": ("cloud", "cloud_seen"), "encoders": {"cloud": "pointnet", "cloud_seen": "raw"}}
    robot = ("state", "command", "palm_pose", "fingertip_pos")
    seen = RepresentationConfig(keys=robot, observation="palm", action="relative", **clouds)
    assert plain_representation(seen) == seen
    alone = RepresentationConfig(keys=("state",), observation="palm", action="relative", **clouds)
    assert plain_representation(alone) == RepresentationConfig(keys=("state",), observation="identity")
    base = RepresentationConfig(keys=("state",), views=("cloud",), encoders={"cloud": "pointnet_base"})
    assert plain_representation(base) == base
