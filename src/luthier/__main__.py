"""`python -m luthier`: the command line."""

from luthier.cli import main

main()
