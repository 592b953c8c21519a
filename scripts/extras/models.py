"""What the programs of the model libraries share: a saved model is found, loaded and asked as in the container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mme_sdk.local.containers.python.formats import find, load
from mme_sdk.local.containers.python.prediction import predict


def answer(directory: str | Path, data: Any) -> list[Any]:
    """Return the predictions of the only model of a directory."""
    found = find(Path(directory))
    assert found is not None, "no model was found"
    return list(predict(data, load(found[1], found[0].load)))
