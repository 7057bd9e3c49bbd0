"""Chats rendered by a template, in Jinja's sandbox; a foreign template in a child process with limits besides.

The sandbox keeps a template from files and code, but not from an endless loop or from all memory. The child is
started once for many chats: a line of JSON goes in for each, and one comes out.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from luthier.errors import ModelError

SECONDS = 20
"""Processor time that a foreign template may take for one chat."""
MEMORY_BYTES = 2**30
"""Memory that it may take beyond what the child has at its start."""

Ends = Sequence[tuple[int, bool]]
"""How many of a chat's turns are wanted, and whether an answer is to follow."""
Render = Callable[[Sequence[Any], Sequence[Any] | None, Ends], list[str]]
"""Turns, tools, ends -> the text up to each end; raises Refused."""


class Refused(Exception):
    """A template's own refusal of a chat; it says why."""


@contextmanager
def rendering(template: str, tokens: Mapping[str, Any], *, foreign: bool) -> Iterator[Render]:
    """What renders chats, with the tokenizer's special tokens by name.

    It raises ModelError where a foreign template breaks its limits.
    """
    if not foreign:
        yield lambda turns, tools, ends: _rendered(template, tokens, turns, tools, ends)
        return
    command = [sys.executable, "-m", "luthier.tasks._rendering"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    pipes["start_new_session"] = True  # Ctrl-C is for its parent to heed
    with subprocess.Popen(command, text=True, encoding="utf-8", **pipes) as child:
        try:
            _ask(child, [template, dict(tokens), SECONDS, MEMORY_BYTES])
            yield lambda turns, tools, ends: _answer(child, [turns, tools, ends])
        finally:
            child.kill()


def _ask(child: "subprocess.Popen[str]", request: Any) -> str:
    assert child.stdin is not None and child.stdout is not None
    with suppress(BrokenPipeError):
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
    return child.stdout.readline()


def _answer(child: "subprocess.Popen[str]", request: Any) -> list[str]:
    line = _ask(child, request)
    if not line.endswith("\n"):
        raise ModelError(
            f"task.template: the model's chat template took more than {SECONDS} seconds or {MEMORY_BYTES / 2**30:g} "
            "GiB for one chat, and was stopped; say task.template=plain or chatml"
        )
    answer: dict[str, Any] = json.loads(line)
    if "refused" in answer:
        raise Refused(answer["refused"])
    texts: list[str] = answer["texts"]
    return texts


def _rendered(
    template: str, tokens: Mapping[str, Any], turns: Sequence[Any], tools: Sequence[Any] | None, ends: Ends
) -> list[str]:
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    texts = []
    for number, answer_follows in ends:
        how: dict[str, Any] = {"tools": tools or None, "add_generation_prompt": answer_follows, **tokens}
        how |= {"conversations": [turns[:number]], "chat_template": template}
        try:
            text = render_jinja_template(**how)[0][0]
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            raise Refused(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
        texts.append(text)
    return texts


def _serve() -> None:
    """The child: a template and its tokens, then chat after chat until nobody asks any more."""
    from transformers.utils import chat_template_utils  # noqa: F401 - before memory is limited

    template, tokens, seconds, memory_bytes = json.loads(sys.stdin.readline())
    print(flush=True)
    _limit_memory(memory_bytes)
    for line in sys.stdin:
        _limit_time(seconds)
        try:
            answer: dict[str, Any] = {"texts": _rendered(template, tokens, *json.loads(line))}
        except Refused as refusal:
            answer = {"refused": str(refusal)}
        print(json.dumps(answer), flush=True)


def _limit_memory(more_bytes: int) -> None:
    """On systems that can; the child then dies of a MemoryError."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + more_bytes, size + more_bytes))


def _limit_time(seconds: int) -> None:
    """From now on, on systems that can; the child then dies of a signal."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + seconds, most))


if __name__ == "__main__":
    _serve()
