"""A run that is killed again and again: `killed.py RECIPE NUM_KILLS SEED`.

Each life is a forked child, so that torch is imported once; it is killed with SIGKILL at a random moment after a
random number of records. The last one is let live. Prints how many were killed and how often none was left to go on.
"""

import os
import random
import signal
import sys
import time

from luthier import recipe as recipes
from luthier.pipeline import follow


def live(path: str, told: int) -> None:
    """In the child: go on with the run; a byte for each record."""
    for _ in follow(recipes.read(path), resume=True):
        os.write(told, b".")


def kill_once(path: str, chance: random.Random) -> bool:
    """-> whether the child was killed before it came to its end."""
    hear, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        live(path, told)
        os._exit(0)
    os.close(told)
    for _ in range(chance.randrange(1, 14)):
        if not os.read(hear, 1):
            break
    time.sleep(chance.random() * 0.03)
    os.kill(child, signal.SIGKILL)
    os.close(hear)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main() -> None:
    path, num_kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    print(sum(kill_once(path, chance) for _ in range(num_kills)))
    live(path, os.open(os.devnull, os.O_WRONLY))


if __name__ == "__main__":
    main()
