"""The worker processes of a coordinator: hired, watched, replaced, stopped."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from luthier.studying.worker import LAST_S

LOGS = "workers"
"""The folder in a search's for what workers say on their screens."""


class Process(Protocol):
    """What is asked of a process."""

    stdin: IO[bytes] | None
    returncode: int | Any

    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


@dataclass
class Member:
    """One worker."""

    name: str
    log: Path
    process: Process

    @property
    def last_words(self) -> str:
        """The last line of its log."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("luthier: ") if lines else ""


@dataclass
class Crew:
    """All workers that live."""

    folder: Path
    place: str
    """What the workers' names begin with: other machines work at the same search."""
    said: Mapping[str, Any]
    """What each is told: storage, name, folder, performer, and how many they are."""
    lock: IO[str]
    """An open file whose lock is shared with the workers, and so outlives the coordinator as long as one of them."""
    life: str
    members: list[Member] = field(default_factory=list)
    _num_hired: int = 0

    def hire(self) -> Member:
        """One more. Signals of the terminal do not reach it: the coordinator asks it to stop."""
        self._num_hired += 1
        name = f"{self.place}/{self.life}-{self._num_hired}"
        log = self.folder / LOGS / f"{self.life}-{self._num_hired}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as screen:
            process = start(screen, self.lock)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # dead already; its exit is met later
            process.stdin.write(json.dumps({**self.said, "worker": name}).encode() + b"\n")
            process.stdin.flush()
        member = Member(name, log, process)
        self.members.append(member)
        return member

    def ended(self) -> list[Member]:
        """Those that have ended since this was asked last; they are members no more."""
        gone = [member for member in self.members if member.process.poll() is not None]
        for member in gone:
            self.members.remove(member)
            _close(member)
        return gone

    def stop(self, patience_s: float = LAST_S) -> None:
        """Ask all to stop at their next step's border, and wait; who does not is killed, and all by another signal."""
        for member in self.members:
            member.process.terminate()
        deadline = time.monotonic() + patience_s
        try:
            while any(m.process.poll() is None for m in self.members) and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            for member in self.members:
                member.process.kill()
                member.process.wait()
                _close(member)
            self.members.clear()


def start(screen: IO[bytes], lock: IO[str]) -> Process:
    """A worker's process, which holds on to the lock."""
    return subprocess.Popen(
        [sys.executable, "-m", "luthier.studying.worker"],
        stdin=subprocess.PIPE,
        stdout=screen,
        stderr=screen,
        process_group=0,
        pass_fds=[lock.fileno()],
    )


def _close(member: Member) -> None:
    if member.process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            member.process.stdin.close()
