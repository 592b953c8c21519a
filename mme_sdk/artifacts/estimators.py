"""Save fitted estimators with their own libraries, so that a container can load them without this SDK."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from mme_sdk.errors import InvalidInputError, MissingExtraError, StorageError

__all__ = ["is_estimator", "save"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can store


def is_estimator(source: Any) -> bool:
    """Return whether `save` supports an object.

    Args:
        source: Any object.

    Returns:
        True for estimators and boosters of scikit-learn, XGBoost, LightGBM and CatBoost, and for ONNX models.
    """
    return _saver(source) is not None


def save(estimator: Any, directory: str | Path) -> Path:
    """Save a fitted estimator into a directory, in the format of its library.

    scikit-learn estimators are saved with skops, which loads without pickle. Estimators that skops does not support are
    saved with joblib.

    Args:
        estimator: A model of scikit-learn, XGBoost, LightGBM, CatBoost or ONNX.
        directory: An existing directory.

    Returns:
        Path of the saved file.

    Raises:
        InvalidInputError: The object is not such a model, is not fitted, or contains a function or class that a
            container could not import.
        MissingExtraError: The library that saves it is not installed.
        StorageError: The file cannot be written, for example because the disk is full.

    Example:
        >>> save(LogisticRegression().fit(x, y), "build/fraud")  # doctest: +SKIP
        PosixPath('build/fraud/model.skops')
    """
    saver = _saver(estimator)
    if saver is None:
        raise InvalidInputError(
            f"cannot save a {type(estimator).__name__}: it is not a model of scikit-learn, XGBoost, LightGBM, CatBoost "
            "or ONNX",
            hint="save it into a directory with its own library, and register the directory",
        )
    try:
        return saver(estimator, Path(directory))
    except OSError as error:
        raise StorageError(
            f"cannot save the model into {directory}: {error.strerror or error}",
            hint="check the free space and permissions",
        ) from error
    except ImportError as error:
        raise MissingExtraError(
            f"saving a {type(estimator).__name__} needs {error.name}", hint=f"pip install {error.name}"
        ) from error


def _saver(source: Any) -> Callable[[Any, Path], Path] | None:
    # By the name of the module, so that no library is imported. Wrappers of boosters are scikit-learn estimators too.
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


def _catboost(model: Any, directory: Path) -> Path:
    if not model.is_fitted():
        raise InvalidInputError("the model is not fitted", hint="call fit() first")
    path = directory / "model.cbm"
    model.save_model(str(path))
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
    _check_imports(model)
    import joblib

    path = directory / "model.joblib"
    joblib.dump(model, path)
    return path


def _check_imports(model: Any) -> None:
    """Raise InvalidInputError if the model contains a function or class that no other process can import."""
    try:
        # The arrays are passed to the callback and not copied, so that a large model takes no memory twice.
        _ImportCheck(io.BytesIO(), protocol=5, buffer_callback=lambda _: None).dump(model)
    except InvalidInputError:
        raise
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InvalidInputError(f"cannot save the {type(model).__name__}: {error}", hint=_IMPORTABLE) from error


_IMPORTABLE = (
    "define its functions and classes in a module, such as code/features.py, and register a folder with this module, "
    "the saved model and a code/inference.py with a model_fn"
)


class _ImportCheck(pickle.Pickler):
    """Pickle stores functions and classes by name. A container has no `__main__` of the program that saved them."""

    def persistent_id(self, obj: Any) -> None:
        if isinstance(obj, (type, FunctionType)) and obj.__module__ == "__main__":
            raise InvalidInputError(
                f"the model contains {obj.__qualname__}, which this program or notebook defines (module __main__), and "
                "a container could not import it from there",
                hint=_IMPORTABLE,
            )


def _skops(model: Any) -> bytes | None:
    """Return the model in skops format, with the same bytes each time; None if a container would not trust it."""
    try:
        from skops import io as skops
    except ImportError:
        return None
    try:
        data = skops.dumps(model)
        if skops.get_untrusted_types(data=data):
            return None
    except Exception:  # noqa: BLE001 - joblib saves every model that skops does not support
        return None
    return _canonical(data)


def _canonical(data: bytes) -> bytes:
    """Return a skops file without the parts that change between runs: object addresses and times."""
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


def _fitted(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # each library has its own NotFittedError
        if "fitted" in type(error).__name__.lower() or "fit" in str(error).lower():
            raise InvalidInputError(f"the model is not fitted: {error}", hint="call fit() first") from error
        raise


_SAVERS: dict[str, Callable[[Any, Path], Path]] = {
    "catboost": _catboost,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "sklearn": _sklearn,
}
