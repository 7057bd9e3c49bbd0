"""`python -m tools.models NAME...` writes the models of these names, or all of them where none is named."""

import sys
from pathlib import Path

from tools.chosen import write_each

if __name__ == "__main__":
    write_each("tools.models", Path("build/models"), sys.argv[1:])
