"""Fitted estimators to files, each by its own library, so that a container can load them without our help."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mme_sdk.errors import InvalidInputError, MissingExtraError, StorageError

__all__ = ["is_estimator", "save"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can tell


def is_estimator(source: Any) -> bool:
    """Whether an object is a model of a library that `save` knows.

    Args:
        source: Anything.

    Returns:
        True for estimators and boosters of scikit-learn, XGBoost and LightGBM, and for ONNX models.
    """
    return _saver(source) is not None


def save(estimator: Any, directory: str | Path) -> Path:
    """Save a fitted estimator into a directory, in the format that its library and its containers read.

    scikit-learn goes through skops, which needs no pickle to load, and through joblib where skops cannot hold it.

    Args:
        estimator: A model of scikit-learn, XGBoost, LightGBM or ONNX.
        directory: Where to.

    Returns:
        The file written.

    Raises:
        InvalidInputError: Not such a model, or not fitted.
        MissingExtraError: What saves it is not installed.
        StorageError: The disk is full.
    """
    saver = _saver(estimator)
    if saver is None:
        raise InvalidInputError(
            f"cannot save a {type(estimator).__name__}: no model of scikit-learn, XGBoost, LightGBM or ONNX",
            hint="save it into a directory with its own library, and register that",
        )
    try:
        return saver(estimator, Path(directory))
    except OSError as error:
        raise StorageError(f"cannot save the model: {error.strerror or error}") from error
    except ImportError as error:
        raise MissingExtraError(
            f"saving a {type(estimator).__name__} needs {error.name}", hint=f"pip install {error.name}"
        ) from error


def _saver(source: Any) -> Callable[[Any, Path], Path] | None:
    # By the module's name, so that nothing is imported to say no. Wrappers of boosters are scikit-learn estimators too.
    if isinstance(source, type):
        return None
    libraries = [kind.__module__.partition(".")[0] for kind in type(source).__mro__]
    if type(source).__name__ == "ModelProto":
        libraries.append("onnx")
    return next((saver for library, saver in _SAVERS.items() if library in libraries), None)


def _xgboost(model: Any, directory: Path) -> Path:
    booster = _fitted(model.get_booster) if hasattr(model, "get_booster") else model
    path = directory / "model.ubj"
    booster.save_model(path)
    return path


def _lightgbm(model: Any, directory: Path) -> Path:
    booster = _fitted(lambda: model.booster_) if hasattr(type(model), "booster_") else model
    path = directory / "model.lgb"
    booster.save_model(str(path))
    return path


def _onnx(model: Any, directory: Path) -> Path:
    path = directory / "model.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _sklearn(model: Any, directory: Path) -> Path:
    from sklearn.utils.validation import check_is_fitted

    _fitted(lambda: check_is_fitted(model))
    data = _skops(model)
    if data is not None:
        path = directory / "model.skops"
        path.write_bytes(data)
        return path
    import joblib

    path = directory / "model.joblib"
    joblib.dump(model, path)
    return path


def _skops(model: Any) -> bytes | None:
    """The model as skops writes it, the same bytes each time; None where a container would not trust it."""
    try:
        from skops import io as skops
    except ImportError:
        return None
    try:
        data = skops.dumps(model)
        if skops.get_untrusted_types(data=data):
            return None
    except Exception:  # noqa: BLE001 - whatever skops cannot hold is joblib's to save
        return None
    return _canonical(data)


def _canonical(data: bytes) -> bytes:
    """A skops file without what changes from run to run: addresses of objects, and times."""
    numbers: dict[int, int] = {}

    def renumber(node: Any) -> Any:
        if isinstance(node, list):
            return [renumber(one) for one in node]
        if not isinstance(node, dict):
            return node
        fresh = {}
        for key, value in node.items():
            if key == "__id__" and isinstance(value, int):
                fresh[key] = numbers.setdefault(value, len(numbers) + 1)
            else:
                fresh[key] = renumber(value)
        return fresh

    with zipfile.ZipFile(io.BytesIO(data)) as old:
        text = json.dumps(renumber(json.loads(old.read("schema.json"))), indent=2)
        names: dict[str, str] = {}
        for name in old.namelist():
            stem, dot, suffix = name.partition(".")
            if stem.isdigit() and int(stem) in numbers:
                names[name] = f"{numbers[int(stem)]}{dot}{suffix}"
                text = text.replace(json.dumps(name), json.dumps(names[name]))
        contents = {names.get(name, name): old.read(name) for name in old.namelist() if name != "schema.json"}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for name, content in [*sorted(contents.items()), ("schema.json", text.encode())]:
            new.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return out.getvalue()


def _fitted(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except Exception as error:  # every library has its own NotFittedError
        if "fitted" in type(error).__name__.lower() or "fit" in str(error).lower():
            raise InvalidInputError(f"the model is not fitted: {error}", hint="call fit() first") from error
        raise


_SAVERS: dict[str, Callable[[Any, Path], Path]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "sklearn": _sklearn,
}
