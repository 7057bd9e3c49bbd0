"""chatterbot-corpus 1.3.3 (PyPI, 0.3 MB, BSD): short conversations with a machine, by topic."""

from collections.abc import Iterator

from ruamel.yaml import YAML

from tools.packages import Package

PACKAGE = Package(
    "pypi",
    "chatterbot-corpus",
    "1.3.3",
    sha256="86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
)


def conversations() -> Iterator[tuple[str, list[str]]]:
    """Topic and turns of each English conversation, in the order of the files."""
    for path in sorted((PACKAGE.unpacked() / "chatterbot_corpus" / "data" / "english").glob("*.yml")):
        for turns in YAML(typ="safe").load(path.read_text(encoding="utf-8"))["conversations"]:
            if isinstance(turns, list):
                yield path.stem, [" ".join(str(turn).split()) for turn in turns]
