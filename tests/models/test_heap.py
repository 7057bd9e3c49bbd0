"""Where glibc gives out memory, what is freed within stays with the process, and goes back afterwards.

Each is measured in a process of its own: in one that has run other tests the heap may hold enough free memory already.
"""

import os
import subprocess
import sys

import pytest

SIZE = 200 * 2**20
MEASURE = """
from pathlib import Path
import torch
from luthier.models import heap

def grown():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 - before

def after_use():
    torch.ones({size}, dtype=torch.uint8)
    return grown()

torch.ones(1)
before = 0
before = grown()
with heap.given_back():
    heap.keep()
    print(after_use())
print(grown(), after_use())
"""


def measured(**environment: str) -> list[int]:
    """By how many bytes the process has grown: within, after, and after another use."""
    told = subprocess.run(
        [sys.executable, "-c", MEASURE.format(size=SIZE)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in told.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="the heap of other systems is left alone")
def test_freed_memory_stays_until_it_is_given_back() -> None:
    within, after, used_again = measured()
    assert within > 0.9 * SIZE
    assert after < 0.1 * SIZE
    assert used_again < 0.1 * SIZE


@pytest.mark.skipif(sys.platform != "linux", reason="the heap of other systems is left alone")
def test_what_a_user_told_glibc_counts() -> None:
    within, _, _ = measured(MALLOC_TRIM_THRESHOLD_="131072")
    assert within < 0.1 * SIZE
