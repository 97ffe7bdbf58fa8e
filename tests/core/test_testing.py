"""The conformance kits accept what conforms, and name what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from seeing import SeeingWorld
from toys import ScaledToyPolicy, ToyPolicy, ToyWorld

from score_rl.contracts import Observation, PlainContext
from score_rl.core.testing import ContractViolation, check_policy, check_world


def test_the_toys_conform():
    check_policy(ToyPolicy())
    check_policy(ScaledToyPolicy())
    check_world(ToyWorld)


class WrongShape(ToyPolicy):
    def decode(self, context, latent):
        return super().decode(context, latent)[:, :-1]


class Random(ToyPolicy):
    def decode(self, context, latent):
        return super().decode(context, latent) + torch.randn(1)


class Deaf(ToyPolicy):
    def decode(self, context, latent):
        return torch.zeros_like(latent)


class MixesRows(ToyPolicy):
    def encode(self, window):
        features = super().encode(window).features
        return PlainContext(features - features.mean(dim=0))


class Overwrites(ToyPolicy):
    def decode(self, context, latent):
        return super().decode(context, latent.clamp_(-1.0, 1.0))


class KeepsGradient(ToyPolicy):
    def decode(self, context, latent):
        return super().decode(context, latent) * torch.ones(1, requires_grad=True)


class NoInverse(ScaledToyPolicy):
    def denormalize(self, context, x):
        return x * 2.0


class Double(ToyPolicy):
    def encode(self, window):
        return PlainContext(super().encode(window).features.double())


class BareTensor(ToyPolicy):
    def encode(self, window):
        return super().encode(window).features


class Nameless(ToyPolicy):
    fingerprint = None


class FlatLatent(ToyPolicy):
    def __init__(self):
        super().__init__()
        self.spec = replace(self.spec, latent_shape=(4,))


class UnnamedActions(ToyPolicy):
    def __init__(self):
        super().__init__()
        action = replace(self.spec.interface.action, names=())
        self.spec = replace(self.spec, interface=replace(self.spec.interface, action=action))


class Shuffled(PlainContext):
    def rows(self, index):
        return Shuffled(self.features[index.sort().values])


class ShufflesRows(ToyPolicy):
    def encode(self, window):
        return Shuffled(super().encode(window).features)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (WrongShape, "expected \\(n, h, a\\)"),
        (NoInverse, "denormalize\\(normalize\\(chunk\\)\\) is another chunk"),
        (Random, "the same latent gave another chunk"),
        (Deaf, "nothing can be steered"),
        (MixesRows, "depends on the other rows"),
        (Overwrites, "changed its input"),
        (KeepsGradient, "requires a gradient"),
        (Double, "expected float32"),
        (BareTensor, "a context has `features`"),
        (Nameless, "fingerprint"),
        (FlatLatent, "latent steps and latent width"),
        (UnnamedActions, "a distinct name for each dimension"),
        (ShufflesRows, "not those of the rows asked for"),
    ],
)
def test_bad_policies_are_named(policy, message):
    with pytest.raises(ContractViolation, match=message):
        check_policy(policy())


class Unseeded(ToyWorld):
    def _begin(self, row):
        super()._begin(row)
        self.position[row] = float(torch.rand(1))


class BoundToIndex(ToyWorld):
    def _begin(self, row):
        super()._begin(row)
        self.position[row] += 0.1 * row


class Aliasing(ToyWorld):
    def _observe(self):
        observation = super()._observe()
        if not hasattr(self, "buffer"):
            self.buffer = observation.actor["state"]
        self.buffer.copy_(observation.actor["state"])
        return Observation({**observation.actor, "state": self.buffer}, observation.critic)


class FinalIsAnother(ToyWorld):
    def step(self, action):
        result = super().step(action)
        shifted = {**result.final_observation.actor, "state": result.final_observation.actor["state"] + 1.0}
        return replace(result, final_observation=Observation(shifted, result.final_observation.critic))


class NoTimeLimit(ToyWorld):
    def step(self, action):
        self.age -= 1
        return super().step(action)


class EarlyCut(ToyWorld):
    def __init__(self):
        super().__init__(time_limit=5)
        self.spec = replace(self.spec, time_limit=9)

    def step(self, action):
        limit, self.spec = self.spec, replace(self.spec, time_limit=5)
        result = super().step(action)
        self.spec = limit
        return result


class TakesNan(ToyWorld):
    def step(self, action):
        return super().step(action.nan_to_num())


class MovesBeforeRefusing(ToyWorld):
    def step(self, action):
        if action.shape == (self.spec.num_envs, 1) and not action.isfinite().all():
            self.position = self.position + 0.01
        return super().step(action)


class NotClipped(ToyWorld):
    def step(self, action):
        result = super().step(action)
        beyond = action[:, 0] - action[:, 0].clamp(-1, 1)
        return replace(result, reward=result.reward + beyond)


class WrongCommand(ToyWorld):
    def _observe(self):
        observation = super()._observe()
        return Observation(
            {**observation.actor, "command": torch.zeros_like(self.command)[:, None]}, observation.critic
        )


class AcceptsAnySeeds(ToyWorld):
    def reset(self, seeds):
        return super().reset((list(seeds) * 4)[: self.spec.num_envs])


class IntegerReward(ToyWorld):
    def step(self, action):
        result = super().step(action)
        return replace(result, reward=result.reward.long())


class OnAnotherDevice(ToyWorld):
    def reset(self, seeds):
        observation = super().reset(seeds)
        return Observation({key: value.to("meta") for key, value in observation.actor.items()}, observation.critic)


@pytest.mark.parametrize(
    ("world", "message"),
    [
        (Unseeded, "the same seeds and actions in the same world"),
        (BoundToIndex, "the same seeds at other indices"),
        (Aliasing, "overwritten by a later step"),
        (FinalIsAnother, "final_observation.* must equal observation"),
        (NoTimeLimit, "went on beyond the time limit"),
        (EarlyCut, "truncated before the time limit"),
        (TakesNan, "step with NaN"),
        (MovesBeforeRefusing, "with and without refused actions"),
        (NotClipped, "beyond them"),
        (WrongCommand, "must be the action just sent"),
        (AcceptsAnySeeds, "too few seeds"),
        (IntegerReward, "reward is torch.int64"),
        (OnAnotherDevice, "is on the device meta, the spec promises cpu"),
    ],
)
def test_bad_worlds_are_named(world, message):
    with pytest.raises(ContractViolation, match=message):
        check_world(world)


class Padded(ToyPolicy):
    """Its latents have more steps and a greater width than its chunks."""

    def __init__(self):
        super().__init__()
        self.spec = replace(self.spec, latent_shape=(6, 3))

    def decode(self, context, latent):
        return super().decode(context, latent[:, :4, :1])


def test_latents_are_the_policys_own():
    check_policy(Padded())


class Forgetful(SeeingWorld):
    def look(self, keys, rows=None):
        self.looks += 1
        noise = torch.randint(9, (8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(self.looks))
        return {key: value + noise for key, value in super().look(keys, rows).items()}


class Nudged(SeeingWorld):
    def look(self, keys, rows=None):
        self.position = self.position + 1e-3
        return super().look(keys, rows)


class RowsByPlace(SeeingWorld):
    def look(self, keys, rows=None):
        return {key: value[: len(value) if rows is None else len(rows)] for key, value in super().look(keys).items()}


class FloatPicture(SeeingWorld):
    def look(self, keys, rows=None):
        return {key: value.float() for key, value in super().look(keys, rows).items()}


class Blind(SeeingWorld):
    look = None


@pytest.mark.parametrize(
    ("world", "message"),
    [
        (Forgetful, "changed by looking again|differs from all rows"),
        (Nudged, "a world that was looked at and one that was not"),
        (RowsByPlace, "of chosen rows differs from all rows"),
        (FloatPicture, "expected uint8"),
        (Blind, "needs `look`"),
    ],
)
def test_bad_looks_are_named(world, message):
    with pytest.raises(ContractViolation, match=message):
        check_world(world)
