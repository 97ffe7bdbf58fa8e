"""Other people's environments by URI, without a line of code: what `--world gymnasium:...` and the others open.

    gymnasium:ENV_ID?success=RULE&...           any registered environment; "module:ENV_ID" imports the module first
    vecenv:module:factory?success=RULE&...      a function of num_envs that returns an rsl_rl VecEnv
    maniskill:ENV_ID?success=RULE&...           a registered environment of ManiSkill 3

RULE: see `adapters.success`. The other options are those of `gymnasium_world`, `vecenv_world` and `maniskill_world`;
what is none of them goes to the environment or to the factory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from score_rl.contracts import World
from score_rl.core import plugins
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.seeding import rng
from score_rl.sim.adapters.success import load_function

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from score_rl.sim.adapters.batched import BatchedWorld
    from score_rl.sim.adapters.gymnasium import GymnasiumWorld
    from score_rl.sim.adapters.vecenv import VecEnvWorld

Bounds = float | Sequence[float] | None


def open_gymnasium(uri: str, num_envs: int) -> World:
    """The world of `gymnasium:ENV_ID?...`. Raises ScoreError."""
    env_id, options = plugins.parse_uri(uri.partition(":")[2])
    return plugins.call(gymnasium_world, f"world '{uri}'", options, {"env_id": env_id, "num_envs": num_envs})


def open_vecenv(uri: str, num_envs: int) -> World:
    """The world of `vecenv:module:factory?...`. Raises ScoreError."""
    factory, options = plugins.parse_uri(uri.partition(":")[2])
    return plugins.call(vecenv_world, f"world '{uri}'", options, {"factory": factory, "num_envs": num_envs})


def open_maniskill(uri: str, num_envs: int) -> World:
    """The world of `maniskill:ENV_ID?...`. Raises ScoreError."""
    env_id, options = plugins.parse_uri(uri.partition(":")[2])
    return plugins.call(maniskill_world, f"world '{uri}'", options, {"env_id": env_id, "num_envs": num_envs})


# ---- Gymnasium --------------------------------------------------------------------------------------------------


def gymnasium_world(
    env_id: str, num_envs: int, success: str = "success", control_rate_hz: float | None = None,
    time_limit: int | None = None, reward: str = "success", terminate_on_success: bool = True, deadline: bool = False,
    privileged: str | None = None, late_success: bool = False, low: Bounds = None, high: Bounds = None,
    processes: bool = False, **env_options: Any,
) -> GymnasiumWorld:  # fmt: skip
    """A registered Gymnasium environment as a world.

    control_rate_hz: by default what the environment says. time_limit [control steps]: by default the registered one.
    late_success: the info may lack the key of success for a whole episode. privileged: module:function, see
    `adapters.gymnasium.Privileged`. processes: one process per row. The others are those of `GymnasiumWorld`.
    One row plays an episode first, so that what is missing is said before anything is trained. Raises ScoreError.
    """
    from score_rl.sim.adapters.gymnasium import GymnasiumWorld, action_bounds, make_envs

    if time_limit is not None:
        env_options["max_episode_steps"] = time_limit
    with closing(make_envs(env_id, 1, False, env_options)) as one:
        limit, rate = time_limit or one.spec.max_episode_steps, control_rate_hz or _control_rate_hz(one)
        for name, value in (("time_limit", limit), ("control_rate_hz", rate)):
            if value is None:
                raise ScoreError(f"{env_id} does not say its {name}: pass {name}=NUMBER")
        lower, upper = action_bounds(one.single_action_space, low, high)
        key = success if _is_info_key(success) else ""
        row_seeds = _play(one, env_id, limit, key if not late_success else "", lower, upper)
    return GymnasiumWorld(
        make_envs(env_id, num_envs, processes, env_options), rate, limit, success, reward, terminate_on_success,
        deadline, load_function(privileged, "privileged") if privileged else None, None, env_id, True, low, high,
        row_seeds,
    )  # fmt: skip


def _is_info_key(success: str) -> bool:
    return success != "terminated" and not success.startswith("reward") and ":" not in success


def _control_rate_hz(envs: VectorEnv) -> float | None:
    """From the environment's control period, else from its frames per second; None where it says neither."""
    inside = envs.envs[0].unwrapped
    period = getattr(inside, "dt", None)
    if isinstance(period, float | int) and period > 0:
        return round(1 / period, 6)
    rate = inside.metadata.get("render_fps")
    return float(rate) if rate else None


def _play(
    envs: VectorEnv, env_id: str, limit: int, key: str, low: np.ndarray, high: np.ndarray
) -> bool:  # fmt: skip
    """Whether a reset can be seeded, of one row; raises ScoreError where an episode's info never has the key."""
    starts = [_flat(envs.reset(seed=[7])[0]) for _ in range(2)]
    seen: set[str] = set()
    if key:
        draw = rng("gymnasium probe")
        for _ in range(limit):
            *_, terminated, truncated, info = envs.step(draw.uniform(low, high).astype(np.float32)[None])
            seen |= {name for name in info if not name.startswith("_")}
            if key in seen or terminated[0] or truncated[0]:
                break
        if key not in seen:
            raise ScoreError(
                f"the info of {env_id} had no '{key}' in an episode; it had {sorted(seen)}: pass success=<key>, "
                "success=reward>NUMBER, success=terminated or success=module:rule; or late_success=true where the "
                "key comes only once the task is solved"
            )
    return bool(np.array_equal(*starts, equal_nan=True))


def _flat(observation: Any) -> np.ndarray:
    entries = observation.values() if isinstance(observation, Mapping) else [observation]
    return np.concatenate([np.asarray(values, np.float64).ravel() for values in entries])


# ---- rsl_rl -----------------------------------------------------------------------------------------------------


def vecenv_world(
    factory: str, num_envs: int, success: str, control_rate_hz: float | None = None, low: Bounds = None,
    high: Bounds = None, actor: str | Sequence[str] | None = None, critic: str | Sequence[str] | None = None,
    reset: str | None = None, final: str | None = None, **factory_options: Any,
) -> VecEnvWorld:  # fmt: skip
    """What `factory(num_envs=..., **options)` makes, an rsl_rl VecEnv, as a world.

    low, high: bounds of the actions, which a VecEnv does not say. control_rate_hz: by default from its `step_dt`.
    actor, critic: observation groups ("policy,goal"), by default policy or actor, and critic where there is one.
    reset: module:function of (env, seeds) that seeds rows one by one. final: entry of the extras that holds the last
    observations of ended episodes. Raises ScoreError.
    """
    from score_rl.sim.adapters.vecenv import VecEnvWorld, seed_and_reset

    make = load_function(factory, "factory")
    env = plugins.call(make, f"factory '{factory}'", factory_options, {"num_envs": num_envs})
    period = getattr(getattr(env, "unwrapped", env), "step_dt", None)
    rate = control_rate_hz or (round(1 / period, 6) if period else None)
    for name, value in (("control_rate_hz", rate), ("low", low), ("high", high)):
        if value is None:
            raise ScoreError(f"{factory} does not say its {name}: pass {name}=NUMBER")
    groups = list(env.get_observations().keys())
    shown = _names(actor) or next(((name,) for name in ("policy", "actor") if name in groups), tuple(groups[:1]))
    return VecEnvWorld(
        env, rate, _bounds(low, env.num_actions), _bounds(high, env.num_actions), success,
        reset=load_function(reset, "reset") if reset else seed_and_reset,
        final=(lambda extras: extras[final]) if final else None,
        actor=shown,
        critic=_names(critic) or (("critic",) if "critic" in groups else shown),
        name=factory,
    )  # fmt: skip


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return tuple(given.split(",")) if isinstance(given, str) else tuple(given or ())


def _bounds(given: float | Sequence[float], count: int) -> tuple[float, ...]:
    return tuple(map(float, given)) if isinstance(given, Sequence) else (float(given),) * count


# ---- ManiSkill --------------------------------------------------------------------------------------------------


def maniskill_world(
    env_id: str, num_envs: int, success: str = "success", time_limit: int | None = None, low: Bounds = None,
    high: Bounds = None, obs_mode: str = "state", **env_options: Any,
) -> BatchedWorld:  # fmt: skip
    """A registered environment of ManiSkill as a world, on its own device and without its time limit.

    time_limit [control steps]: by default the registered one. low, high: bounds of the actions, where the space has
    none. The rate is the environment's `control_freq`. Raises ScoreError.
    """
    from score_rl.sim.adapters.batched import BatchedWorld
    from score_rl.sim.adapters.gymnasium import action_bounds

    try:
        import mani_skill.envs  # noqa: F401  (registers them)
        from mani_skill.utils.registration import REGISTERED_ENVS
    except ImportError as error:
        raise ScoreError(f"maniskill:{env_id} needs mani_skill, in this environment: {error}") from error
    if env_id not in REGISTERED_ENVS:
        raise unknown_choice("ManiSkill environment", env_id, REGISTERED_ENVS)
    registered = REGISTERED_ENVS[env_id]
    if (limit := time_limit or registered.max_episode_steps) is None:
        raise ScoreError(f"{env_id} does not say its time_limit: pass time_limit=NUMBER")
    env = registered.make(num_envs=num_envs, obs_mode=obs_mode, **env_options)
    lower, upper = action_bounds(env.single_action_space, low, high)
    return BatchedWorld(env, float(env.control_freq), limit, lower.tolist(), upper.tolist(), success, env_id)
