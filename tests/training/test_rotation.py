"""Whatever is saved, judged, damaged and killed in whatever order: the newest whole checkpoint is there, with the best.

Against a model of what must stand. Killing is an error that every later change of the disk raises again, so that
no clean-up runs after it, as none does after SIGKILL.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from luthier.training import snapshot
from luthier.training.best import Best
from luthier.training.checkpoints import Checkpoints
from luthier.training.clock import Clock
from luthier.training.loop import TrainState

CHANGES = ((os, "write"), (Path, "mkdir"), (Path, "replace"), (shutil, "rmtree"))
"""What a save changes the disk with; flushing is left out, as no power fails here."""


class Killed(BaseException):
    """In place of SIGKILL."""


class Power:
    """Lets so many changes of the disk happen, and then none."""

    def __init__(self) -> None:
        self.left: int | None = None

    def around(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Killed
            return change(*arguments, **options)

        return guarded


@pytest.fixture(scope="module")
def power() -> Iterator[Power]:
    power = Power()
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CHANGES:
            patch.setattr(owner, name, power.around(getattr(owner, name)))
        patch.setattr(os, "fsync", lambda _: None)
        yield power


class Life:
    """A run on a model of one weight, whose value is the number of the step that made it."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self.begin()
        self.just_began = False

    def begin(self) -> None:
        """A fresh process: from the newest checkpoint, if there is one."""
        self.model: Any = nn.Linear(1, 1, bias=False)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.state = TrainState(optimizer, 1000, torch.amp.GradScaler("cpu", enabled=False))
        self.best, self.clock = Best(higher_is_better=True), Clock(self.state, 1000)
        self.just_began = True
        self.store = Checkpoints(self.folder, {"id": "this run"}, self.keep)
        self.store.tidy()
        found, _ = self.store.newest()
        if found is not None:
            snapshot.restore(found, self.model, self.state, self.best, self.clock)

    def step(self) -> None:
        self.state.step += 1
        with torch.no_grad():
            self.model.weight.fill_(self.state.step)

    def judge(self, value: int) -> None:
        self.best.see(value, self.state.step, self.model)

    def save(self) -> None:
        self.store.save(self.state.step, *snapshot.capture(self.model, self.state, self.best, self.clock))

    def is_whole(self, step: int) -> bool:
        found, _ = Checkpoints(self.folder, {"id": "this run"}, self.keep).newest()
        return found is not None and found.step == step

    def told(self) -> tuple[int, float | None, int]:
        """Step, best value and its step, read off the tensors."""
        weights = [tensor.item() for tensor in self.best.learnt.values()]
        assert self.state.step == 0 or self.model.weight.item() == self.state.step
        return self.state.step, self.best.value, int(weights[0]) if weights else 0


ACTION = st.tuples(st.sampled_from(["step", "judge", "save", "save", "kill", "damage", "restart"]), st.integers(0, 25))


@settings(max_examples=3_000)
@given(actions=st.lists(ACTION, min_size=4, max_size=14), keep=st.integers(1, 3))
def test_the_best_and_the_newest_whole_checkpoint_are_always_there(
    actions: list[tuple[str, int]], keep: int, power: Power
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        power.left = None
        _live(actions, Life(Path(folder) / "checkpoints", keep), keep, power)
        power.left = None


def _live(actions: list[tuple[str, int]], life: Life, keep: int, power: Power) -> None:
    standing = [(0, None, 0)]
    for action, number in actions:
        if action == "step":
            life.step()
        elif action == "judge":
            life.judge(number)
        elif action == "save" and life.state.step:
            life.save()
            standing = _with(standing, life.told(), keep)
        elif action == "kill" and life.state.step:
            power.left, before = number, life.told()
            try:
                life.save()
                standing = _with(standing, before, keep)
            except Killed:
                power.left = None
                if life.is_whole(before[0]):
                    standing = _with(standing, before, keep)  # it stood already; the clearing up was cut off
            power.left = None
            life.begin()
        elif action == "damage" and len(standing) > 2:
            path = life.store.folder / f"step-{standing.pop()[0]}" / "learnt.safetensors"
            path.write_bytes(path.read_bytes()[:-1])
            life.begin()
        elif action == "restart":
            life.begin()
        if life.just_began:
            assert life.told() == standing[-1]
            life.just_began = False


def _with(standing: list[Any], told: Any, keep: int) -> list[Any]:
    """The beginning always stands; of the rest, the newest few. A step that stands already is not written again."""
    if standing[-1][0] == told[0]:
        return standing
    return [standing[0], *[*standing[1:], told][-keep:]]
