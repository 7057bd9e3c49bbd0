"""The tokens of a text that learnt vectors start from."""

from collections.abc import Sequence

from luthier.errors import MethodError
from luthier.models.processor import Processor, tokenizer_of


def require_text(start: str, text: str | None, tokens: Sequence[int]) -> None:
    """Raise ValueError where a start from text has none, or another start has one."""
    if start == "text" and text is None and not tokens:
        raise ValueError("start: text needs a text: say text")
    if start != "text" and (text is not None or tokens):
        raise ValueError("text and tokens are for start: text")


def tokens_of(text: str, processor: Processor, length: int) -> tuple[int, ...]:
    """The text's tokens without any that a tokenizer adds, repeated or cut to a length.

    Raises MethodError where it has none.
    """
    tokens: list[int] = tokenizer_of(processor)(text, add_special_tokens=False)["input_ids"]
    if not tokens:
        raise MethodError(f"method.text: {text!r} has no tokens")
    return tuple((tokens * -(-length // len(tokens)))[:length])


def require_tokens(tokens: Sequence[int], length: int) -> Sequence[int]:
    """Raise MethodError where tokens are not as many as are needed."""
    if len(tokens) != length:
        found = "none; resolve the recipe first" if not tokens else f"{len(tokens)} for a length of {length}"
        raise MethodError(f"method.tokens: a start from text needs one for each vector, but has {found}")
    return tokens
