"""Where a model's files are, and what is said when they cannot be read."""

import contextlib
import re
from collections.abc import Iterator

from luthier.data.places import locate
from luthier.errors import LuthierError, ModelError
from luthier.models import trust
from luthier.models.source import ModelSource


def place_of(source: ModelSource) -> str:
    """The folder or .gguf file on this machine, or the hub id.

    Raises ModelError where there is no such place, or it holds no plain weights.
    """
    path = locate(source.name, where="model.name", error=ModelError)
    if path is None:
        return source.name
    trust.require_plain_weights(path, source.name)
    return str(path)


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """What transformers raises, as one message of ours: files that are no model break it in every kind of way."""
    try:
        yield
    except LuthierError:
        raise
    except Exception as error:
        first = re.split(r"\n|(?<=[.!]) ", str(error).strip())[0][:300] or type(error).__name__
        raise ModelError(f"model.name: {name} cannot be loaded: {first}") from error
