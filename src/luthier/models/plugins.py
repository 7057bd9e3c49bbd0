"""Models of other packages: architectures that transformers does not know.

A package names a module under the entry-point group `luthier.models`; importing the module registers its classes with
the Auto classes of transformers, as in `AutoConfig.register("my-model", MyConfig)`. From then on a folder whose
`config.json` says that `model_type` is a model like any other. `benchmarks/ssru` is an example. A package that a user
installed may run code; what a model's folder names never does (`models/trust.py`).
"""

from importlib import import_module
from importlib.metadata import entry_points

from luthier.errors import ModelError

GROUP = "luthier.models"


def register() -> None:
    """Import every module that installed packages name; Python imports each once.

    Raises ModelError where one cannot be imported.
    """
    for entry in entry_points(group=GROUP):
        try:
            import_module(entry.value)
        except Exception as error:  # what a package of others raises is not known
            raise ModelError(
                f"the model plug-in {entry.name} cannot be imported from {entry.value}: {error}; mend or uninstall it"
            ) from error
