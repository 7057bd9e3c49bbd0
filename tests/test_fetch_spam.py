"""tools/fetch/spam.py on mails made by hand."""

import base64
import csv
from pathlib import Path

import pytest

from tools.fetch import spam
from tools.fetch.spam import MAX_CHARACTERS, distinct, read_mails, text_of

TWO_PARTS = b"""\
Subject: Offer
Content-Type: multipart/alternative; boundary=cut

--cut
Content-Type: text/html

<p>in colour</p>
--cut
Content-Type: text/plain

%s
--cut--
"""


def mail(body: bytes, *header: str) -> bytes:
    """A raw mail of one part."""
    return "\n".join(["From: someone", "Received: from somewhere", *header, "\n"]).encode() + body


def test_only_subject_and_body_stay():
    assert text_of(mail(b"Hello,\n\n  you.\n", "Subject: Lunch", "X-Spam: yes")) == "Lunch\nHello,\nyou."


def test_a_mail_without_subject_is_its_body():
    assert text_of(mail(b"Hello")) == "Hello"


def test_an_encoded_subject_is_decoded():
    assert text_of(mail(b"x", "Subject: =?iso-8859-1?Q?Caf=E9?= =?utf-8?B?4oKs?=")) == "Café€\nx"


def test_a_base64_body_is_decoded():
    header = ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: base64")
    assert text_of(mail(base64.b64encode("10 € off".encode()), *header)) == "10 € off"


@pytest.mark.parametrize("charset", ["iso-8859-1", "us-ascii", "utf-8", "no-such-charset"])
def test_eight_bit_bodies_are_read_whatever_charset_they_claim(charset):
    assert text_of(mail(b"caf\xe9", f"Content-Type: text/plain; charset={charset}")) == "café"


def test_of_an_html_body_only_what_a_reader_sees_stays():
    page = b"<style>p {}</style><p>Buy<br>now &amp; here</p><script>alert(1)</script><!-- no --> bye"
    assert text_of(mail(page, "Content-Type: text/html")).split() == ["Buy", "now", "&", "here", "bye"]


def test_plain_text_is_preferred_to_html():
    assert text_of(TWO_PARTS % b"in words") == "Offer\nin words"


def test_html_stands_in_for_an_empty_plain_part():
    assert text_of(TWO_PARTS % b"  ") == "Offer\nin colour"


def test_an_attachment_is_no_body():
    attached = TWO_PARTS.replace(b"text/plain", b"text/plain\nContent-Disposition: attachment")
    assert text_of(attached % b"a file") == "Offer\nin colour"


def test_control_characters_are_white_space():
    assert text_of(mail(b"a\x00b\x1b\tc\x7f")) == "a b c"


def test_a_long_mail_is_cut():
    assert len(text_of(mail(b"word " * 2_000))) == MAX_CHARACTERS


def test_mails_that_say_the_same_are_kept_once_and_counted():
    mails = [("Win 10", "spam"), ("Hi", "ham"), ("Win 10", "spam"), ("WIN\n2000", "spam"), ("Win", "spam")]
    rows, removed = distinct(mails)
    assert rows == [("Win 10", "spam"), ("Hi", "ham"), ("Win", "spam")]
    assert removed == {"exact": 1, "near": 1}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package, its files in no order."""
    for name in ("spam-1/2.txt", "easy-ham-1/1.json", "spam-1/1.txt", "easy-ham-1/1.txt"):
        path = tmp_path / "package" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mail(name.encode()))
    return tmp_path


def test_raw_mails_are_read_in_the_order_of_their_names(package: Path):
    mails = [("easy-ham-1/1.txt", "ham"), ("spam-1/1.txt", "spam"), ("spam-1/2.txt", "spam")]
    assert read_mails(package) == mails


def test_the_table_is_written(package: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(spam.MAILS), "unpacked", lambda self: package)
    spam.write(package)
    with (package / "spam.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"text": "easy-ham-1/1.txt", "label": "ham"}, {"text": "spam-1/1.txt", "label": "spam"}]
