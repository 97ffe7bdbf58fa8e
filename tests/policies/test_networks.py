"""Both networks behind the one interface."""

from __future__ import annotations

import pytest
import torch

from score_rl.core.errors import ScoreError
from score_rl.policies.flow.networks import NetworkConfig, TimeFeatures, make_network

CONFIGS = [NetworkConfig("mlp", (16, 24)), NetworkConfig("unet", (16, 24, 32))]


def velocity(network, x, t, context):
    return network(x, t, network.prepare(context))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_starts_as_zero_and_every_input_matters_once_trained(config):
    torch.manual_seed(0)
    network = make_network(config, (8, 5), context_width=7)
    x, t, context = torch.randn(3, 8, 5), torch.rand(3), torch.randn(3, 7)
    assert velocity(network, x, t, context).shape == (3, 8, 5)
    assert not velocity(network, x, t, context).any()
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter)
    before = velocity(network, x, t, context)
    for changed in ((x + 1.0, t, context), (x, t + 0.1, context), (x, t, context + 1.0)):
        assert (velocity(network, *changed) - before).abs().amax((1, 2)).min() > 1e-3


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_rows_are_independent_and_one_time_serves_all(config):
    torch.manual_seed(0)
    network = make_network(config, (8, 5), context_width=7)
    torch.nn.init.normal_(network.head.weight)
    x, t, context = torch.randn(4, 8, 5), torch.full((4,), 0.3), torch.randn(4, 7)
    together = velocity(network, x, t, context)
    assert torch.allclose(together[2:3], velocity(network, x[2:3], t[2:3], context[2:3]), atol=1e-5)
    assert torch.allclose(together, velocity(network, x, t[:1], context), atol=1e-5)


def test_the_mlp_reads_chunk_time_and_context_in_this_order():
    network = make_network(NetworkConfig("mlp", (1,), time_features=2), (1, 2), context_width=1)
    with torch.no_grad():
        # First layer: 1 x1 + 2 x2 + 3 sin + 4 cos + 5 context + 6; then SiLU, then the head copies it.
        network.layers[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]))
        network.layers[0].bias.fill_(6.0)
        network.head.weight.fill_(1.0)
    found = velocity(network, torch.tensor([[[10.0, 20.0]]]), torch.tensor([0.0]), torch.tensor([[30.0]]))
    assert found.flatten().tolist() == [210.0, 210.0]  # 10 + 40 + 0 + 4 + 150 + 6, where SiLU is the identity


def test_time_features_by_hand():
    # Turns over [0, 1]: 1/4 and 32. At t = 1 a quarter turn (sin 1, cos 0) and whole turns (sin 0, cos 1).
    features = TimeFeatures(4)(torch.tensor([0.0, 1.0]))
    assert features[0].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert features[1].tolist() == pytest.approx([1.0, 0.0, 0.0, 1.0], abs=1e-4)


def test_impossible_sizes():
    with pytest.raises(ScoreError, match="divisible by 4, not 6"):
        make_network(NetworkConfig("unet", (8, 8, 8)), (6, 2), 3)
    with pytest.raises(ScoreError, match="multiples of 8"):
        make_network(NetworkConfig("unet", (12,)), (8, 2), 3)
    with pytest.raises(ScoreError, match="even"):
        make_network(NetworkConfig(time_features=3), (8, 2), 3)
    with pytest.raises(ScoreError, match="widths"):
        make_network(NetworkConfig(widths=()), (8, 2), 3)
