"""What is said of a model that was written."""

from pathlib import Path


def tell(folder: Path, num_parameters: int = 0) -> None:
    """Say where a model is and how large."""
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    parameters = f"{num_parameters / 1e6:.2f} M parameters, " if num_parameters else ""
    print(f"{folder}: {parameters}{size:.0f} MB")
