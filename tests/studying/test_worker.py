"""Workers of one machine share its cores, unless a user says how."""

import os

import pytest

from luthier.studying.worker import _share_cores

NUM_CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("num_workers", "said", "expected"),
    [(1, None, None), (2, None, str(max(1, NUM_CORES // 2))), (1000, None, "1"), (2, "7", "7")],
)
def test_cores_are_shared_among_workers(
    num_workers: int, said: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {} if said is None else {"OMP_NUM_THREADS": said}
    monkeypatch.setattr(os, "environ", environment)
    _share_cores(num_workers)
    assert environment.get("OMP_NUM_THREADS") == expected
