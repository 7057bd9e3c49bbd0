"""The anatomy of every family, as a page of the documentation."""

from luthier.models.anatomy import read
from tests.documents import hold, table
from tests.tiny import FAMILIES, tiny

DOCUMENT = """# What Luthier finds in a model

Read from the structure of the model, with no table of families: stacks of blocks, and the role of every layer. These
are the words that `partial` and `lora` are told what to learn in (`luthier describe partial`). Written by
`tests/models/test_anatomy_table.py` from tiny models of the real classes, with four layers in each stack.

{table}

`xlnet` holds its attention as bare parameters: it is refused by what needs blocks, and trained whole.
"""


def test_the_table_of_anatomies_is_in_the_docs() -> None:
    rows = []
    for family in sorted(FAMILIES.keys() - {"xlnet"}):
        found = read(tiny(family, head="lm"))
        stacks = "; ".join(f"{s.kind} `{s.name}`, {len(s.blocks)} blocks" for s in found.stacks)
        counts = ", ".join(f"{role} {len(modules)}" for role, modules in found.roles.items())
        rows.append([family, stacks, counts])
    hold("anatomy.md", DOCUMENT.format(table=table(["family", "stacks", "layers by role"], rows)))
