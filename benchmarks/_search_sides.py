"""A process for each side that lives as long as the benchmark: what is imported is paid once, and sides take turns.

A side's module has functions from what is asked to figures, and `warm`, which does a little of all, untimed.
"""

import json
import subprocess
import sys
from importlib import import_module
from typing import Any

ANSWER = "answer: "
"""What a line of a side's begins with that is meant for us; libraries write others."""


class SideFailed(RuntimeError):
    """A side's process ended."""


class Side:
    """One of them."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[str] | None = None

    def ask(self, function: str, asked: dict[str, Any]) -> dict[str, Any]:
        """What a function of its module answers; the first one starts the process, and `warm` is asked before.

        Raises SideFailed where the process ends instead.
        """
        if self._process is None:
            command = [sys.executable, "-m", __name__, self._module]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.ask("warm", asked)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([function, asked]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                found: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
                return found
        raise SideFailed(f"{self._module}.{function} ended without an answer")

    def close(self) -> None:
        """Let it end."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()


def main() -> None:
    module = import_module(sys.argv[1])
    for line in sys.stdin:
        function, asked = json.loads(line)
        answer = getattr(module, function)(asked)
        print(f"\n{ANSWER}{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main()
