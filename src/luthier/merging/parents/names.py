"""The same tensor under two names: a body alone has `encoder...`, under a head `bert.encoder...`.

Both share the end of the name; what stands before it is the same for the whole body.
"""

from collections.abc import Collection, Iterable


def aligned(names: Collection[str], to: Collection[str]) -> dict[str, str]:
    """Of each name in `to` that is found, what it is called in `names`: as it is, or with a word more or less before
    it, whichever finds most; what is found neither way is left out."""
    theirs = set(names)
    plain = {name: name for name in to if name in theirs}
    longer = [{name: f"{word}{name}" for name in to if f"{word}{name}" in theirs} for word in _firsts(names)]
    shorter = [
        {name: name[len(word) :] for name in to if name.startswith(word) and name[len(word) :] in theirs}
        for word in _firsts(to)
    ]
    found = max(({**plain, **more} for more in ({}, *longer, *shorter)), key=len)  # the first of equals
    return {name: found[name] for name in to if name in found}


def _firsts(names: Iterable[str]) -> list[str]:
    """The words that names begin with, each with its dot."""
    return list(dict.fromkeys(f"{name.partition('.')[0]}." for name in names if "." in name))
