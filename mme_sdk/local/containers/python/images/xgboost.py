"""The algorithm mode of the XGBoost image, as functions of a script; and its default input_fn for scripts."""

from __future__ import annotations

import csv
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mme_sdk.local.containers.python import toolkits
from mme_sdk.local.containers.python.formats import UnsupportedModelError, load
from mme_sdk.local.containers.python.images.profile import is_multi_model
from mme_sdk.local.containers.python.payloads import CSV, JSON, PayloadError
from mme_sdk.local.containers.python.prediction import predict
from mme_sdk.types.matrix import from_csv, media_type

__all__ = ["functions", "script_input_fn"]

_LIBSVM = ("text/libsvm", "text/x-libsvm")


def functions() -> dict[str, Callable[..., Any]]:
    """Return the functions that serve an archive without a script."""
    return {"model_fn": _model_fn, "input_fn": _input_fn, "predict_fn": _predict_fn, "output_fn": _output_fn}


def script_input_fn(body: str | bytes, content_type: str | None) -> Any:
    """Convert a request to a DMatrix: the `input_fn` of a script that defines none.

    Args:
        body: Request body.
        content_type: Media type of the body.

    Returns:
        An xgboost DMatrix.

    Raises:
        PayloadError: The media type is neither CSV nor libsvm, or the body is not valid (415).
    """
    import xgboost

    matrix, _ = _input_fn(body, content_type)
    return xgboost.DMatrix(matrix)


def _model_fn(model_dir: str) -> list[Any]:
    """Load every file at the top as a Booster. Several ones, such as those of k-fold training, predict together."""
    folder = Path(model_dir)
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    together = os.environ.get("SAGEMAKER_INFERENCE_ENSEMBLE", "true") == "true"
    if not files or (len(files) > 1 and not together):
        found = ", ".join(path.name for path in files) or "none"
        raise UnsupportedModelError(
            f"the XGBoost image loads one file at the top of the archive; found: {found}. Keep only the model's file"
        )
    return [_booster(path) for path in files]


def _booster(path: Path) -> Any:
    booster = load(path, _load)
    import xgboost

    if not isinstance(booster, xgboost.Booster):
        raise UnsupportedModelError(
            f"{path.name} contains a {type(booster).__name__}; the XGBoost image loads a Booster: "
            "save get_booster() of the estimator"
        )
    booster.set_param({"nthread": 1})
    return booster


def _load(path: Path) -> Any:
    import xgboost

    try:
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301 - the model's own isolated process
    except ModuleNotFoundError:
        raise
    except Exception as not_pickled:  # noqa: BLE001 - other bytes can raise any exception
        booster = xgboost.Booster()
        try:
            booster.load_model(path)
        except Exception as not_native:
            reason = str(not_native).strip().splitlines()[0]
            raise UnsupportedModelError(
                f"Unable to load model: {path.name} is neither a pickle ({not_pickled}) "
                f"nor a model of XGBoost ({reason})"
            ) from not_native
        return booster


def _input_fn(body: str | bytes, content_type: str | None) -> tuple[Any, str]:
    media = media_type(content_type or CSV)
    if media not in (CSV, *_LIBSVM):
        raise PayloadError(
            415, f"content type {media!r} is not supported by the XGBoost image; send {CSV} or {_LIBSVM[0]}"
        )
    try:
        text = (body if isinstance(body, str) else body.decode("utf-8")).strip()
        return (from_csv(_with_commas(text)) if media == CSV else toolkits.libsvm(text)), media
    except ValueError as error:
        raise PayloadError(415, f"the body is not {media}: {error}") from error


def _with_commas(text: str) -> str:
    """Replace the delimiter of a CSV, which the image detects in the first line, by a comma."""
    try:
        delimiter = csv.Sniffer().sniff(text.partition("\n")[0][:512], delimiters=",;\t|").delimiter
    except csv.Error:
        return text
    return text.replace(delimiter, ",")


def _predict_fn(data: tuple[Any, str], boosters: list[Any]) -> Any:
    import numpy as np

    predictions = [_predict(data, booster) for booster in boosters]
    if len(predictions) == 1:
        return predictions[0]
    if objective(boosters[0]) not in ("multi:softmax", "binary:hinge"):
        return np.mean(predictions, axis=0)
    return np.array([max(sorted(set(votes)), key=votes.count) for votes in np.transpose(predictions).tolist()])


def objective(booster: Any) -> str:
    """Return the name of the objective function that a Booster was trained with."""
    name: str = json.loads(booster.save_config())["learner"]["objective"]["name"]
    return name


def _predict(data: tuple[Any, str], booster: Any) -> Any:
    import xgboost
    from scipy.sparse import csr_matrix

    matrix, media = data
    features = booster.num_features()
    if media == CSV:
        return predict(matrix, booster)
    if matrix.shape[1] > features:
        raise PayloadError(400, f"the rows have the index {matrix.shape[1] - 1}; the model has {features} features")
    # A missing index is a missing value, also at the end of every row.
    whole = csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], features))
    return booster.predict(xgboost.DMatrix(whole), validate_features=False)


def _output_fn(prediction: Any, accept: str) -> tuple[str, str]:
    values = prediction.tolist()
    media = accept.lower()
    if media in (CSV, "csv"):
        if os.environ.get("SAGEMAKER_BATCH") == "true":
            return "".join(f"{value}\n" for value in values), CSV
        return ",".join(map(str, values)), CSV
    if media in (JSON, "json"):
        single = {"predictions": [{"score": value} for value in values]}
        return json.dumps(values if is_multi_model() else single), JSON
    raise PayloadError(
        415 if is_multi_model() else 406,
        f"Accept {accept!r} is not supported by the XGBoost image; use {CSV} or {JSON}",
    )
