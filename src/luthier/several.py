"""Several runs in one folder: each a run of its own, in a process of its own, one after the other.

So memory is each one's own, and whatever stops one, be it a method that does not suit the model or a kill, leaves the
others: with `resume` they go on, and what is done is not done again.
"""

import sys
from pathlib import Path

from luthier import files
from luthier.errors import RunError
from luthier.interrupt import Interrupted, run_alone

REFUSED, STOPPED = 2, 128
"""The exit code of a command that tells a user's mistake, as that a method does not suit a model; and what is added to
a signal's number where one stopped it."""


def take(folder: Path, *, what: str, result: str, overwrite: bool, resume: bool) -> None:
    """Make the folder of what is to become of several runs, as a comparison; `result` is the file that ends it.

    Raises RunError where there is something already, and nobody said what is meant.
    """
    if (folder / "log.jsonl").is_file():
        raise RunError(f"{folder}: is a run, not a {what}; choose another output")
    if folder.exists() and any(folder.iterdir()) and not overwrite and not resume:
        raise RunError(f"{folder}: exists; say --resume to go on, --overwrite to begin anew, or choose another output")
    folder.mkdir(parents=True, exist_ok=True)
    if overwrite:
        files.discard(folder / result)


def train_alone(recipe: Path, *, command: str, overwrite: bool) -> None:
    """Train the recipe in a file in a process of its own, which shows how it goes; one that is done is left alone.

    `command` is what goes on where it was stopped. Raises LuthierError where it could not be trained, Interrupted where
    it was stopped.
    """
    code, told = run_alone(
        [sys.executable, "-m", "luthier", "train", str(recipe), "--overwrite" if overwrite else "--resume"]
    )
    told = told.strip().removeprefix("luthier: ")
    if code > STOPPED:
        raise Interrupted(code - STOPPED, f"stopped in {recipe.stem}; go on with luthier {command} ... --resume")
    if code == REFUSED:
        raise RunError(told)
    if code != 0:
        raise RunError(f"ended with {code}{': ' if told else ''}{told.splitlines()[-1] if told else ''}")
