"""Long tensors in blocks that stay in a core's cache while one operation after another goes over them."""

from collections.abc import Iterator

BLOCK = 2**16
"""Elements: 256 KiB of fp32, so that a few of them fit."""


def blocks(num: int, *, width: int = 1) -> Iterator[slice]:
    """Rows of so many elements, as many at a time as make a block, and one at least."""
    rows = max(1, BLOCK // max(1, width))
    return (slice(begin, min(num, begin + rows)) for begin in range(0, num, rows))
