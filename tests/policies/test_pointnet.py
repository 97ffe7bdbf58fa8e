"""The encoder of point clouds: what it depends on, and what training does to clouds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from score_rl.contracts import ArraySpec, Interface, PolicySpec
from score_rl.core.clouds import CLOUD, CLOUD_SEEN, CloudConfig, cloud_views
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import action_spec
from score_rl.core.rotations import compose
from score_rl.policies.flow.augmentation import AugmentConfig, augmented
from score_rl.policies.flow.encoders import ENCODERS
from score_rl.policies.flow.pointnet import BLOCK_POINTS, PointNet
from score_rl.policies.flow.representation import Representation, RepresentationConfig

POINTS = 10


def spec(objects: int = 2, points: int = POINTS) -> PolicySpec:
    names = ("a", "b")
    observation = {"command": action_spec(names), "palm_pose": ArraySpec((7,))}
    interface = Interface(observation, action_spec(names), 10.0, cloud_views(CloudConfig(points), objects))
    return PolicySpec(interface, history=2, horizon=4, latent_shape=(4, 2))


def window(rows: int = 3, objects: int = 2, points: int = POINTS, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    palm = torch.randn(rows, 2, 7, generator=draw)
    palm[..., 3:] /= palm[..., 3:].norm(dim=-1, keepdim=True)
    return {
        "command": torch.randn(rows, 2, 2, generator=draw),
        "palm_pose": palm,
        CLOUD: 0.1 * torch.randn(rows, 1, points, 3, generator=draw) + 0.5,
        CLOUD_SEEN: torch.ones(rows, 1, objects),
    }


def encoder(objects: int = 2, points: int = POINTS, frame: str = "palm") -> PointNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PointNet(spec(objects, points), (CLOUD,), frame).requires_grad_(False)


def test_features_are_normalised_and_of_the_newest_palm_alone() -> None:
    net, seen = encoder(), window()
    features = net(seen)
    assert features.shape == (3, 1, 64)
    assert features.mean(-1).abs().max() < 1e-5 and (features.std(-1) - 1).abs().max() < 0.05
    moved = seen | {"palm_pose": seen["palm_pose"].clone()}
    moved["palm_pose"][:, 0] += 1.0
    assert torch.equal(net(moved), features)


def test_order_within_a_segment_does_not_matter_but_whose_point_it_is_does() -> None:
    net, seen = encoder(), window()
    shuffled = seen[CLOUD][:, :, [4, 2, 0, 1, 3, 9, 5, 8, 7, 6]]
    assert torch.allclose(net(seen | {CLOUD: shuffled}), net(seen), atol=1e-6)
    swapped = seen[CLOUD].roll(5, dims=2)
    assert (net(seen | {CLOUD: swapped}) - net(seen)).abs().max() > 1e-3


def test_what_is_out_of_sight_is_ignored() -> None:
    net, seen = encoder(), window()
    hidden = seen | {CLOUD_SEEN: torch.tensor([1.0, 0.0]).expand(3, 1, 2)}
    other = hidden | {CLOUD: hidden[CLOUD].clone()}
    other[CLOUD][:, :, 5:] = 7.0
    assert torch.equal(net(other), net(hidden)) and not torch.allclose(net(hidden), net(seen))
    blind = net(seen | {CLOUD_SEEN: torch.zeros(3, 1, 2)})
    assert blind.isfinite().all() and torch.equal(blind[0], blind[1])


def test_training_sees_the_same_features_and_every_weight_gets_the_gradient_of_the_largest() -> None:
    net, seen = encoder().requires_grad_(True), window()
    seen[CLOUD_SEEN][1, 0, 1] = 0.0  # a segment out of sight
    with torch.no_grad():
        deployed = net(seen)
    trained = net(seen)
    assert torch.allclose(trained, deployed, atol=1e-5) and trained.requires_grad
    points, visible = net._inputs(seen), (net._seen(seen) @ net.labels.T).unsqueeze(-1)
    pooled = (net._features(points) * visible).amax(dim=1)  # of every point, with the graph of every point
    names = ("first.weight", "first.bias", "second.weight", "second.bias", "last.weight")
    weights = [net.get_parameter(name) for name in names]
    plain = torch.autograd.grad((net.norm(net.last(pooled)) ** 3).sum(), weights)
    found = torch.autograd.grad((trained**3).sum(), weights)
    for name, one, other in zip(names, plain, found):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-4), name
        assert other.abs().max() > 0


def test_the_same_grasp_looks_the_same_wherever_it_happens() -> None:
    seen = window()
    motion = torch.tensor([0.3, -0.2, 0.1, math.cos(0.4), 0.0, 0.0, math.sin(0.4)])
    palm = compose(motion, seen["palm_pose"])
    points = torch.cat((seen[CLOUD], torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(3, 1, POINTS, 4)), dim=-1)
    moved = seen | {CLOUD: compose(motion, points)[..., :3], "palm_pose": palm}
    assert torch.allclose(encoder()(moved), encoder()(seen), atol=1e-4)
    base = encoder(frame="base")
    assert not torch.allclose(base(moved), base(seen), atol=1e-2)
    assert torch.equal(base(seen | {"palm_pose": palm}), base(seen))


def test_a_point_in_the_palms_frame_by_hand() -> None:
    net, seen = encoder(objects=1, points=1), window(rows=1, objects=1, points=1)
    # The palm is turned by 90 degrees about z at (0.5, 0, 0.2): what is 0.1 m along the base's y is along its x.
    half = math.sqrt(0.5)
    seen["palm_pose"][:] = torch.tensor([0.5, 0.0, 0.2, half, 0.0, 0.0, half])
    seen[CLOUD][:] = torch.tensor([0.5, 0.1, 0.2])
    assert net._inputs(seen).flatten().tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)  # in decimetres


def test_blocks_change_nothing() -> None:
    rows = 2 * (BLOCK_POINTS // 512) + 3
    net, seen = encoder(points=512), window(rows, points=512)
    whole = net(seen)
    for row in (0, BLOCK_POINTS // 512, rows - 1):
        alone = net({key: value[row : row + 1] for key, value in seen.items()})
        assert torch.allclose(whole[row], alone[0], atol=1e-5)


def test_clouds_in_the_base_frame_are_centred_where_they_are_seen() -> None:
    net, seen = encoder(frame="base"), window()
    seen[CLOUD_SEEN][0, 0, 1] = 0
    points = torch.cat((seen[CLOUD][0, 0, :5], seen[CLOUD][1:, 0].flatten(0, 1)))
    net.fit(seen)
    assert torch.allclose(net.origin, points.mean(0), atol=1e-6)


def test_a_representation_reads_clouds_and_flags() -> None:
    encoders = {CLOUD: "pointnet", CLOUD_SEEN: "raw"}
    config = RepresentationConfig(
        keys=("command", "palm_pose"), views=(CLOUD, CLOUD_SEEN), history=2, horizon=4, encoders=encoders
    )
    representation, seen = Representation(spec(), config), window()
    features = representation.features(seen)
    assert representation.context_width == features.shape[1] == 2 * (2 + 7) + 64 + 2
    assert (features[:, -2:] == 1).all()


def test_what_is_no_cloud_is_an_error() -> None:
    flat = replace(spec(), interface=replace(spec().interface, views={CLOUD: ArraySpec((30,))}))
    with pytest.raises(ScoreError, match=r"reads points \(n, 3\), but 'cloud' is \(30,\) float32"):
        ENCODERS["pointnet"](flat, (CLOUD,), 0.01)
    blind = replace(spec(), interface=replace(spec().interface, observation={"command": ArraySpec((2,))}))
    with pytest.raises(ScoreError, match="'pointnet_base' does without"):
        ENCODERS["pointnet"](blind, (CLOUD,), 0.01)
    assert ENCODERS["pointnet_base"](blind, (CLOUD,), 0.01).segments == 2


class Alone(torch.nn.Module):
    """The encoder as a module of plain tensors."""

    def __init__(self, net: PointNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, cloud: torch.Tensor, seen: torch.Tensor, palm: torch.Tensor) -> torch.Tensor:
        return self.net({CLOUD: cloud, CLOUD_SEEN: seen, "palm_pose": palm})


@pytest.mark.slow
def test_onnx_gives_the_same_features(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net, two, rows = encoder(), window(2), torch.export.Dim("n")
    keys = (CLOUD, CLOUD_SEEN, "palm_pose")
    torch.onnx.export(
        Alone(net),
        tuple(two[key] for key in keys),
        tmp_path / "net.onnx",
        input_names=list(keys),
        dynamic_shapes=({0: rows},) * 3,
        dynamo=True,
        verbose=False,
    )
    seen = window(5, seed=3)
    seen[CLOUD_SEEN][1, 0, 1] = 0
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {key: seen[key].numpy() for key in keys})
    assert abs(features - net(seen).numpy()).max() < 1e-5


# ---- augmentation -------------------------------------------------------------------------------------------


def test_nothing_is_drawn_for_nothing() -> None:
    draw, seen = torch.Generator().manual_seed(1), window()
    before = draw.get_state()
    same = augmented(seen, AugmentConfig(), draw)
    assert torch.equal(draw.get_state(), before) and all(torch.equal(same[key], seen[key]) for key in seen)
    without = {"command": seen["command"]}
    assert augmented(without, AugmentConfig(jitter_m=1.0), draw).keys() == without.keys()


def test_points_jitter_and_clouds_move_as_wholes() -> None:
    seen = window(rows=200)
    jitter = augmented(seen, AugmentConfig(jitter_m=0.02), torch.Generator().manual_seed(1))[CLOUD] - seen[CLOUD]
    assert 0.019 < jitter.abs().max() <= 0.02 + 1e-6 and jitter.std() == pytest.approx(0.02 / math.sqrt(3), rel=0.05)
    shift = augmented(seen, AugmentConfig(shift_m=0.05), torch.Generator().manual_seed(1))[CLOUD] - seen[CLOUD]
    assert (shift - shift[:, :, :1]).abs().max() < 1e-6 and 0.045 < shift.abs().max() <= 0.05 + 1e-6


def test_a_turn_keeps_the_middle_and_all_distances() -> None:
    seen = window()
    turned = augmented(seen, AugmentConfig(turn_rad=0.2), torch.Generator().manual_seed(1))[CLOUD]
    assert torch.allclose(turned.mean(2), seen[CLOUD].mean(2), atol=1e-6)
    assert torch.allclose(torch.cdist(turned, turned), torch.cdist(seen[CLOUD], seen[CLOUD]), atol=1e-5)
    assert (turned - seen[CLOUD]).abs().max() > 0.005


def test_segments_are_hidden_as_often_as_asked() -> None:
    seen = augmented(window(rows=2000), AugmentConfig(hidden=0.25), torch.Generator().manual_seed(1))[CLOUD_SEEN]
    assert set(seen.unique().tolist()) == {0.0, 1.0} and seen.mean() == pytest.approx(0.75, abs=0.02)
