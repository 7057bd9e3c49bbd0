"""What a search may spend: full runs, time, or the steps, epochs or tokens of all trials together.

All of it is counted in units, of which a full run has `horizon`: units = horizon * amount / amount of a full run.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Unit = Literal["runs", "seconds", "steps", "epochs", "tokens"]
_SECONDS: Mapping[str, float] = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86400.0),
}
_COUNTED: Mapping[str, Unit] = {"run": "runs", "step": "steps", "epoch": "epochs", "token": "tokens"}
_PART = re.compile(r"\s*(\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*([a-z]*)", re.IGNORECASE)
EXAMPLES = "20 runs, 30min, 1h30min, 5000 steps, 30 epochs or 1e6 tokens"


@dataclass(frozen=True)
class Budget:
    """An amount of one thing."""

    amount: float
    unit: Unit

    @property
    def seconds(self) -> float | None:
        """The time, where the budget is one."""
        return self.amount if self.unit == "seconds" else None

    def units(self, horizon: int, of_a_run: Mapping[Unit, float]) -> int:
        """The units that it pays for; `of_a_run` says how much of it a full run takes, but for runs themselves.

        A run's seconds are those of one worker, divided by the number of workers.
        """
        runs = self.amount / (1.0 if self.unit == "runs" else of_a_run[self.unit])
        return math.floor(runs * horizon * (1 + 1e-12))  # 0.3 / 0.1 is a little less than 3

    def __str__(self) -> str:
        if self.unit != "seconds":
            return f"{self.amount:,.10g} {self.unit if self.amount != 1 else self.unit[:-1]}"
        hours, minutes = divmod(round(self.amount) // 60, 60)
        parts = [(hours, "h"), (minutes, "min"), (round(self.amount) % 60, "s")]
        return " ".join(f"{number} {name}" for number, name in parts if number) or f"{self.amount:g} s"


def parse(said: float | str) -> Budget:
    """The budget that a recipe or a command line says; a number alone counts full runs.

    Raises ValueError where it says none.
    """
    text = str(said).strip()
    parts = [match.groups() for match in _PART.finditer(text)]
    if not parts or _PART.sub("", text).strip():
        raise ValueError(f"a budget reads {EXAMPLES}, not {text!r}")
    found = [_part(number, word, text) for number, word in parts]
    if len(found) > 1 and any(each.unit != "seconds" for each in found):
        raise ValueError(f"a budget is of one kind ({EXAMPLES}), not {text!r}")
    budget = Budget(math.fsum(each.amount for each in found), found[0].unit)
    if not 0 < budget.amount < math.inf:
        raise ValueError(f"a budget is above 0 and finite, not {text!r}")
    return budget


def _part(number: str, word: str, text: str) -> Budget:
    name, amount = word.lower(), float(number)
    if not name:
        return Budget(amount, "runs")
    for known in (name, name.removesuffix("s")):
        if known in _SECONDS:
            return Budget(amount * _SECONDS[known], "seconds")
        if known in _COUNTED:
            return Budget(amount, _COUNTED[known])
    raise ValueError(f"{word!r} in {text!r} is no amount; a budget reads {EXAMPLES}")
