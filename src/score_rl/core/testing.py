"""Conformance kits: run them on your own policy or world before anything else.

    from score_rl.core.testing import check_policy, check_world
    check_policy(MyPolicy())
    check_world(lambda: MyWorld(num_envs=4))

Each checks what `score_rl.contracts` promises and raises `ContractViolation` at the first promise that is broken,
saying what was expected and what came. Both run in seconds on a small instance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import (
    COMMAND,
    ArraySpec,
    Context,
    FlowPolicy,
    Frame,
    Observation,
    StepResult,
    Window,
    World,
    WorldSpec,
)
from score_rl.core.arrays import torch_dtype
from score_rl.core.errors import ScoreError
from score_rl.core.interfaces import check_policy_spec, check_world_spec
from score_rl.core.seeding import rng, torch_generator


class ContractViolation(AssertionError):
    """Something does not do what is promised of its kind."""


def check_policy(policy: FlowPolicy, rows: int = 5, tolerance: float = 1e-4) -> None:
    """Check a flow policy on random windows.

    Specification and fingerprint, shapes, types, finite values, determinism, no gradient kept, inputs left alone,
    rows independent of each other and chosen by `Context.rows` (up to `tolerance`, since batched matrix products
    round differently), and a latent that matters. What passes can be steered. Raises ContractViolation.
    """
    spec = policy.spec
    _check_spec(check_policy_spec, spec)
    name = policy.fingerprint() if callable(getattr(policy, "fingerprint", None)) else None
    expect(isinstance(name, str) and name, "fingerprint() must name spec and weights; see `contracts.FlowPolicy`")
    expect(policy.fingerprint() == name, "fingerprint() gave two names to the same policy")
    draw = torch_generator("check_policy")
    window = {key: _random_array(array, rows, draw) for key, array in spec.window.items()}
    latent = torch.randn(rows, *spec.latent_shape, generator=draw)
    before = {key: value.clone() for key, value in window.items()}, latent.clone()

    context = policy.encode(window)
    features = _features("encode", context, rows)
    expect(torch.equal(policy.encode(window).features, features), "encode: the same window gave another context")

    chunk = policy.decode(context, latent)
    expected = (rows, *spec.chunk_shape)
    expect(tuple(chunk.shape) == expected, f"decode: expected (n, h, a) = {expected}, got {tuple(chunk.shape)}")
    _expect_values("decode", chunk)
    expect(not chunk.requires_grad, "decode: the chunk requires a gradient; decode under torch.no_grad()")
    expect(torch.equal(policy.decode(context, latent), chunk), "decode: the same latent gave another chunk")

    same = all(torch.equal(window[key], before[0][key]) for key in window) and torch.equal(latent, before[1])
    expect(same, "encode or decode changed its input in place")
    _check_rows(policy, window, latent, context, chunk, tolerance)
    other = policy.decode(context, torch.randn(latent.shape, generator=draw))
    expect(not torch.equal(other, chunk), "decode: another latent gave the same chunk, so nothing can be steered")
    if callable(velocity := getattr(policy, "velocity", None)):
        shape = tuple(velocity(context, latent, torch.full((rows,), 0.5)).shape)
        expect(shape == latent.shape, f"velocity: expected (n, l, w) = {tuple(latent.shape)}, got {shape}")
    if callable(normalize := getattr(policy, "normalize", None)):
        back = policy.denormalize(context, normalize(context, chunk))
        expect(_close(back, chunk, 10 * tolerance), "denormalize(normalize(chunk)) is another chunk")


def check_world(make_world: Callable[[], World], steps: int | None = None, amplitude: float = 0.5) -> None:
    """Check a world made by `make_world` (at least 2 environments, better 4) with random actions.

    Shapes and types, finite numbers and bounds, determinism from seeds, rows independent of each other and of their
    index (unless `spec.row_seeds` is False), auto-reset, time limit, clipping, the `command` key, critic keys that
    hide no actor's, errors before anything moves, the device, no tensor that changes after it was returned. Of views:
    repeatable, the same for chosen rows, and nothing moves by looking.

    steps: control steps per pass, by default enough to see an auto-reset. amplitude: actions span this share of
    their range around its middle. Raises ContractViolation.
    """
    world = make_world()
    spec = world.spec
    _check_spec(check_world_spec, spec)
    expect(spec.num_envs >= 2, "check_world needs a world of at least 2 environments")
    seeds = list(range(11, 11 + spec.num_envs))
    count = spec.time_limit + 3 if steps is None else steps
    actions = torch.stack([_random_actions(spec, seed, count, amplitude) for seed in seeds], dim=1)

    _expect_error("reset with too few seeds", lambda: world.reset(seeds[:-1]))
    first = _play(world, seeds, actions)
    _check_episode_ends(first, spec.time_limit)
    _expect_same(first, _play(world, seeds, actions), "the same seeds and actions in the same world")

    other = make_world()
    if spec.row_seeds:
        backwards = _play(other, seeds[::-1], actions.flip(1))
        _expect_same(_reordered(first), backwards, "the same seeds at other indices of another world")
    else:
        _expect_same(first, _play(other, seeds, actions), "the same seeds in another world")
    _check_bad_actions(other, seeds, actions)
    _check_clipping(other, seeds)
    if spec.interface.views:
        _check_views(world, other, seeds, actions[:5])
    for one in (world, other):
        one.close()
        one.close()  # calling it twice is allowed


def _check_spec(check: Callable[[Any, object], None], spec: Any) -> None:
    try:
        check(spec, "spec")
    except ScoreError as error:
        raise ContractViolation(str(error)) from error


def _check_rows(
    policy: FlowPolicy, window: Window, latent: Tensor, context: Context, chunk: Tensor, tolerance: float
) -> None:
    """Rows do not depend on each other, and `Context.rows` chooses and repeats them."""
    for row in range(len(latent)):
        own = policy.encode({key: value[row : row + 1] for key, value in window.items()})
        same = _close(own.features, context.features[row : row + 1], tolerance)
        expect(same, f"encode: row {row} depends on the other rows")
        alone = policy.decode(own, latent[row : row + 1])
        expect(_close(alone, chunk[row : row + 1], tolerance), f"decode: row {row} depends on the other rows")
    index = torch.tensor([len(latent) - 1, 0, 0])
    chosen = context.rows(index)
    picked = torch.equal(_features("Context.rows", chosen, 3), context.features[index])
    expect(picked, "Context.rows: the features are not those of the rows asked for")
    again = policy.decode(chosen, latent[index])
    expect(_close(again, chunk[index], tolerance), "Context.rows: the chosen rows decode to other chunks")


def _features(where: str, context: Context, rows: int) -> Tensor:
    """The features (n, c) of a context, checked."""
    features = getattr(context, "features", None)
    expect(isinstance(features, Tensor), f"{where}: a context has `features`; see `contracts.Context`")
    good = features.ndim == 2 and len(features) == rows
    expect(good, f"{where}: expected features (n, c) = ({rows}, c), got {tuple(features.shape)}")
    _expect_values(where, features)
    return features


def _random_array(array: ArraySpec, rows: int, draw: torch.Generator) -> Tensor:
    if array.dtype == "uint8":
        return torch.randint(256, (rows, *array.shape), generator=draw, dtype=torch.uint8)
    return torch.randn(rows, *array.shape, generator=draw)


def _random_actions(spec: WorldSpec, seed: int, steps: int, amplitude: float) -> Tensor:
    """(steps, a) actions that belong to the seed, not to the row: targets held for five steps each."""
    low, high = np.array(spec.action_low), np.array(spec.action_high)
    middle, half = (low + high) / 2, (high - low) / 2
    targets = rng("check_world", seed).uniform(-amplitude, amplitude, (math.ceil(steps / 5), len(low)))
    actions = torch.from_numpy(np.repeat(middle + half * targets, 5, axis=0)[:steps])
    return actions.to(spec.device, torch.float32)


Trace = list[dict[str, Tensor]]
"""Everything returned by reset (first entry) and by every step, flat and cloned."""


def _play(world: World, seeds: Sequence[int], actions: Tensor) -> Trace:
    """Run a pass and check everything that one step alone can show."""
    observation = world.reset(seeds)
    live = [_flat_observation("observation", observation)]
    _check_device(live[0], world.spec)
    _check_observation("reset", observation, world.spec)
    trace = [_cloned(live[0])]
    for step, action in enumerate(actions):
        sent = action.clone()
        result = world.step(sent)
        expect(torch.equal(sent, action), f"step {step} changed the actions in place")
        live.append(_flat_step(result))
        _check_device(live[-1], world.spec)
        _check_step(result, action, world.spec)
        trace.append(_cloned(live[-1]))
    for step, (now, then) in enumerate(zip(live, trace)):
        for name in then:
            unchanged = torch.equal(now[name].nan_to_num(), then[name].nan_to_num())
            expect(unchanged, f"{name} returned at step {step} was overwritten by a later step: return a copy")
    return trace


def _check_device(returned: Mapping[str, Tensor], spec: WorldSpec) -> None:
    for name, value in returned.items():
        there = value.device.type == torch.device(spec.device).type
        expect(there, f"{name} is on the device {value.device}, the spec promises {spec.device}")


def _check_observation(where: str, observation: Observation, spec: WorldSpec) -> None:
    for group, declared in (("actor", spec.interface.observation), ("critic", spec.critic)):
        _check_frame(f"{where}: {group} group", getattr(observation, group), declared, spec.num_envs)
    for key in spec.critic.keys() & spec.interface.observation.keys():
        same = torch.equal(observation.critic[key], observation.actor[key].float())
        expect(same, f"{where}: the critic's '{key}' is not the actor's, which it hides: give it another name")


def _check_frame(where: str, frame: Frame, declared: Mapping[str, ArraySpec], rows: int) -> None:
    found = {key: tuple(value.shape) for key, value in frame.items()}
    expected = {key: (rows, *array.shape) for key, array in declared.items()}
    expect(found == expected, f"{where} has {found}, the spec promises {expected}")
    for key, value in frame.items():
        _expect_values(f"{where}: '{key}'", value, torch_dtype(declared[key]))


def _check_step(result: StepResult, action: Tensor, spec: WorldSpec) -> None:
    flags = ("terminated", "truncated", "success")
    for name, dtype in [("reward", torch.float32), *((flag, torch.bool) for flag in flags)]:
        value = getattr(result, name)
        good = tuple(value.shape) == (spec.num_envs,) and value.dtype == dtype
        expect(good, f"step: {name} is {value.dtype} {tuple(value.shape)}, expected {dtype} ({spec.num_envs},)")
    _expect_values("step: reward", result.reward)
    _check_observation("step: observation", result.observation, spec)
    _check_observation("step: final_observation", result.final_observation, spec)
    for key, value in result.info.items():
        expect(
            value.shape[:1] == (spec.num_envs,), f"step: info '{key}' has shape {tuple(value.shape)}, not (n, ...)"
        )
        expect(bool(value.isfinite().all()), f"step: info '{key}' is not finite")
    now, final = _flat_observation("", result.observation), _flat_observation("", result.final_observation)
    for name in now:
        same = torch.equal(now[name][~result.done], final[name][~result.done])
        expect(same, f"step: where no episode ended, final_observation{name} must equal observation{name}")
    if COMMAND in spec.interface.observation:
        expected = _clipped(action, spec)
        told = _close(result.final_observation.actor[COMMAND], expected, 1e-5)
        expect(told, f"step: '{COMMAND}' of final_observation must be the action just sent, clipped")


def _check_episode_ends(trace: Trace, time_limit: int) -> None:
    age = torch.zeros_like(trace[1]["terminated"], dtype=torch.int64)
    for step in trace[1:]:
        age += 1
        done = step["terminated"] | step["truncated"]
        late, early = (age >= time_limit) & ~done, step["truncated"] & (age != time_limit)
        expect(not late.any(), f"an episode went on beyond the time limit of {time_limit} control steps")
        expect(not early.any(), f"an episode was truncated before the time limit of {time_limit} control steps")
        age[done] = 0


def _check_bad_actions(world: World, seeds: Sequence[int], actions: Tensor) -> None:
    """Bad actions raise, and the world goes on as if they had never been sent."""
    few = actions[:3]
    expected = _play(world, seeds, few)
    world.reset(seeds)
    for step, action in enumerate(few):
        nan = action.clone()
        nan[0, 0] = math.nan
        _expect_error("step with NaN", lambda nan=nan: world.step(nan))
        _expect_error("step with a row too few", lambda action=action: world.step(action[:-1]))
        _expect_error("step with an action too narrow", lambda action=action: world.step(action[:, :-1]))
        got = _cloned(_flat_step(world.step(action)))
        _expect_same([expected[step + 1]], [got], "with and without refused actions in between")


def _check_clipping(world: World, seeds: Sequence[int]) -> None:
    """Actions beyond a bound do what actions at the bound do."""
    high = torch.tensor(world.spec.action_high, device=world.spec.device)
    beyond = (high + 0.5 * high.abs() + 1.0).expand(1, world.spec.num_envs, -1)
    reference = _play(world, seeds, _clipped(beyond, world.spec))
    _expect_same(reference, _play(world, seeds, beyond), "actions at the bounds and beyond them")


def _check_views(world: World, other: World, seeds: Sequence[int], actions: Tensor) -> None:
    """Looking shows what was declared, the same however often and for whichever rows, and moves nothing."""
    expect(callable(getattr(world, "look", None)), "a world with views needs `look`; see `contracts.World`")
    declared, n = world.spec.interface.views, world.spec.num_envs
    keys, row = tuple(declared), torch.tensor([n - 1, 0], device=world.spec.device)
    one = [_flat_observation("observation", world.reset(seeds))]
    two = [_flat_observation("observation", other.reset(seeds))]
    for step, action in enumerate(actions):
        seen = world.look(keys)
        _check_frame("look", seen, declared, n)
        some = world.look(keys, row)
        _check_frame("look at rows", some, declared, 2)
        for key in keys:
            expect(torch.equal(world.look((key,))[key], seen[key]), f"look: '{key}' changed by looking again")
            expect(torch.equal(some[key], seen[key][row]), f"look: '{key}' of chosen rows differs from all rows")
        if step % 2:
            late = other.look(keys)
            for key in keys:
                same = torch.equal(late[key], seen[key])
                expect(same, f"look: '{key}' depends on how often one looked before")
        one.append(_flat_step(world.step(action)))
        two.append(_flat_step(other.step(action)))
    _expect_same(one, two, "a world that was looked at and one that was not")


def _clipped(action: Tensor, spec: WorldSpec) -> Tensor:
    low, high = (torch.tensor(bound, device=action.device) for bound in (spec.action_low, spec.action_high))
    return torch.clamp(action, low, high)


def _flat_observation(prefix: str, observation: Observation) -> dict[str, Tensor]:
    groups = {"actor": observation.actor, "critic": observation.critic}
    return {f"{prefix}.{group}['{key}']": value for group, frame in groups.items() for key, value in frame.items()}


def _flat_step(result: StepResult) -> dict[str, Tensor]:
    names = ("reward", "terminated", "truncated", "success")
    return {
        **{name: getattr(result, name) for name in names},
        **{f"info['{key}']": value for key, value in result.info.items()},
        **_flat_observation("observation", result.observation),
        **_flat_observation("final_observation", result.final_observation),
    }


def _cloned(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in values.items()}


def _reordered(trace: Trace) -> Trace:
    return [{name: value.flip(0) for name, value in step.items()} for step in trace]


def _expect_same(expected: Trace, got: Trace, between: str) -> None:
    for step, (one, other) in enumerate(zip(expected, got, strict=True)):
        for name, value in one.items():
            equal = torch.equal(value.nan_to_num(), other[name].nan_to_num())
            expect(equal, f"{name} differs at step {step} between {between}")


def _expect_values(where: str, value: Tensor, dtype: torch.dtype = torch.float32) -> None:
    named = str(dtype).removeprefix("torch.")
    expect(value.dtype == dtype, f"{where}: expected {named}, got {value.dtype}")
    expect(bool(value.isfinite().all()), f"{where}: values are not finite")


def _expect_error(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except ValueError:
        return
    raise ContractViolation(f"{what}: expected ValueError, nothing was raised")


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=tolerance, atol=tolerance)


def expect(condition: bool, message: str) -> None:
    """Raise ContractViolation with a message unless a condition holds; for the kits of other floors, too."""
    if not condition:
        raise ContractViolation(message)
