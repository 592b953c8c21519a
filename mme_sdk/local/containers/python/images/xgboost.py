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
from mme_sdk.local.containers.python.images.selected import LINES
from mme_sdk.local.containers.python.images.selected import answer as selected_answer
from mme_sdk.local.containers.python.payloads import CSV, JSON, PayloadError
from mme_sdk.local.containers.python.prediction import predict
from mme_sdk.types.matrix import from_csv, media_type

__all__ = ["functions", "script_input_fn"]

_LIBSVM = ("text/libsvm", "text/x-libsvm")


def functions() -> dict[str, Callable[..., Any]]:
    """Return the functions that serve an archive without a script."""
    algorithm = _Algorithm()
    return {
        "model_fn": algorithm.load,
        "input_fn": _input_fn,
        "predict_fn": algorithm.predict,
        "output_fn": algorithm.encode,
    }


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


class _Algorithm:
    """The algorithm mode: the Boosters of an archive."""

    def __init__(self) -> None:
        self._objective, self._classes = "", 0

    def load(self, model_dir: str) -> list[Any]:
        """Load every file at the top as a Booster. Several ones, such as those of k-fold training, predict together."""
        folder = Path(model_dir)
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        together = os.environ.get("SAGEMAKER_INFERENCE_ENSEMBLE", "true") == "true"
        if not files or (len(files) > 1 and not together):
            found = ", ".join(path.name for path in files) or "none"
            raise UnsupportedModelError(
                f"the XGBoost image loads one file at the top of the archive; found: {found}. Keep only the model"
            )
        boosters = [_booster(path) for path in files]
        learner = json.loads(boosters[0].save_config())["learner"]
        self._objective = learner["objective"]["name"]
        self._classes = int(learner["learner_model_param"].get("num_class") or 0)
        return boosters

    def predict(self, data: tuple[Any, str], boosters: list[Any]) -> Any:
        """Predict with all Boosters: by their mean, or by their votes if they predict classes."""
        import numpy as np

        predictions = [_predict(data, booster) for booster in boosters]
        if len(predictions) == 1:
            return predictions[0]
        if self._objective not in ("multi:softmax", "binary:hinge"):
            return np.mean(predictions, axis=0)
        return np.array([max(sorted(set(votes)), key=votes.count) for votes in np.transpose(predictions).tolist()])

    def encode(self, prediction: Any, accept: str) -> tuple[str, str]:
        """Encode a prediction."""
        values = prediction.tolist()
        media = {"csv": CSV, "json": JSON}.get(accept.lower(), accept.lower())
        selected = os.environ.get("SAGEMAKER_INFERENCE_OUTPUT")
        if is_multi_model():
            answer = {JSON: json.dumps(values), CSV: ",".join(map(str, values))}
        elif selected is not None and media in (CSV, JSON, LINES):
            answer = {media: selected_answer(values, selected, self._objective, self._classes, media)}
        else:
            answer = {
                JSON: json.dumps({"predictions": [{"score": value} for value in values]}),
                CSV: toolkits.array_to_csv(values),
            }
        if media not in answer:
            raise PayloadError(
                415 if is_multi_model() else 406,
                f"Accept {accept!r} is not supported by the XGBoost image; use {CSV} or {JSON}",
            )
        if media == CSV and os.environ.get("SAGEMAKER_BATCH") == "true":
            return "".join(f"{value}\n" for value in values), CSV
        return answer[media], media


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
