"""What a search may spend."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What may be spent."""

    units: int | None = None
    """Of all trials together; None: not known yet."""
    seconds: float | None = None
    """Of the clock, without the time in which nobody worked; None: any."""
    num_workers: int = 1
    """How many spend it: units = seconds * workers / seconds of a unit of the first trial; more where time is left."""

    def after(self, before: "Budget", *, keeps: bool) -> "Budget":
        """What may be spent from now on, of a search that had another budget; with `keeps`, what it had.

        Seconds are worth as many units as before, unless others spend them.
        """
        said = before if keeps else self
        if said.seconds is None:
            return Budget(said.units, None, self.num_workers)
        as_before = (said.seconds, self.num_workers) == (before.seconds, before.num_workers)
        return Budget(before.units if as_before else None, said.seconds, self.num_workers)
