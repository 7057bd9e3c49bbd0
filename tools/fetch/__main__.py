"""`python -m tools.fetch NAME...` writes the data sets of these names, or all of them where none is named."""

import sys
from pathlib import Path

from tools.chosen import write_each

if __name__ == "__main__":
    write_each("tools.fetch", Path("data"), sys.argv[1:])
