"""Videos and strips of frames of recorded episodes, drawn in a process of its own.

An OpenGL driver that is missing or broken can end a process rather than raise, and MuJoCo chooses its driver on
import. So the parent starts `python -m score_rl.report.video`, and whatever happens there is one message.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

WIDTH, HEIGHT, STRIDE, FRAMES_PER_SECOND = 400, 352, 2, 10
CHILD_TIMEOUT_S = 300
STRIP_WIDTH, STRIP_HEIGHT, STRIP_BYTES = 200, 176, 60_000
"""Of one frame of a strip, and how large the whole picture may be."""


def render_videos(task: str, clips: Mapping[str, np.ndarray]) -> tuple[dict[str, bytes], str]:
    """(name -> MP4 bytes, why there are none): clips are name -> (T, nq) configurations of the task's scene.

    Never raises for a machine without OpenGL; the reason is one line for people.
    """
    with tempfile.TemporaryDirectory(prefix="score-videos-") as folder:
        directory = Path(folder)
        np.savez(directory / "clips.npz", **clips)
        failure = _run_child([sys.executable, "-m", __name__, task, str(directory)])
        videos = {name: (directory / f"{name}.mp4") for name in clips}
        if failure:
            return {}, failure
        return {name: path.read_bytes() for name, path in videos.items()}, ""


def render_strip(task: str, frames: np.ndarray) -> tuple[bytes, str]:
    """(JPEG bytes, why there are none) of configurations (k, nq) of a task's scene, side by side."""
    with tempfile.TemporaryDirectory(prefix="score-strip-") as folder:
        directory = Path(folder)
        np.savez(directory / "clips.npz", strip=frames)
        failure = _run_child([sys.executable, "-m", __name__, task, str(directory), "--strip"])
        return (b"", failure) if failure else ((directory / "strip.jpg").read_bytes(), "")


def check_gl() -> str:
    """Why this machine cannot draw pictures; empty where it can. Draws one small picture in another process."""
    return _run_child([sys.executable, "-m", __name__, "--check"])


def _run_child(command: Sequence[str]) -> str:
    """Run with a headless driver; returns the reason of failure, empty on success."""
    driver = os.environ.get("MUJOCO_GL") or ("egl" if sys.platform == "linux" else "")
    environment = {**os.environ, **({"MUJOCO_GL": driver} if driver else {})}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"drawing failed: {error}"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    detail = lines[-1] if lines else f"exit status {done.returncode}"
    return f"no OpenGL ({driver or 'default driver'}): {detail}"


def draw(task: str, directory: Path) -> None:
    """In the child: write NAME.mp4 for every clip of clips.npz."""
    import imageio.v2 as imageio

    with np.load(directory / "clips.npz") as clips:
        for name, path in clips.items():
            imageio.mimwrite(
                directory / f"{name}.mp4",
                list(pictures(task, path[::STRIDE], HEIGHT, WIDTH)),
                fps=FRAMES_PER_SECOND,
                codec="libx264",
                quality=6,
                macro_block_size=16,
            )


def draw_strip(task: str, directory: Path) -> None:
    """In the child: write strip.jpg, the frames of clips.npz side by side, as well as the bytes allow."""
    import imageio.v2 as imageio

    with np.load(directory / "clips.npz") as clips:
        strip = np.concatenate(list(pictures(task, clips["strip"], STRIP_HEIGHT, STRIP_WIDTH)), axis=1)
    path, quality = directory / "strip.jpg", 95
    imageio.imwrite(path, strip, quality=quality)
    while path.stat().st_size > STRIP_BYTES:
        quality -= 5
        imageio.imwrite(path, strip, quality=quality)


def pictures(task: str, path: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
    """(height, width, 3) uint8 of every configuration (nq,) of a path."""
    import mujoco

    from score_rl.sim.domain import Physics
    from score_rl.sim.scene import scene_spec
    from score_rl.sim.task import get_task

    spec = scene_spec(get_task(task), Physics())
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.93, 0.95, 0.96],
        rgb2=[0.80, 0.84, 0.87],
        width=256,
        height=256,
    )
    for light in spec.lights:
        light.diffuse = 0.8 * light.diffuse
    model = spec.compile()
    model.vis.quality.shadowsize, model.vis.quality.offsamples = 1024, 0  # 6 times faster where the CPU draws
    data = mujoco.MjData(model)
    camera = viewpoint(mujoco.MjvCamera())
    with mujoco.Renderer(model, height, width) as renderer:
        for qpos in path:
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            yield renderer.render()


def viewpoint(camera: object) -> object:
    """A camera in front of the robot that sees the table and the goal."""
    camera.lookat[:] = (0.42, 0.0, 0.22)  # type: ignore[attr-defined]
    camera.distance, camera.azimuth, camera.elevation = 1.3, 140.0, -16.0  # type: ignore[attr-defined]
    return camera


def draw_check() -> None:
    """In the child: one small picture, which must not be empty."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><light pos='0 0 2'/><geom type='sphere' size='0.3'/></worldbody></mujoco>"
    )
    with mujoco.Renderer(model, 32, 32) as renderer:
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        renderer.update_scene(data)
        if not renderer.render().any():
            raise RuntimeError("the picture is empty")


if __name__ == "__main__":
    try:
        if sys.argv[1] == "--check":
            draw_check()
        else:
            (draw_strip if "--strip" in sys.argv else draw)(sys.argv[1], Path(sys.argv[2]))
    except Exception as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", file=sys.stderr)
        sys.exit(1)
