"""Commands in fresh processes that need not import torch and transformers once more: that takes longer than a tiny run.

A server that holds these libraries, and nothing of Luthier, is forked for each command.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("torch", "transformers", "datasets", "pydantic", "ruamel.yaml", "typer", "rich", "jaxtyping", "sklearn.metrics"),
    *("transformers.modeling_utils", "transformers.models.auto.modeling_auto", "transformers.integrations.peft"),
    *("transformers.models.bert.modeling_bert", "transformers.tokenization_utils_tokenizers", "sklearn.linear_model"),
)
COMMAND = [sys.executable, "-m", "luthier"]

started = subprocess.run
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["__main__", *LIBRARIES])


def run(command: Sequence[Any], *, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` answers to a `python -m luthier ...`, both of whose outputs are heard."""
    arguments = [str(each) for each in command[len(COMMAND) :]]
    with tempfile.TemporaryDirectory() as folder:
        heard = (Path(folder) / "stdout", Path(folder) / "stderr")
        child = _server.Process(target=_live, args=(arguments, dict(os.environ if env is None else env), heard))
        child.start()
        child.join()
        assert child.exitcode is not None
        return subprocess.CompletedProcess(command, child.exitcode, *(path.read_text() for path in heard))


def _live(arguments: list[str], environment: dict[str, str], heard: tuple[Path, Path]) -> None:
    """In the child."""
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(heard, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    from luthier.cli import main

    main(arguments)


def run_or_fork(command: Any, **how: Any) -> Any:
    """In the place of `subprocess.run`: Luthier's commands by a fork, all others as ever."""
    is_ours = isinstance(command, list) and command[: len(COMMAND)] == COMMAND
    return run(command) if is_ours and how == {"capture_output": True, "text": True} else started(command, **how)


def run_alone(command: list[str]) -> tuple[int, str]:
    """In the place of `luthier.interrupt.run_alone`."""
    done = run(command)
    return done.returncode, done.stderr
