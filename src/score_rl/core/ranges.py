"""The range of a number, declared at its field: `steps: Annotated[int, Range(1)] = 6000`.

`core.records` reads it wherever a record is parsed or settings are validated, and the command line shows it in
`--help`. Without a range every finite number is accepted; NaN and infinities never are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class Range:
    """Accepted values of a number, the ends included unless they are named `open`."""

    low: float = -math.inf
    """Smallest value; none by default."""
    high: float = math.inf
    """Largest value; none by default."""
    open: Literal["", "low", "high", "both"] = ""
    """Ends that are excluded."""

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open in ("low", "both") else value >= self.low
        below = value < self.high if self.open in ("high", "both") else value <= self.high
        return above and below

    def __str__(self) -> str:
        """As in errors and help texts.

        >>> str(Range(1)), str(Range(0, open="low")), str(Range(0, 1)), str(Range(0, 1, "high"))
        ('>= 1', '> 0', '0 to 1', '>= 0 and < 1')
        """
        low = f"{'>' if self.open in ('low', 'both') else '>='} {_text(self.low)}" if self.low > -math.inf else ""
        high = f"{'<' if self.open in ('high', 'both') else '<='} {_text(self.high)}" if self.high < math.inf else ""
        if low and high and not self.open:
            return f"{_text(self.low)} to {_text(self.high)}"
        return " and ".join(end for end in (low, high) if end) or "any finite number"


def _text(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:.15g}"


@dataclass(frozen=True)
class Length(Range):
    """Accepted numbers of entries of a list: `Annotated[tuple[Count, ...], Length(1)]`."""


Count = Annotated[int, Range(1)]
"""How many: at least 1."""
Natural = Annotated[int, Range(0)]
"""A whole number from 0 on."""
Seed = Annotated[int, Range(0, 2**53)]
"""A seed: exact in JSON on every machine."""
Positive = Annotated[float, Range(0, open="low")]
"""A number above 0."""
NonNegative = Annotated[float, Range(0)]
"""A number from 0 on."""
Share = Annotated[float, Range(0, 1)]
"""A share or probability."""
Width = Annotated[int, Range(1, 16_384)]
"""Width of a hidden layer."""
Batch = Annotated[int, Range(1, 1 << 20)]
"""Rows of one training step."""
Envs = Annotated[int, Range(1, 1_000_000)]
"""Environments that run side by side."""
