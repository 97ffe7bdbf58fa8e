"""Worlds by URI: what `--world` of every command takes.

twin, proxy, PATH.toml          a domain: the task's simulated scene on such a robot
gymnasium:ENV_ID?success=KEY    a registered Gymnasium environment, see `adapters.named`
vecenv:module:factory?...       an rsl_rl VecEnv, see there
maniskill:ENV_ID                a registered environment of ManiSkill, see there
my_world?depth=2                name of an entry point (group score_rl.worlds), with options
package.module:factory?depth=2  function of num_envs that returns a `contracts.World`
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path

from score_rl.contracts import ArraySpec, World
from score_rl.core import plugins
from score_rl.core.errors import ScoreError, unknown_choice
from score_rl.core.extras import optional
from score_rl.core.interfaces import check_world_spec
from score_rl.core.parallel import check_device
from score_rl.sim.adapters.named import open_gymnasium, open_maniskill, open_vecenv
from score_rl.sim.domain import load_domain, shipped_domains
from score_rl.sim.moved import MovedWorld
from score_rl.sim.robot import CONTROL_RATE_HZ
from score_rl.sim.task import TASKS, get_task, task_names

WORLDS = "score_rl.worlds"
"""Entry points of worlds."""
FORMS = ("gymnasium:ENV_ID", "vecenv:package.module:factory", "maniskill:ENV_ID", "package.module:factory")
"""What a URI may be beside a domain and an installed name."""
GIVEN = ("num_envs",)
"""Arguments of a factory that its caller sets."""

SCHEMES: Mapping[str, Callable[[str, int], World]] = {
    "gymnasium": open_gymnasium,
    "vecenv": open_vecenv,
    "maniskill": open_maniskill,
}
"""Scheme of a URI ("name" of "name:...") -> what opens such a URI, with a number of environments."""


def open_world(
    uri: str | Path,
    num_envs: int,
    task: str = "",
    robot_seed: int = 0,
    threads: int = 0,
    nan_dump_dir: Path | None = None,
    views: Mapping[str, ArraySpec] | None = None,
    device: str = "",
) -> World:
    """The world of a URI.

    task, robot_seed, threads, nan_dump_dir, views: of a domain, see `sim.world.make_world`; other worlds have no use
    for them. device: torch device of every tensor of the world, wherever it is simulated ("": there).
    Raises ScoreError that says what there is instead, where nothing has that name, and where a plugin fails or gives
    something that is no World, or one that contradicts itself.
    """
    uri = str(uri)
    check_world(uri, task)
    if device:
        check_device(device)
    if is_domain(uri):
        with optional("a simulated task"):
            from score_rl.sim.world import make_world

        world: World = make_world(task, uri, num_envs, robot_seed, threads, nan_dump_dir, views)
    else:
        world = _open_foreign(uri, num_envs)
    return MovedWorld(world, device) if device and device != world.spec.device else world


def _open_foreign(uri: str, num_envs: int) -> World:
    """The world of a URI that is no domain."""
    scheme = uri.partition(":")[0]
    if scheme in SCHEMES:
        world = SCHEMES[scheme](uri, num_envs)
    else:
        world = plugins.make(WORLDS, uri, "world", {"num_envs": num_envs}, World)
    check_world_spec(world.spec, f"world '{uri}'")
    if world.spec.num_envs != num_envs:
        raise ScoreError(f"world '{uri}' has {world.spec.num_envs} environments, {num_envs} were asked for")
    return world


def check_world(uri: str | Path, task: str) -> None:
    """Raise ScoreError where `open_world` would not find what a URI names; nothing is built."""
    uri = str(uri)
    target, _ = plugins.parse_uri(uri)
    installed = plugins.names(WORLDS)
    if is_domain(uri):
        if task not in plugins.names(TASKS):
            raise unknown_choice("task", task, task_names())
        if task not in task_names():
            raise unknown_choice(f"world of the task '{task}', which has no scene of its own:", uri, installed)
        scene = get_task(task)
        scene.physics(load_domain(uri, scene.parameters).physics).substeps(CONTROL_RATE_HZ)
    elif uri.partition(":")[0] in SCHEMES:
        return
    elif ":" in target or target in installed:
        module = target.partition(":")[0]
        if target not in installed and get_close_matches(module, SCHEMES) and not _importable(module):
            raise unknown_choice(f"scheme or module of the world '{uri}':", module, SCHEMES)
        plugins.check_factory(WORLDS, uri, "world", GIVEN)
    else:
        raise unknown_choice("world", uri, [*shipped_domains(), "PATH.toml", *installed, *FORMS])


def _importable(module: str) -> bool:
    """Whether there is a module of that name; nothing is imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def is_domain(uri: str | Path) -> bool:
    """Whether a URI names a domain: a shipped one, or a TOML file."""
    return str(uri) in shipped_domains() or (str(uri).endswith(".toml") and "?" not in str(uri))


def is_foreign(uri: str | Path) -> bool:
    """Whether a URI means somebody else's world: an installed one, a factory or a scheme; not a domain or a typo."""
    target, _ = plugins.parse_uri(str(uri))
    return not is_domain(uri) and (":" in target or target in plugins.names(WORLDS))


def world_label(uri: str | Path) -> str:
    """What a world is called in results: a shipped domain's name, the name in a domain's file, or the URI."""
    return load_domain(uri).name if is_domain(uri) and str(uri) not in shipped_domains() else str(uri)


def domain_file(uri: str | Path) -> Path | None:
    """The file behind a world, which is an input of whatever happens there; None where there is none."""
    return shipped_domains().get(str(uri), Path(uri)) if is_domain(uri) else None
