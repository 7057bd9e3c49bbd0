"""The chat template of a merged model: the one that most models have, a named one, or one that is written out."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from luthier.errors import MergeError, did_you_mean

FILE, OLD_FILE, KEY = "chat_template.jinja", "chat_template.json", "chat_template"
NAMED = {
    "llama3": (
        "{{ bos_token }}{% for message in messages %}"
        "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
        "{{ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "mistral": (
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + eos_token }}"
        "{% elif message['role'] == 'system' %}{{ '[INST] ' + message['content'] | trim + '\n\n' }}"
        "{% elif loop.previtem is defined and loop.previtem['role'] == 'system' %}"
        "{{ message['content'] | trim + ' [/INST]' }}"
        "{% else %}{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}{% endif %}{% endfor %}"
    ),
    "alpaca": (
        "{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
        "{% elif message['role'] == 'assistant' %}{{ '### Response:\n' + message['content'] + eos_token + '\n\n' }}"
        "{% else %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
    ),
    "exaone": (
        "{% for message in messages %}{{ '[|' + message['role'] + '|]' + message['content'] | trim }}"
        "{{ '\n' if message['role'] == 'user' else '[|endofturn|]\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
    ),
}
"""Formats that several families share; `chatml` and `plain` are those of fine-tuning."""
NEEDED = {
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "exaone": ("[|endofturn|]",),
    "chatml": ("<|im_start|>", "<|im_end|>"),
}
"""Tokens without which a format is only letters."""
OF_TUNING = ("chatml", "plain")


def template_in(folder: Path) -> str | None:
    """The chat template that a folder's files hold; of several, the default one."""
    if (folder / FILE).is_file():
        return (folder / FILE).read_text(encoding="utf-8")
    for name in (OLD_FILE, "tokenizer_config.json"):
        found = _json(folder / name).get(KEY)
        if isinstance(found, list):
            found = {each.get("name"): each.get("template") for each in found if isinstance(each, Mapping)}
        found = found.get("default") if isinstance(found, Mapping) else found
        if isinstance(found, str):
            return found
    return None


def chosen_template(said: str | None, folders: Mapping[str, Path], *, where: str = "chat_template") -> str | None:
    """The template that a recipe asks for: `auto`, a name, a model's label, or the template itself.

    None leaves that of the tokenizer's model. Raises MergeError where it is none of these.
    """
    if said is None:
        return None
    if said == "auto":
        found = [template.strip() for folder in folders.values() if (template := template_in(folder))]
        return Counter(found).most_common(1)[0][0] if found else None  # the first of equals
    if said in folders:
        return template_in(folders[said])
    if said in OF_TUNING:
        from luthier.tasks import _templates

        return _templates.NAMED[said]
    if said in NAMED:
        return NAMED[said]
    if "{{" in said or "{%" in said:
        return said
    known = ["auto", *NAMED, *OF_TUNING]
    raise MergeError(
        f"{where}: {said} is no template{did_you_mean(said, known)}; say {', '.join(known)}, or write a template"
    )


def lacking(said: str | None, tokens: Collection[str]) -> list[str]:
    """The tokens that a named format needs and a vocabulary has not."""
    return [token for token in NEEDED.get(said or "", ()) if token not in tokens]


def put_template(template: str, folder: Path) -> None:
    """Make it the only template of a folder whose other files are there already."""
    (folder / OLD_FILE).unlink(missing_ok=True)
    settings = _json(folder / "tokenizer_config.json")
    if settings.pop(KEY, None) is not None:
        text = json.dumps(settings, indent=2, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    (folder / FILE).write_text(template, encoding="utf-8")


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
