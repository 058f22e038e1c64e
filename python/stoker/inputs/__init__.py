"""How columns become the model's inputs: a small vocabulary of declarations for the estimators' parameter `inputs`.

    inputs={"numbers": [Numeric("distance", standardize=True), Numeric("temp", nulls="mask")],
            "codes": [Category("carrier"), Hashed("tailnum", 1000)]}

Each name is an argument of the model's forward. A list is packed into one tensor [rows, values], a declaration alone
keeps its own shape. docs/inputs.md tells it all. What is learnt from the rows (vocabularies, means) is filled into the
declarations: a declaration that has everything is complete, and `learn` completes.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Array": "array",
    "Category": "category",
    "DateParts": "dates",
    "Declared": "declared",
    "Hashed": "category",
    "Image": "image",
    "Numeric": "number",
    "Padded": "wrappers",
    "Present": "wrappers",
    "Text": "text",
    "as_inputs": "declarations",
    "from_json": "declarations",
    "learn": "learning",
    "sizes": "declarations",
    "to_json": "declarations",
    "width": "fields",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stoker.inputs' has no attribute '{name}'")
    return getattr(import_module(f"stoker.inputs.{_HOMES[name]}"), name)
