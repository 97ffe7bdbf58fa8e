import torch

from score_rl.core.normalization import Affine, min_max, standard

DATA = torch.tensor([[0.0, 5.0, -1.0], [4.0, 5.0, 3.0], [1.0, 5.0, 1.0]])


def test_min_max_maps_the_range_to_plus_minus_one():
    normalizer = min_max(DATA, floor=1e-3)
    assert normalizer(DATA).tolist() == [[-1.0, 0.0, -1.0], [1.0, 0.0, 1.0], [-0.5, 0.0, 0.0]]


def test_standard_has_zero_mean_and_unit_deviation():
    normalizer = standard(torch.tensor([[1.0], [5.0]]), floor=1e-3)
    assert normalizer(torch.tensor([[1.0], [5.0]])).tolist() == [[-1.0], [1.0]]


def test_constant_dimensions_are_scaled_by_the_floor():
    for fit in (min_max, standard):
        normalizer = fit(DATA, floor=0.25)
        assert normalizer.scale[1] == 0.25
        assert normalizer(torch.tensor([1.0, 5.5, 1.0]))[1] == 2.0


def test_round_trip():
    x = torch.randn(10, 4, 3, generator=torch.Generator().manual_seed(0))
    for normalizer in (min_max(DATA, 1e-3), standard(DATA, 1e-3)):
        assert torch.allclose(normalizer.inverse(normalizer(x)), x, atol=1e-6)


def test_constants_travel_with_the_state():
    trained, loaded = min_max(DATA, 1e-3), Affine(torch.zeros(3), torch.ones(3))
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded(DATA), trained(DATA))
