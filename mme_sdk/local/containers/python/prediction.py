"""The default `predict_fn`: predict with a model of any library."""

from __future__ import annotations

import os
import re
from typing import Any

from mme_sdk.local.containers.python.formats import UnsupportedModelError
from mme_sdk.local.containers.python.payloads import PayloadError

__all__ = ["predict"]


def predict(data: Any, model: Any) -> Any:
    """Predict with a model of any library of `FORMATS`.

    Args:
        data: The decoded input.
        model: The return value of `Format.load`.

    Returns:
        The prediction.
    """
    kind = f"{type(model).__module__.partition('.')[0]}.{type(model).__name__}"
    data = _frame(data)
    if kind == "xgboost.Booster":
        return _run_xgboost(data, model)
    if kind == "onnxruntime.InferenceSession":
        return _run_onnx(data, model)
    if kind.startswith("catboost."):
        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        return model.predict(_by_name(data, model.feature_names_), thread_count=threads)
    if kind == "lightgbm.Booster":
        return model.predict(_by_name(data, model.feature_name()))
    if hasattr(model, "predict"):
        return model.predict(data)
    if callable(model):
        return model(data)
    raise UnsupportedModelError(
        f"the model, a value of the type {type(model).__name__}, has no predict method and is not callable: "
        "add predict_fn to code/inference.py"
    )


def _table(data: Any) -> Any:
    import numpy as np

    return np.atleast_2d(np.asarray(data, dtype=float))


def _run_xgboost(data: Any, booster: Any) -> Any:
    import xgboost

    # Like AWS's container, accept rows without column names even if the model was trained on a data frame.
    if isinstance(data, xgboost.DMatrix):
        return booster.predict(data, validate_features=False)
    table = _table(_by_name(data, booster.feature_names))
    if table.shape[1] != booster.num_features():  # XGBoost would fill missing columns with NaN
        raise PayloadError(
            400, f"the rows have {table.shape[1]} columns; the model has {booster.num_features()} features"
        )
    return booster.predict(xgboost.DMatrix(table), validate_features=False)


def _frame(data: Any) -> Any:
    """Convert a list of records to a data frame, which estimators with named columns require."""
    if isinstance(data, list) and data and isinstance(data[0], dict):
        import pandas as pd

        return pd.DataFrame(data)
    return data


def _by_name(data: Any, names: list[str] | None) -> Any:
    """Order the columns of a data frame as in training. Return data unchanged if it or the model has no names."""
    given = [str(name) for name in getattr(data, "columns", ())]
    if not given or not names or given == names or all(re.fullmatch(r"Column_\d+", name) for name in names):
        return data
    if sorted(given) != sorted(names):
        raise PayloadError(
            400, f"the columns are {', '.join(given[:20])}; the model was trained with {', '.join(names[:20])}"
        )
    return data.iloc[:, [given.index(name) for name in names]]


_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}


def _run_onnx(data: Any, session: Any) -> Any:
    wanted = session.get_inputs()
    names = [one.name for one in wanted]
    if hasattr(data, "columns") and len(wanted) > 1:
        data = {str(name): data[[name]].to_numpy() for name in data.columns}
    named = data if isinstance(data, dict) else {names[0]: data}
    if set(named) != set(names):
        raise PayloadError(400, f"the inputs are {', '.join(sorted(named))}; the model has {', '.join(names)}")
    outputs = session.run(None, {one.name: _tensor(named[one.name], one) for one in wanted})
    return (
        outputs[0]
        if len(outputs) == 1
        else dict(zip((one.name for one in session.get_outputs()), outputs, strict=True))
    )


def _tensor(value: Any, wanted: Any) -> Any:
    """Convert an input to the type of the model.

    Raises:
        PayloadError: The conversion would change an integer, a boolean or a string.
    """
    import numpy as np

    given, kind = np.asarray(value), _ONNX_TYPES.get(wanted.type)
    tensor: Any = None
    try:
        tensor = np.asarray(given, dtype=kind)
        texts = {isinstance(one, str) for one in given.ravel()} if given.dtype.kind in "OU" else set()
        changed = (tensor.dtype.kind != "U") in texts or (
            tensor.dtype.kind != "f" and not np.array_equal(tensor.astype(object), given.astype(object))
        )
    except (ValueError, TypeError, OverflowError):
        changed = True
    if changed:
        raise PayloadError(
            400, f"input {wanted.name!r} has type {wanted.type}, which cannot represent values of the request"
        )
    return tensor
