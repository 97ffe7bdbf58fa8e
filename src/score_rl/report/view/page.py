"""The browser's side: a viser server that draws a `Show` and lets people steer it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import viser

from score_rl.core.errors import ScoreError
from score_rl.report.view.drawing import Drawing
from score_rl.report.view.settings import ViewConfig
from score_rl.report.view.shows import Dialled, Shot, Show

LANE_WIDTH = 1.8
"""Between two scenes that stand side by side, m."""
NEWTONS_PER_METRE = 100.0
"""Scale of the arrow that shows a force."""
PAUSE_S = 1.0
"""Between the end of an episode and the next."""
MOST_DIALS = 46
"""Sliders that a page shows; further coordinates stay 0."""
ANCHOR = np.array([0.45, 0.0, 0.75])
"""Where a lane's caption and its force stand, m."""


@dataclass
class _Lane:
    """What is redrawn of one lane."""

    frames: list[viser.FrameHandle]
    """One per drawn body."""
    label: viser.LabelHandle
    """Its caption, over the scene."""
    name: str


class Page:
    """Draws a show and what people ask for, until it is closed."""

    def __init__(self, show: Show, config: ViewConfig, dialled: Dialled | None = None) -> None:
        """Serve at once. dialled: the decider whose latent the sliders set. Raises ScoreError where the address is
        taken."""
        self.show, self.config, self.drawing = show, config, Drawing(show.model)
        try:
            # Where it cannot listen, viser itself would wait for ever.
            (family, *_), *_ = socket.getaddrinfo(config.host, 0, type=socket.SOCK_STREAM)
            socket.create_server((config.host, 0), family=family).close()
            self.server = viser.ViserServer(host=config.host, port=config.port, label="SCORE", verbose=False)
        except OSError as error:
            raise ScoreError(f"cannot listen on {config.host}:{config.port}: {error.strerror or error}") from error
        self.number, self._next = 0, False
        self._closed, self._drawing = threading.Event(), threading.Lock()
        self.lanes = [self._add_lane(k, name) for k, name in enumerate(show.lanes)]
        self._add_controls()
        if dialled is not None:
            self._add_dials(dialled)
        middle = LANE_WIDTH * (len(show.lanes) - 1) / 2
        self.server.initial_camera.position = (2.2, -middle - 1.4, 1.3)
        self.server.initial_camera.look_at = (0.4, -middle, 0.2)

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{self.config.host}:{self.server.get_port()}"

    def close(self) -> None:
        """Stop playing and serving."""
        self._closed.set()
        with self._drawing:
            self.server.stop()

    def play(
        self,
        episodes: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show episodes, so many or until the page is closed, in the time that they take by the clock `now`."""
        shown = 0
        while not self._closed.is_set() and (episodes is None or shown < episodes):
            self._play_one(sleep, now)
            shown += 1

    def _play_one(self, sleep: Callable[[float], None], now: Callable[[], float]) -> None:
        self._next, self.number = False, int(self.episode.value)
        for shots in self.show.episode(self.number):
            began = now()
            with self._drawing:
                if self._closed.is_set():
                    return
                self.draw(shots)
            while self.paused.value and not self._next and not self._closed.is_set():
                sleep(0.05)
            if self._next or self._closed.is_set():
                return
            sleep(max(0.0, self.show.period_s / self.speed.value - (now() - began)))
        sleep(PAUSE_S)
        if not self._next and not self._closed.is_set() and self.advance.value:
            self.episode.value = self.number + 1

    def draw(self, shots: Sequence[Shot]) -> None:
        """Move everything to where it is in these shots, one per lane."""
        with self.server.atomic():
            self.captions.content = "\n\n".join(caption(lane.name, shot) for lane, shot in zip(self.lanes, shots))
            for k, (lane, shot) in enumerate(zip(self.lanes, shots)):
                for frame, position, quaternion in zip(lane.frames, *self.drawing.poses(shot.qpos)):
                    frame.position, frame.wxyz = position, quaternion
                lane.label.text = caption(lane.name, shot)
                self._draw_force(k, shot.force_n)
                for key, points in shot.clouds.items():
                    name = f"/lane{k}/clouds/{key}"
                    self.server.scene.add_point_cloud(name, points, (40, 90, 200), point_size=0.006)

    def _add_lane(self, k: int, name: str) -> _Lane:
        scene = self.server.scene
        scene.add_frame(f"/lane{k}", show_axes=False, position=(0.0, -LANE_WIDTH * k, 0.0))
        frames = [scene.add_frame(f"/lane{k}/body{body}", show_axes=False) for body in self.drawing.bodies]
        for number, mesh in enumerate(self.drawing.meshes):
            scene.add_mesh_simple(
                f"/lane{k}/body{mesh.body}/mesh{number}",
                mesh.vertices,
                mesh.faces,
                color=mesh.color,
                opacity=None if mesh.opacity == 1 else mesh.opacity,
                flat_shading=True,
            )
        label = scene.add_label(f"/lane{k}/caption", name, position=tuple(ANCHOR), anchor="bottom-center")
        return _Lane(frames, label, name)

    def _draw_force(self, k: int, force_n: float | None) -> None:
        if force_n is None:
            return
        tip = ANCHOR + np.array([0.0, 0.0, -max(force_n, 1e-3) / NEWTONS_PER_METRE])
        arrow = np.stack([ANCHOR, tip])[None]
        how = {"shaft_radius": 0.008, "head_radius": 0.018, "head_length": 0.03}
        self.server.scene.add_arrows(f"/lane{k}/force", arrow, (220, 50, 40), **how)

    def _add_controls(self) -> None:
        gui = self.server.gui
        self.captions = gui.add_markdown("")
        self.paused = gui.add_checkbox("Pause", False)
        self.speed = gui.add_slider("Speed", 0.1, 4.0, 0.1, 1.0)
        self.episode = gui.add_number("Episode", 0, min=0, step=1)
        self.advance = gui.add_checkbox("Then the next episode", True)
        gui.add_button("Play again").on_click(lambda _: self._skip(0))
        gui.add_button("Next episode").on_click(lambda _: self._skip(1))
        self.episode.on_update(lambda event: self._skip(0) if event.client is not None else None)

    def _skip(self, by: int) -> None:
        if by:
            self.episode.value = self.number + by
        self._next = True

    def _add_dials(self, dialled: Dialled) -> None:
        """A slider per coordinate of the latent that steering chooses."""

        def turn(k: int, value: float) -> None:
            dialled.dials[k] = value

        with self.server.gui.add_folder("Latent of the lane 'sliders'"):
            sliders = []
            for k, name in enumerate(dialled.names[:MOST_DIALS]):
                bound = dialled.map.config.bound
                slider = self.server.gui.add_slider(name, -bound, bound, 0.05, 0.0)
                slider.on_update(lambda event, k=k: turn(k, float(event.target.value)))
                sliders.append(slider)

            @self.server.gui.add_button("All to 0").on_click
            def _(_: object) -> None:
                for k, slider in enumerate(sliders):
                    slider.value = 0.0
                    turn(k, 0.0)


def caption(name: str, shot: Shot) -> str:
    """What stands over a lane, e.g. "score_det  3.2 s  12 N  success"."""
    parts = [name, f"{shot.time_s:.1f} s"]
    parts += [f"{shot.force_n:.0f} N"] if shot.force_n is not None else []
    return "  ".join([*parts, shot.outcome]).rstrip()
