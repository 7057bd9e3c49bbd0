"""A setting of a merge that may vary: over the blocks, as a gradient, and from tensor to tensor, under conditions.

A gradient of numbers v_0 ... v_n is (1 - f) v_i + f v_(i+1) at a place x from 0 to 1, with i + f = n x; of words, or of
true and false, it is v_i. Of several conditions the first that fits holds, as in mergekit's files; our own form, in
which the last one that fits counts, is read into the same order.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

Plain = float | int | bool | str
Gradient = tuple[Plain, ...]
Selects = Callable[[str, str], bool]
"""Whether a selector means a tensor."""


@dataclass(frozen=True)
class Conditional:
    """A value for some tensors."""

    value: Plain | Gradient
    selector: str | None = None
    """Which tensors, in the language of `luthier.models.selectors`; None: all."""
    is_part_of_name: bool = False
    """Whether the selector is no such word but letters that a tensor's name must hold: mergekit's filter."""

    def fits(self, tensor: str, selects: Selects) -> bool:
        """Whether the value is for this tensor; an expression needs no model to be read."""
        if self.selector is None or self.selector == "all":
            return True
        if self.is_part_of_name:
            return self.selector in tensor
        if self.selector.startswith("re:"):
            return re.search(self.selector.removeprefix("re:"), tensor) is not None
        return selects(self.selector, tensor)


Setting = Plain | Gradient | tuple[Conditional, ...]


def value_of(setting: Setting, *, tensor: str, at: float, selects: Selects) -> Plain | None:
    """A setting's value for a tensor whose block lies at a place of its slice, from 0 to 1; 0 outside of blocks.

    None where every value has a condition that this tensor does not fit.
    """
    for part in conditions(setting):
        if part.fits(tensor, selects):
            return _along(part.value, at) if isinstance(part.value, tuple) else part.value
    return None


def conditions(setting: Setting) -> tuple[Conditional, ...]:
    """A setting as values under conditions, the first that fits first; one without conditions fits all."""
    if isinstance(setting, tuple) and isinstance(setting[0], Conditional):
        return tuple(part for part in setting if isinstance(part, Conditional))
    return (Conditional(setting),)


def before(setting: Setting, other: Setting | None) -> Setting:
    """One setting, and for the tensors that it says nothing of another."""
    first = conditions(setting)
    if other is None or any(part.selector in (None, "all") for part in first):
        return setting
    return (*first, *conditions(other))


def _along(gradient: Gradient, at: float) -> Plain:
    place = at * (len(gradient) - 1)
    number = min(int(place), len(gradient) - 1)
    numbers = [each for each in gradient if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) < len(gradient):
        return gradient[number]
    share = place - number
    following = numbers[min(number + 1, len(numbers) - 1)]
    return numbers[number] if share == 0 else (1 - share) * numbers[number] + share * following
