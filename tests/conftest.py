"""What holds for every test: no hub is ever asked, and no test depends on chance or on a machine's speed."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import hypothesis
import pytest

from tests import fresh

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

hypothesis.settings.register_profile("luthier", deadline=None, derandomize=True)
hypothesis.settings.load_profile("luthier")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background, whose children would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _self_checks_by_a_fork() -> Iterator[None]:
    """A run's self-check is a fresh process of Luthier, but not one of torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", fresh.run_or_fork)
        yield


@pytest.fixture(scope="session", autouse=True)
def _scores_are_resampled_less() -> Iterator[None]:
    """Half of a tiny run is spent on the ends of intervals; tests/contracts/test_metrics.py is about these."""
    if "luthier.tasks" not in sys.modules:  # nothing of this session scores
        yield
        return
    from luthier.evaluation import bootstrap, score

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "interval", functools.partial(bootstrap.interval, num_resamples=50))
        yield


@pytest.fixture
def processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch, too, is to be imported once more, or no server can be reached."""
    monkeypatch.setattr(subprocess, "run", fresh.started)


@pytest.fixture
def runs_by_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the runs of a comparison or of a curve."""
    monkeypatch.setattr("luthier.several.run_alone", fresh.run_alone)
