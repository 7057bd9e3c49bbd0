"""Checks sizes: no file over 300 lines, no function over 60, and 95 % of a folder's functions within 35."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("src", "tests", "tools", "benchmarks")
MAX_FILE, MAX_FUNCTION, SCREEN, SHARE_ON_A_SCREEN = 300, 60, 35, 0.95


def violations(root: Path) -> Iterator[str]:
    """Everything below a folder that is too long, as `file:line: what is wrong`."""
    sizes = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        num_lines = len(text.splitlines())
        if num_lines > MAX_FILE:
            yield f"{path}:{num_lines}: {num_lines} lines; a file has {MAX_FILE} at most"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                sizes.append(size)
                if size > MAX_FUNCTION:
                    yield f"{path}:{node.lineno}: {node.name} has {size} lines; {MAX_FUNCTION} at most"
    num_short = sum(size <= SCREEN for size in sizes)
    if num_short < SHARE_ON_A_SCREEN * len(sizes):
        yield f"{root}: {num_short} of {len(sizes)} functions are within {SCREEN} lines; it must be 95 %"


if __name__ == "__main__":
    top = Path(__file__).parents[1]
    sys.exit("\n".join(line for folder in FOLDERS for line in violations(top / folder)) or 0)
