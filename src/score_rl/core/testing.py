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

import numpy as np
import torch
from torch import Tensor

from score_rl.contracts import COMMAND, FlowPolicy, Observation, PolicySpec, StepResult, World, WorldSpec
from score_rl.core.seeding import rng, torch_generator


class ContractViolation(AssertionError):
    """A policy or world does not do what `score_rl.contracts` promises."""


def check_policy(policy: FlowPolicy, rows: int = 5, tolerance: float = 1e-4) -> None:
    """Check a flow policy on random windows.

    Shapes, types, finite values, determinism, no gradient kept, inputs left alone, rows independent of each other
    (up to `tolerance`, since batched matrix products round differently), and a latent that matters.
    Raises ContractViolation.
    """
    spec = policy.spec
    _check_policy_spec(spec)
    draw = torch_generator("check_policy")
    window = {key: torch.randn(rows, spec.history, d, generator=draw) for key, d in spec.observation.items()}
    latent = torch.randn(rows, *spec.latent_shape, generator=draw)
    before = {key: value.clone() for key, value in window.items()}, latent.clone()

    context = policy.encode(window)
    _expect(context.ndim == 2 and len(context) == rows, f"encode: expected (n, c), got {tuple(context.shape)}")
    _expect_values("encode", context)
    _expect(torch.equal(policy.encode(window), context), "encode: the same window gave another context")

    chunk = policy.decode(context, latent)
    expected = (rows, *spec.latent_shape)
    _expect(tuple(chunk.shape) == expected, f"decode: expected (n, h, a) = {expected}, got {tuple(chunk.shape)}")
    _expect_values("decode", chunk)
    _expect(not chunk.requires_grad, "decode: the chunk requires a gradient; decode under torch.no_grad()")
    _expect(torch.equal(policy.decode(context, latent), chunk), "decode: the same latent gave another chunk")

    same = all(torch.equal(window[key], before[0][key]) for key in window) and torch.equal(latent, before[1])
    _expect(same, "encode or decode changed its input in place")
    for row in range(rows):
        own = policy.encode({key: value[row : row + 1] for key, value in window.items()})
        _expect(_close(own, context[row : row + 1], tolerance), f"encode: row {row} depends on the other rows")
        alone = policy.decode(context[row : row + 1], latent[row : row + 1])
        _expect(_close(alone, chunk[row : row + 1], tolerance), f"decode: row {row} depends on the other rows")
    other = policy.decode(context, torch.randn(expected, generator=draw))
    _expect(not torch.equal(other, chunk), "decode: another latent gave the same chunk, so nothing can be steered")
    if callable(velocity := getattr(policy, "velocity", None)):
        shape = tuple(velocity(context, latent, torch.full((rows,), 0.5)).shape)
        _expect(shape == expected, f"velocity: expected (n, h, a) = {expected}, got {shape}")
    if callable(normalize := getattr(policy, "normalize", None)):
        back = policy.denormalize(context, normalize(context, chunk))
        _expect(_close(back, chunk, 10 * tolerance), "denormalize(normalize(chunk)) is another chunk")


def check_world(make_world: Callable[[], World], steps: int | None = None, amplitude: float = 0.5) -> None:
    """Check a world made by `make_world` (at least 2 environments, better 4) with random actions.

    Shapes and types, determinism from seeds, rows independent of each other and of their index, auto-reset, time
    limit, clipping, the `command` key, errors before anything moves, no tensor that changes after it was returned.

    steps: control steps per pass, by default enough to see an auto-reset. amplitude: actions span this share of
    their range around its middle. Raises ContractViolation.
    """
    world = make_world()
    spec = world.spec
    _check_world_spec(spec)
    seeds = list(range(11, 11 + spec.num_envs))
    count = spec.time_limit + 3 if steps is None else steps
    actions = torch.stack([_random_actions(spec, seed, count, amplitude) for seed in seeds], dim=1)

    _expect_error("reset with too few seeds", lambda: world.reset(seeds[:-1]))
    first = _play(world, seeds, actions)
    _check_episode_ends(first, spec.time_limit)
    _expect_same(first, _play(world, seeds, actions), "the same seeds and actions in the same world")

    other = make_world()
    backwards = _play(other, seeds[::-1], actions.flip(1))
    _expect_same(_reordered(first), backwards, "the same seeds at other indices of another world")
    _check_bad_actions(other, seeds, actions)
    _check_clipping(other, seeds)
    for one in (world, other):
        one.close()
        one.close()  # calling it twice is allowed


def _check_policy_spec(spec: PolicySpec) -> None:
    _expect(bool(spec.observation), "spec.observation: the policy reads nothing")
    widths = all(width > 0 for width in spec.observation.values())
    _expect(widths, f"spec.observation: widths must be positive, got {dict(spec.observation)}")
    _expect(spec.history >= 1 and spec.horizon >= 1, "spec: history and horizon must be at least 1")
    _expect(len(set(spec.action_names)) == spec.action_dim > 0, "spec.action_names must be distinct, at least one")
    _expect(spec.control_rate_hz > 0, "spec.control_rate_hz must be positive")


def _check_world_spec(spec: WorldSpec) -> None:
    _expect(spec.num_envs >= 2, "check_world needs a world of at least 2 environments")
    sizes = {len(spec.action_names), len(spec.action_low), len(spec.action_high)}
    _expect(len(sizes) == 1 and 0 not in sizes, "spec: action_names, action_low and action_high differ in length")
    ordered = all(low < high for low, high in zip(spec.action_low, spec.action_high))
    _expect(ordered, "spec: action_low must lie below action_high")
    _expect(bool(spec.actor) and bool(spec.critic), "spec: actor and critic group must not be empty")
    _expect(
        spec.time_limit >= 1 and spec.control_rate_hz > 0, "spec: time_limit and control_rate_hz must be positive"
    )


def _random_actions(spec: WorldSpec, seed: int, steps: int, amplitude: float) -> Tensor:
    """(steps, a) actions that belong to the seed, not to the row: targets held for five steps each."""
    low, high = np.array(spec.action_low), np.array(spec.action_high)
    bounded = np.isfinite(low) & np.isfinite(high)
    middle, half = np.where(bounded, (low + high) / 2, 0.0), np.where(bounded, (high - low) / 2, 1.0)
    targets = rng("check_world", seed).uniform(-amplitude, amplitude, (math.ceil(steps / 5), len(low)))
    actions = torch.from_numpy(np.repeat(middle + half * targets, 5, axis=0)[:steps])
    return actions.to(spec.device, torch.float32)


Trace = list[dict[str, Tensor]]
"""Everything returned by reset (first entry) and by every step, flat and cloned."""


def _play(world: World, seeds: Sequence[int], actions: Tensor) -> Trace:
    """Run a pass and check everything that one step alone can show."""
    observation = world.reset(seeds)
    _check_observation("reset", observation, world.spec)
    live = [_flat_observation("observation", observation)]
    trace = [_cloned(live[0])]
    for step, action in enumerate(actions):
        sent = action.clone()
        result = world.step(sent)
        _expect(torch.equal(sent, action), f"step {step} changed the actions in place")
        _check_step(result, action, world.spec)
        live.append(_flat_step(result))
        trace.append(_cloned(live[-1]))
    for step, (now, then) in enumerate(zip(live, trace)):
        for name in then:
            unchanged = torch.equal(now[name].nan_to_num(), then[name].nan_to_num())
            _expect(unchanged, f"{name} returned at step {step} was overwritten by a later step: return a copy")
    return trace


def _check_observation(where: str, observation: Observation, spec: WorldSpec) -> None:
    for group, declared in (("actor", spec.actor), ("critic", spec.critic)):
        frame: Mapping[str, Tensor] = getattr(observation, group)
        found = {key: tuple(value.shape) for key, value in frame.items()}
        expected = {key: (spec.num_envs, width) for key, width in declared.items()}
        _expect(found == expected, f"{where}: {group} group has {found}, the spec promises {expected}")
        for key, value in frame.items():
            _expect_values(f"{where}: {group} '{key}'", value)


def _check_step(result: StepResult, action: Tensor, spec: WorldSpec) -> None:
    flags = ("terminated", "truncated", "success")
    for name, dtype in [("reward", torch.float32), *((flag, torch.bool) for flag in flags)]:
        value = getattr(result, name)
        good = tuple(value.shape) == (spec.num_envs,) and value.dtype == dtype
        _expect(good, f"step: {name} is {value.dtype} {tuple(value.shape)}, expected {dtype} ({spec.num_envs},)")
    _expect_values("step: reward", result.reward)
    _check_observation("step: observation", result.observation, spec)
    _check_observation("step: final_observation", result.final_observation, spec)
    for key, value in result.info.items():
        _expect(
            value.shape[:1] == (spec.num_envs,), f"step: info '{key}' has shape {tuple(value.shape)}, not (n, ...)"
        )
    now, final = _flat_observation("", result.observation), _flat_observation("", result.final_observation)
    for name in now:
        same = torch.equal(now[name][~result.done], final[name][~result.done])
        _expect(same, f"step: where no episode ended, final_observation{name} must equal observation{name}")
    if COMMAND in spec.actor:
        expected = _clipped(action, spec)
        told = _close(result.final_observation.actor[COMMAND], expected, 1e-5)
        _expect(told, f"step: '{COMMAND}' of final_observation must be the action just sent, clipped")


def _check_episode_ends(trace: Trace, time_limit: int) -> None:
    age = torch.zeros_like(trace[1]["terminated"], dtype=torch.int64)
    for step in trace[1:]:
        age += 1
        done = step["terminated"] | step["truncated"]
        late, early = (age >= time_limit) & ~done, step["truncated"] & (age != time_limit)
        _expect(not late.any(), f"an episode went on beyond the time limit of {time_limit} control steps")
        _expect(not early.any(), f"an episode was truncated before the time limit of {time_limit} control steps")
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
    """Actions beyond a bound do what actions at the bound do; an infinite bound is nowhere exceeded."""
    high = torch.tensor(world.spec.action_high, device=world.spec.device).nan_to_num(posinf=1.0)
    beyond = (high + 0.5 * high.abs() + 1.0).expand(1, world.spec.num_envs, -1)
    reference = _play(world, seeds, _clipped(beyond, world.spec))
    _expect_same(reference, _play(world, seeds, beyond), "actions at the bounds and beyond them")


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
            _expect(equal, f"{name} differs at step {step} between {between}")


def _expect_values(where: str, value: Tensor) -> None:
    _expect(value.dtype == torch.float32, f"{where}: expected float32, got {value.dtype}")
    _expect(bool(value.isfinite().all()), f"{where}: values are not finite")


def _expect_error(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except ValueError:
        return
    raise ContractViolation(f"{what}: expected ValueError, nothing was raised")


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=tolerance, atol=tolerance)


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise ContractViolation(message)
