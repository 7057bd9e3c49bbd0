"""Several short rows in one: best fit decreasing.

From the longest row to the shortest, each goes into the fullest bin that still has room for it, or opens a new one.
Of what is then computed, sum(lengths) / (num_bins * capacity) are real tokens. There are never more bins than
11/9 OPT + 4: Johnson et al. 1974, https://doi.org/10.1137/0203025.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray


def pack(lengths: Sequence[int] | Int[ndarray, " rows"], capacity: int) -> list[list[int]]:
    """The numbers of the rows in each bin, every row once; the same lengths always give the same bins.

    A row longer than `capacity` has a bin of its own.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    bins: list[list[int]] = []
    bins_by_room: dict[int, list[int]] = {}
    rooms = 0  # its bit r is 1 where some bin has room for exactly r tokens more
    for row in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[row])
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1  # the lowest bit: the fullest bin that has room
            number = bins_by_room[room].pop()
            if not bins_by_room[room]:
                rooms ^= 1 << room
            bins[number].append(row)
        else:
            room, number = max(capacity, size), len(bins)
            bins.append([row])
        bins_by_room.setdefault(room - size, []).append(number)
        rooms |= 1 << (room - size)
    return bins
