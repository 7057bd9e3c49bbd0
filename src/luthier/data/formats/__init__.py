"""One file a format: rows as they stand in a file, each with its place, each fault of one told in words.

A format never stops at a bad row where it can tell the next one; it yields what is wrong in the row's stead.
"""

from typing import Any

Row = dict[str, Any]
Placed = tuple[str, Row | str]
"""Where a row stands (`train.csv:12`: the line it begins in; of tables and hub sets the row's number, from 0), and the
row or what is wrong with it."""
