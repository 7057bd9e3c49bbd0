"""Sentences of LibreOffice and their translations (Debian) as en-{pt,de}.{train,validation,test}.csv: `source,target`.

From the German and Brazilian packages `libreoffice-l10n-*` (0.9 MB each): labels, messages and help of an office
program, as long as they are sentences of four words or more on one line, without markup, placeholders or shortcut
marks. Each source and each target is there once; sources that read alike are in one split only. Licence: MPL-2.0.
The rows depend on the version of LibreOffice in the machine's Debian; 7.4.7 gives some 6,700.
"""

import gettext
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.fetch._rows import SPLITS, Row, divided, gist, write_csv
from tools.packages import Package

LANGUAGES = {"pt": ("pt-br", "pt_BR"), "de": ("de", "de")}
"""What the package and its folder are called."""
MARKUP = re.compile(r"[%<>&~{}$_|\\#\[\]\n]")
MIN_WORDS = 4


def write(folder: Path) -> None:
    """Write three files for each language and say what they hold."""
    for language, (package, locale) in LANGUAGES.items():
        files = Package("debian", f"libreoffice-l10n-{package}").unpacked()
        catalogue = read(files / "usr/lib/libreoffice/program/resource" / locale / "LC_MESSAGES")
        splits = divided(pairs(catalogue), lambda pair: gist(pair["source"]), validation=0.05, test=0.08)
        for split in SPLITS:
            write_csv(folder / f"en-{language}.{split}.csv", splits[split])


def read(folder: Path) -> Iterator[tuple[str, str]]:
    """Every message and its translation, in the order of the files."""
    for path in sorted(folder.glob("*.mo")):
        with path.open("rb") as file:
            catalogue: Mapping[Any, str] = vars(gettext.GNUTranslations(file))["_catalog"]
        for key, translation in catalogue.items():
            message = key[0] if isinstance(key, tuple) else key  # a tuple with a number where there is a plural
            yield message.split("\4", 1)[-1], translation  # what stands before \4 says where the message is used


def pairs(catalogue: Iterator[tuple[str, str]]) -> Iterator[Row]:
    """The plain sentences, each source and each target once."""
    sources: set[str] = set()
    targets: set[str] = set()
    for source, target in catalogue:
        plain = len(source.split()) >= MIN_WORDS and not MARKUP.search(source + target)
        if plain and source != target and source not in sources and target not in targets:
            sources.add(source)
            targets.add(target)
            yield {"source": source.strip(), "target": target.strip()}
