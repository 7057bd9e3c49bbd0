"""A benchmark's result as the house keeps it: `benchmarks/results/NAME.json`, and a table on the screen."""

import datetime
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("luthier", "torch", "transformers", "peft", "accelerate", "trl", "liger-kernel", "unsloth")
Row = dict[str, Any]


def row(what: str, ours: float, peer: float, *, peer_name: str, unit: str, better: str, quality: Any = None) -> Row:
    """A comparison; `ratio` is above 1 where Luthier is ahead, `quality` holds both sides' scores."""
    ratio = ours / peer if better == "higher" else peer / ours
    ours_quality, peer_quality = quality or (None, None)
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": round(ratio, 3),
        "unit": unit,
        "better": better,
        "quality_ours": ours_quality,
        "quality_peer": peer_quality,
    }


def keep(name: str, rows: list[Row], **more: Any) -> None:
    """Write the result file and print the table."""
    write(name, rows, **more)
    show(rows)


def write(name: str, rows: list[Row], *, folder: Path | None = None, **more: Any) -> None:
    """Write the result file, in place of the one that is there; `folder` is RESULTS unless it is said."""
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "date": datetime.date.today().isoformat(),
        "versions": {package: found for package in PACKAGES if (found := _version(package))},
        "machine": _machine(),
        **more,
        "rows": rows,
    }
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table("what", "ours", "peer", "unit", "ratio", "quality", box=None, pad_edge=False)
    for each in rows:
        quality = "" if each["quality_ours"] is None else f"{each['quality_ours']:.4f} / {each['quality_peer']:.4f}"
        figures = (f"{each['ours']:,.4g}", f"{each['peer']:,.4g}", each["unit"], f"{each['ratio']:.2f}x", quality)
        table.add_row(f"{each['what']} against {each['peer_name']}", *figures)
    Console(width=140).print(table)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"device": name, "threads": torch.get_num_threads(), "system": platform.system()}
