"""The viewer: what is drawn of a scene, what every lane does, and the page in a real browser."""

from __future__ import annotations

import itertools
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import ToyPolicy, ToyWorld

pytest.importorskip("viser", reason="needs score-rl[viz]")
mujoco = pytest.importorskip("mujoco")

from score_rl.cli.main import parse  # noqa: E402
from score_rl.contracts import ArraySpec  # noqa: E402
from score_rl.core.errors import ScoreError  # noqa: E402
from score_rl.core.runs import start_run  # noqa: E402
from score_rl.data.dataset import load_dataset  # noqa: E402
from score_rl.data.writer import DatasetWriter  # noqa: E402
from score_rl.report.view import opening  # noqa: E402
from score_rl.report.view.drawing import Drawing, body_meshes  # noqa: E402
from score_rl.report.view.page import Page, caption  # noqa: E402
from score_rl.report.view.settings import ViewConfig  # noqa: E402
from score_rl.report.view.shows import Dialled, Live, Recorded, Shot, Still  # noqa: E402
from score_rl.sim.domain import Physics  # noqa: E402
from score_rl.sim.scene import scene_spec  # noqa: E402
from score_rl.sim.task import get_task  # noqa: E402
from score_rl.steering.config import Stage, SteerConfig  # noqa: E402
from score_rl.steering.latent import LatentConfig  # noqa: E402
from score_rl.steering.loop import steer  # noqa: E402
from score_rl.steering.policy import compulsory_deciders  # noqa: E402
from score_rl.steering.ppo import PPOConfig  # noqa: E402

CONFIG = SteerConfig(execute_steps=4, decisions=4, ppo=PPOConfig(hidden=(8,), epochs=1, minibatches=1))

SCENE = """<mujoco><worldbody>
<geom type="plane" size="0 0 1" rgba="0.5 0.5 0.5 1"/>
<body name="cart" pos="0 0 0.1"><joint type="slide" axis="1 0 0"/>
<geom type="box" size="0.1 0.2 0.3" pos="0 0 1" rgba="1 0 0 1"/>
<geom type="sphere" size="0.1" rgba="1 0 0 1"/>
<geom type="capsule" size="0.1 0.2" rgba="0 0 1 0.5"/>
<geom type="box" size="1 1 1" group="4"/>
</body></worldbody></mujoco>"""


class SeenToy(ToyWorld):
    """The toy as a cart on rails."""

    model = mujoco.MjModel.from_xml_string(SCENE)

    def qpos(self) -> np.ndarray:
        return self.position[:, None].double().numpy().copy()


def live(dial: float = 0.0) -> tuple[Live, Dialled]:
    policy = ToyPolicy()
    dialled = Dialled(policy, LatentConfig("subspace", 1))
    dialled.dials[:] = dial
    deciders = {**compulsory_deciders(policy), "sliders": dialled}
    return Live(SeenToy(3), deciders, 4), dialled


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_scene_is_a_mesh_per_body_and_colour() -> None:
    meshes = {(mesh.body, mesh.color): mesh for mesh in body_meshes(SeenToy.model)}
    assert set(meshes) == {(0, (128, 128, 128)), (1, (255, 0, 0)), (1, (0, 0, 255))}  # nothing of group 4
    red, blue = meshes[1, (255, 0, 0)], meshes[1, (0, 0, 255)]
    np.testing.assert_allclose(red.vertices.max(0), [0.1, 0.2, 1.3], atol=1e-3)  # the box 1 m above the sphere
    np.testing.assert_allclose(red.vertices.min(0), [-0.1, -0.2, -0.1], atol=1e-3)
    np.testing.assert_allclose(np.abs(blue.vertices).max(0)[2], 0.3, atol=1e-3)
    assert (red.opacity, blue.opacity) == (1.0, 0.5)
    drawing = Drawing(SeenToy.model)
    position, quaternion = drawing.poses(np.array([0.7]))
    np.testing.assert_allclose(position, [[0, 0, 0], [0.7, 0, 0.1]])
    np.testing.assert_allclose(quaternion[1], [1, 0, 0, 0])


def test_the_robots_scene_can_be_drawn() -> None:
    model = scene_spec(get_task("pinch_cube"), Physics()).compile()
    assert len({mesh.body for mesh in body_meshes(model)}) > 20


def test_lanes_see_the_same_episode_and_stop_where_they_end() -> None:
    """z = 0 goes right; a slow mode of -3 goes left. One of them is right about the goal."""
    show, _ = live(dial=-3.0)
    shots = list(show.episode(0))
    assert show.lanes == ("base", "base_z0", "sliders") and len(shots) == 17
    start, end = shots[0], shots[-1]
    assert start[0].qpos == start[1].qpos == start[2].qpos
    assert end[1].qpos > start[1].qpos > end[2].qpos
    assert {end[1].outcome, end[2].outcome} == {"success", "failed"}
    winner = next(lane for lane in (1, 2) if end[lane].outcome == "success")
    first = next(k for k, shot in enumerate(shots) if shot[winner].outcome)
    assert all(shot[winner] == shots[first][winner] for shot in shots[first:])  # it stays as it was
    assert abs(end[winner].qpos[0]) == pytest.approx(0.1 * (first - 1), abs=0.06)  # before the reset
    assert shots[3][0].time_s == pytest.approx(0.3) and shots[3][0].force_n is not None


def test_a_dialled_latent_has_its_coordinates_and_nothing_else() -> None:
    dialled = Dialled(ToyPolicy(), LatentConfig("subspace", 2))
    dialled.dials[1] = 2.0
    assert dialled.names == ["push, mode 0", "push, mode 1"]
    window = {"state": torch.zeros(1, 2, 2), "command": torch.zeros(1, 2, 1)}
    latent = dialled.decide(window, torch.randn(1, 4, 1)).latent
    np.testing.assert_allclose(dialled.map.coordinates(latent), [[0.0, 2.0]], atol=1e-6)
    assert latent.norm().item() == pytest.approx(2.0)


def test_demonstrations_are_played_with_their_objects(tmp_path: Path) -> None:
    task = get_task("pinch_cube")
    model = scene_spec(task, Physics()).compile()
    joints = len(task.robot.joint_names)
    features = {"observation.state": ArraySpec((joints,)), "observation.object_pose": ArraySpec((7,))}
    writer = DatasetWriter(tmp_path, 10, features | {"action": ArraySpec((joints,))}, "toy")
    pose = np.array([[0.5, 0.1, 0.2, 1, 0, 0, 0]] * 3, np.float32)
    state = np.linspace(0, 0.2, 3 * joints, dtype=np.float32).reshape(3, joints)
    writer.add_episode({"observation.state": state, "observation.object_pose": pose, "action": state}, "toy")
    writer.finalize()
    show = Recorded(load_dataset(tmp_path), task, model)
    shots = [shot for (shot,) in show.episode(1)]  # the only episode, again
    assert [shot.outcome for shot in shots] == ["", "", "end"]
    position, _ = (drawing := Drawing(model)).poses(shots[1].qpos)
    cube = drawing.bodies.index(model.body(task.objects[0].name).id)
    np.testing.assert_allclose(position[cube], [0.5, 0.1, 0.2], atol=1e-6)
    assert shots[1].qpos[model.joint(task.robot.joint_names[3]).qposadr[0]] == state[1, 3]


def test_poses_that_are_none_are_refused(tmp_path: Path) -> None:
    task = get_task("pinch_cube")
    joints = len(task.robot.joint_names)
    features = {f"observation.{key}": ArraySpec((size,)) for key, size in (("state", joints), ("object_pose", 3))}
    writer = DatasetWriter(tmp_path, 10, features | {"action": ArraySpec((joints,))}, "toy")
    state = np.zeros((3, joints), np.float32)
    writer.add_episode({"observation.state": state, "observation.object_pose": state[:, :3], "action": state}, "toy")
    writer.finalize()
    model = scene_spec(task, Physics()).compile()
    with pytest.raises(ScoreError, match=r"'observation\.object_pose' has shape \(3,\), expected \(7,\)"):
        Recorded(load_dataset(tmp_path), task, model)


def test_a_page_moves_its_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    show, dialled = live()
    page = Page(show, ViewConfig(port=0), dialled)
    try:
        slept: list[float] = []
        ticks = (0.03 * k for k in itertools.count())  # drawing takes 0.03 s
        page.play(1, slept.append, lambda: next(ticks))
        cart = page.drawing.bodies.index(1)
        shots = list(show.episode(0))
        for lane, shot in zip(page.lanes, shots[-1]):
            np.testing.assert_allclose(lane.frames[cart].position, [shot.qpos[0], 0, 0.1], atol=1e-6)
            assert lane.label.text == caption(lane.name, shot)
            assert caption(lane.name, shot) in page.captions.content
        assert 0.05 < slept[5] <= 0.1  # in the time that it takes
        assert slept[5] == pytest.approx(0.07)
        assert page.episode.value == 1  # the next one follows
        page.advance.value = False
        page.play(1, slept.append)
        assert page.episode.value == 1
    finally:
        page.close()


def test_names_on_the_command_line_become_lanes(tmp_path: Path) -> None:
    run = start_run(tmp_path / "steering", "steer", CONFIG, {})
    steer(ToyPolicy(), [Stage(ToyWorld(4), 1)], CONFIG, run)
    where = ("toys:ToyPolicy", tmp_path / "steering", "generic", "test_view:SeenToy", 0, 5)
    show, dialled = opening.open_policies(*where)
    assert show.lanes == ("base", "base_z0", "score_det", "sliders") and show.deciders["sliders"] is dialled
    assert (show.steps, show.world.spec.num_envs, show.seed) == (4, 4, 5)
    task = opening.open_task("pinch_cube", "twin", 0, 3)
    (shot,) = next(task.episode(0))
    assert shot.qpos.shape == (task.model.nq,)


@pytest.mark.parametrize("host", ["999.1.1.1", "no such host", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_one_message(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    if host != "192.0.2.1":  # names are not looked up: there may be no network
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    show, dialled = live()
    with pytest.raises(ScoreError, match=f"cannot listen on {host}:8080: "):
        Page(show, ViewConfig(host=host), dialled)


def test_captions_say_what_is_known() -> None:
    assert caption("base", Shot(np.zeros(1), 3.21)) == "base  3.2 s"
    assert caption("base", Shot(np.zeros(1), 3.21, 11.6, "success")) == "base  3.2 s  12 N  success"


def test_what_cannot_be_shown_is_refused_before_any_work() -> None:
    with pytest.raises(ScoreError, match="either a policy or demonstrations"):
        parse(["view", "--policy", "runs/base", "--dataset", "runs/demonstrations"]).run()
    with pytest.raises(ScoreError, match="together with its base policy"):
        parse(["view", "--steering", "runs/steering"]).run()
    with pytest.raises(ScoreError, match="toy cannot be drawn"):
        Still(ToyWorld(1))


@pytest.mark.slow
def test_a_real_browser_shows_it() -> None:
    """Chromium, headless: the scene is drawn, captions and controls are there, and a slider moves its lane."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    imageio = pytest.importorskip("imageio.v3", reason="needs imageio")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium")
    show, dialled = live()
    page = Page(show, ViewConfig(port=0), dialled)
    player = threading.Thread(target=page.play, daemon=True)
    player.start()
    try:
        with playwright.sync_playwright() as p:
            how = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
            browser = p.chromium.launch(executable_path=chromium, args=how)
            tab = browser.new_page(viewport={"width": 900, "height": 500})
            tab.goto(page.url)
            button = tab.get_by_role("button", name="Next episode")
            button.wait_for(timeout=60_000)
            for lane in show.lanes:
                tab.get_by_text(lane, exact=False).first.wait_for(timeout=60_000)
            before = page.episode.value
            button.click()
            tab.get_by_role("slider").last.press("ArrowLeft")
            wait_for(lambda: page.episode.value > before and dialled.dials[0] == pytest.approx(-0.05))
            red, green, blue = np.moveaxis(imageio.imread(tab.screenshot())[..., :3].astype(int), -1, 0)
            assert ((red > 120) & (green < 90) & (blue < 90)).sum() > 100  # the carts
            browser.close()
    finally:
        page.close()
        player.join(10)
        assert not player.is_alive()
