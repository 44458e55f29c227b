"""What a check of the machine found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "broken"]


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found; `fix` is empty where nothing needs mending."""

    name: str
    status: Status
    found: str
    fix: str = ""
