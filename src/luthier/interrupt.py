"""Signals that ask a run to stop: SIGTERM, SIGINT, SIGHUP.

While a run trains, the first one waits for the next step's border, where a checkpoint is written; at any other
time, and the second time, the run stops where it stands. Checkpoints appear whole or not at all, so that is safe too.
"""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")

Handler = Callable[[int, FrameType | None], None]


class Interrupted(BaseException):
    """A run was asked to stop; `exit_code` is the conventional one, 128 and the signal's number.

    No Exception: it may be raised anywhere, and nobody who catches those is meant.
    """

    def __init__(self, signal_number: int, told: str) -> None:
        super().__init__(told)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class Stop:
    """Whether a run has been asked to stop."""

    def __init__(self) -> None:
        self.asked_by: signal.Signals | None = None
        self._waits = False

    @contextlib.contextmanager
    def waits_for_border(self) -> Iterator[None]:
        """While open, the first signal is noted and nothing else happens; the step loop looks at `asked_by`."""
        before, self._waits = self._waits, True
        try:
            yield
        finally:
            self._waits = before

    def handle(self, number: int, _: FrameType | None) -> None:
        """Python's signal handler."""
        if self._waits and self.asked_by is None:
            self.asked_by = signal.Signals(number)
            return
        raise Interrupted(number, f"stopped by {signal.Signals(number).name}")

    @contextlib.contextmanager
    def listening(self) -> Iterator["Stop"]:
        """While open, signals come here."""
        with _heard_by(self.handle):
            yield self


def run_alone(command: list[str]) -> tuple[int, str]:
    """Run a command to its end; -> its exit code, and what it told of errors.

    It has a process group of its own and gets the signals that come here, once each: what a terminal would send to
    both would count twice.
    """
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0) as process,
        _heard_by(lambda number, frame: process.send_signal(number)),
    ):
        _, told = process.communicate()
    return process.returncode, told


@contextlib.contextmanager
def _heard_by(handler: Handler) -> Iterator[None]:
    """While open, signals go to a handler; one that was ignored before (as under nohup) stays ignored."""
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)
