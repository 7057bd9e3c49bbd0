"""How amounts of memory and rates of computing are said and read."""

import re

from luthier.errors import RecipeError, did_you_mean

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def read_amount(text: str, *, where: str) -> int:
    """Bytes, of an amount as people write it: 24GB, 80 GiB.

    Raises RecipeError where it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if found is None:
        raise RecipeError(f"{where}: {text} is no amount of memory; say one as 24GB")
    number, unit = found.groups()
    by_name = {name.lower(): size for name, size in UNITS.items()}
    if unit.lower() not in by_name:
        near = did_you_mean(unit, UNITS) if unit else ""
        raise RecipeError(f"{where}: {text} has no unit that is known{near}; say one of {', '.join(UNITS)}, as in 24GB")
    amount = int(float(number) * by_name[unit.lower()])
    if not amount:
        raise RecipeError(f"{where}: {text} is no memory at all")
    return amount


def read_rate(text: str, *, where: str) -> float:
    """Floating-point operations a second, as people write them: 400GFLOPS, 1.2 TFLOPS.

    Raises RecipeError where it is no rate.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([MGTP])FLOPS?(?:/s)?\s*", text, re.IGNORECASE)
    if found is None or not float(found[1]):
        raise RecipeError(f"{where}: {text} is no rate; say floating-point operations a second, as 400GFLOPS")
    return float(found[1]) * {"M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}[found[2].upper()]


def written(amount: float) -> str:
    """An amount of bytes in words, as 5.3 GB."""
    for unit in ("GB", "MB"):
        if amount >= UNITS[unit]:
            return f"{amount / UNITS[unit]:,.1f} {unit}"
    return f"{amount / UNITS['KB']:,.0f} KB"
