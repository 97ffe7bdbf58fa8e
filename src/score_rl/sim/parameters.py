"""Domain parameters: the quantities in which simulated robots and objects may differ, each in one record.

Whoever owns a quantity declares it: a robot its joints' errors (`arm.*`, `hand.*`, `robot.*`: `Robot.parameters`),
a task its objects (`cube.friction`; see `TaskObject`), this file what surrounds them (`contact.*`, `table.*`,
`camera.*`). Bounds, priors of calibration, units of the audit and the table in docs/domains.md all come from the
record. A name is `owner.quantity`; `object.QUANTITY` in a domain means every object of the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from score_rl.core.errors import unknown_choice

OBJECT = "object"
"""Owner that stands for every object of a task."""
XYZ, SCALAR = 3, 1
FACES = ("-x", "+x", "-y", "+y", "-z", "+z")
"""Faces of a box, in the order in which parameters count them."""


@dataclass(frozen=True)
class Prior:
    """What the owner of such a robot assumes, from data sheets and experience, before anything was measured."""

    mean: float
    sd: float
    """Standard deviation of a normal belief about every element."""
    reason: str
    """Where the figures come from."""
    floor: float = 0.0
    """Standard deviation that a fit cannot see, however many demonstrations there are, in quadrature."""


@dataclass(frozen=True)
class AuditUnit:
    """Size 1 of a mismatch in the audit: about what a careful owner of a robot leaves open."""

    kind: Literal["more", "shift", "factor", "finer"]
    """more: the unit is added, one sided. shift: added with either sign, normally distributed per joint or axis.
    factor: multiplied or divided by 1 + unit per size. finer: the physics step is divided by 1 + unit x size."""
    unit: float
    """In the parameter's unit."""


@dataclass(frozen=True)
class Parameter:
    """One quantity in which simulated robots or objects may differ."""

    name: str
    """`owner.quantity`, with the unit as suffix where there is one."""
    size: int
    """Number of values: 1, 3 (x, y, z), or one per joint of the owner."""
    nominal: float
    """Value where a domain says nothing."""
    low: float
    """Smallest value that makes physical sense; draws are clipped to the bounds."""
    high: float
    """Largest value that makes physical sense."""
    meaning: str
    """One line for people, with units and frame."""
    prior: Prior | None = None
    """What calibration starts from; None: it does not estimate this."""
    audit: AuditUnit | None = None
    """What the audit varies; None: nothing."""
    stream: str = ""
    """Key of its random streams; by default the name. It stays when a parameter is renamed."""
    told: bool = True
    """Whether a privileged critic is told of it. Those that are not stand behind all others."""

    @property
    def owner(self) -> str:
        """What it belongs to."""
        return self.name.split(".")[0]

    @property
    def quantity(self) -> str:
        """What of its owner it is."""
        return self.name.split(".")[1]

    @property
    def key(self) -> str:
        """Key of its random streams."""
        return self.stream or self.name


SURROUNDINGS = (
    Parameter(
        "contact.time_constant_s", SCALAR, 0.02, 0.002, 0.1,
        "contact softness: time constant of penetration (MuJoCo solref[0])",
        audit=AuditUnit("factor", 0.40),
        stream="contact_time_constant_s",
    ),
    Parameter(
        "table.height_m", SCALAR, 0, -0.05, 0.05,
        "true table height in the robot base frame",
        prior=Prior(0.0, 0.003, "a table set up with a ruler", floor=0.001),
        audit=AuditUnit("shift", 0.002),
        stream="table_height_m",
    ),
    Parameter(
        "camera.position_bias_m", XYZ, 0, -0.05, 0.05,
        "observed minus true object position, base frame",
        prior=Prior(0.0, 0.005, "hand-eye calibration: millimetres", floor=0.0015),
        audit=AuditUnit("shift", 0.003),
        stream="camera_position_bias_m",
    ),
    Parameter(
        "camera.yaw_bias_rad", SCALAR, 0, -0.5, 0.5,
        "rotation of the observed scene about the base's z",
        prior=Prior(0.0, 0.015, "hand-eye calibration: under a degree", floor=0.003),
        audit=AuditUnit("shift", 0.010),
        stream="camera_yaw_bias_rad",
    ),
)  # fmt: skip
"""Systematic errors of what stands around the robot."""

JITTER = (
    Parameter(
        "camera.position_jitter_m", SCALAR, 0, 0, 0.05,
        "standard deviation, per frame, of an object's position estimate",
        audit=AuditUnit("more", 0.002),
        stream="object_position_jitter_m",
    ),
    Parameter(
        "camera.rotation_jitter_rad", SCALAR, 0, 0, 0.5,
        "the same for its rotation vector",
        audit=AuditUnit("more", 0.020),
        stream="object_rotation_jitter_rad",
    ),
)  # fmt: skip
"""Noise of what the camera reports."""

DEPTH = (
    Parameter(
        "camera.cloud_shift_m", XYZ, 0, -0.05, 0.05,
        "shift of point clouds beyond that of poses: the depth camera's own error of place, base frame",
        audit=AuditUnit("shift", 0.002),
        told=False,
    ),
    Parameter(
        "camera.cloud_turn_rad", XYZ, 0, -0.2, 0.2,
        "turn of point clouds about the point that the camera is aimed at, rotation vector, base frame",
        prior=Prior(0.0, 0.015, "hand-eye calibration: under a degree", floor=0.003),
        audit=AuditUnit("shift", 0.005),
        told=False,
    ),
    Parameter(
        "camera.depth_noise_m", SCALAR, 0, 0, 0.05,
        "standard deviation of the depth of every pixel",
        audit=AuditUnit("more", 0.002),
        told=False,
    ),
    Parameter(
        "camera.depth_drift_m", SCALAR, 0, 0, 0.05,
        "the same of an offset that all pixels of one image share",
        audit=AuditUnit("more", 0.002),
        told=False,
    ),
    Parameter(
        "camera.dropout_share", SCALAR, 0, 0, 0.95,
        "share of pixels without depth",
        audit=AuditUnit("more", 0.10),
        told=False,
    ),
    Parameter(
        "camera.flying_share", SCALAR, 0, 0, 1,
        "share of pixels whose depth is mixed with that of a pixel beside them: at edges, points fly between",
        audit=AuditUnit("more", 0.20),
        told=False,
    ),
)  # fmt: skip
"""Errors of a depth camera, see `sim.camera`; whoever looks at no clouds has no use for them."""

OBJECT_QUANTITIES = {
    parameter.quantity: parameter
    for parameter in (
        Parameter(
            "object.mass_scale", SCALAR, 1, 0.1, 10,
            "factor on the mass of the object",
            audit=AuditUnit("factor", 0.25),
            stream="object_mass_scale",
        ),
        Parameter(
            "object.friction", SCALAR, 0.8, 0.05, 3,
            "sliding friction of every contact of the object",
            audit=AuditUnit("factor", 0.20),
            stream="object_friction",
        ),
        Parameter(
            "object.size_scale", SCALAR, 1, 0.7, 1.4,
            "factor on the size of the object",
            audit=AuditUnit("factor", 0.02),
            stream="object_size_scale",
        ),
        Parameter(
            "object.com_offset_m", XYZ, 0, -0.05, 0.05,
            "centre of mass from where its density puts it, in the frame of the object's first body",
            told=False,
        ),
        Parameter(
            "object.face_friction_scale", len(FACES), 1, 0.1, 10,
            f"factor on the sliding friction of each face ({', '.join(FACES)}) of an object that is one thick box",
            told=False,
        ),
    )
}  # fmt: skip
"""Quantity -> parameter of every object of a task."""


class Parameters(Mapping[str, Parameter]):
    """All parameters of a task: its robot's, its surroundings', its objects', and a fixed order of all their numbers.

    Iterates over what an episode has a value of. `general` holds the names by which a domain speaks of any task:
    objects together (`object.friction`) rather than one by one. The order is that of an episode's draws and of the
    critic's scores; an object behind the first comes after all else that the critic is told, so that adding one
    changes nothing before it. What the critic is not told of objects comes last, quantity by quantity, so that a new
    one leaves the draws of all others alone.
    """

    def __init__(self, robot: Sequence[Parameter], objects: Mapping[str, Sequence[str]]) -> None:
        """robot: what the robot declares; objects: name -> quantities, in the task's order."""
        first, *others = [_of_object(name, quantities) for name, quantities in objects.items()] or [()]
        systematic = tuple(parameter for parameter in robot if parameter.told and "jitter" not in parameter.quantity)
        noise = tuple(parameter for parameter in robot if parameter.told and "jitter" in parameter.quantity)
        of_others = tuple(parameter for other in others for parameter in other)
        ordered = (*systematic, *SURROUNDINGS, *_told(first), *JITTER, *noise, *_told(of_others), *DEPTH)
        quantities = list(OBJECT_QUANTITIES)
        untold = [parameter for parameter in (*first, *of_others) if not parameter.told]
        ordered += tuple(parameter for parameter in robot if not parameter.told)
        ordered += tuple(sorted(untold, key=lambda parameter: quantities.index(parameter.quantity)))
        self._table = {parameter.name: parameter for parameter in ordered}
        used = {quantity for quantities in objects.values() for quantity in quantities}
        shared = [parameter for quantity, parameter in OBJECT_QUANTITIES.items() if quantity in used]
        general = (*systematic, *SURROUNDINGS, *_told(shared), *JITTER, *noise, *DEPTH)
        general += tuple(parameter for parameter in (*robot, *shared) if not parameter.told)
        self.general = {parameter.name: parameter for parameter in general}
        """Name -> parameter, all objects of the task together."""
        self._objects = frozenset(objects)
        sizes = [parameter.size for parameter in ordered]
        ends = np.cumsum(sizes).tolist()
        self.slices = {p.name: slice(end - p.size, end) for p, end in zip(ordered, ends)}
        """Where a parameter's numbers are among those of all parameters."""
        self.count = ends[-1]
        """Numbers in all parameters together."""
        self.told = sum(parameter.size for parameter in ordered if parameter.told)
        """Numbers that a privileged critic is told, the first of them."""
        self.low, self.high = (
            np.repeat([float(getattr(parameter, bound)) for parameter in ordered], sizes) for bound in ("low", "high")
        )

    def __getitem__(self, name: str) -> Parameter:
        return self._table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def find(self, name: str) -> Parameter:
        """The parameter that a domain calls by this name, its own or a general one.

        Raises ScoreError for an unknown name.
        """
        found = self._table.get(name) or self.general.get(name)
        if found is None:
            raise unknown_choice("parameter", name, {**self.general, **self._table})
        return found

    def nominal(self) -> dict[str, np.ndarray]:
        """{name: (size,)} of the nominal robot and objects."""
        return {name: np.full(parameter.size, float(parameter.nominal)) for name, parameter in self.items()}

    def members(self, name: str) -> tuple[str, ...]:
        """The objects' own parameters that a general name stands for; none for what is no object's."""
        return tuple(own for own in self if own != name and self.general_name(own) == name)

    def general_name(self, name: str) -> str:
        """The name by which a domain speaks of this quantity of all objects; other names are themselves general."""
        parameter = self._table.get(name)
        return f"{OBJECT}.{parameter.quantity}" if parameter and parameter.owner in self._objects else name


def _told(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    return tuple(parameter for parameter in parameters if parameter.told)


def _of_object(name: str, quantities: Sequence[str]) -> tuple[Parameter, ...]:
    return tuple(
        replace(OBJECT_QUANTITIES[quantity], name=f"{name}.{quantity}", stream="") for quantity in quantities
    )
