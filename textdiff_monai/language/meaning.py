"""What a caption says: the target it asks for, where that is, where it is not, and how many."""

from __future__ import annotations

from dataclasses import dataclass, field

SIDES = ("left", "right")
ZONES = ("upper", "middle", "lower")
_MIRROR = {"left": "right", "right": "left"}
OPACITY, LUNG, NUCLEI = "lung opacity", "lung", "nuclei"


@dataclass(frozen=True, order=True)
class Finding:
    """One infected area: a third (`zone`) of the height of one lung (`side`, the patient's)."""

    side: str
    zone: str

    def __post_init__(self) -> None:
        if self.side not in SIDES or self.zone not in ZONES:
            raise ValueError(f"side must be one of {SIDES} and zone one of {ZONES}, got {self.side!r}, {self.zone!r}")

    @property
    def mirrored(self) -> Finding:
        """The same zone of the other lung."""
        return Finding(_MIRROR[self.side], self.zone)


ALL_FINDINGS = tuple(Finding(side, zone) for side in SIDES for zone in ZONES)


@dataclass(frozen=True)
class Meaning:
    """What one caption says.

    Attributes:
        target: what is asked for: "lung opacity", "lung", "nuclei", a name of ``rules/targets.txt``, or "" for nothing.
        found: zones of a chest film that are said to hold the target.
        free: zones that are said not to.
        side: "left", "right", "both" or "", of any target but zones.
        level: "upper", "middle", "lower" or "", likewise; "middle" is the centre of an image without sides.
        present: False where the target is denied altogether.
        count: the number of areas that is named; 0 for none.
    """

    target: str = ""
    found: frozenset[Finding] = field(default_factory=frozenset)
    free: frozenset[Finding] = field(default_factory=frozenset)
    side: str = ""
    level: str = ""
    present: bool = True
    count: int = 0
