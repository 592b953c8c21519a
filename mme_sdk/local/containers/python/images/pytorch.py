"""The own functions of the PyTorch image: TorchScript, tensors of JSON, CSV and NPY."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mme_sdk.artifacts.profiles import profile_named
from mme_sdk.local.containers.python.formats import UnsupportedModelError, gpu, load, named_extra, torchscript
from mme_sdk.local.containers.python.payloads import CSV, JSON, PayloadError, decode, encode
from mme_sdk.types.matrix import media_type

__all__ = ["functions"]

_PROFILE = profile_named("pytorch")


def functions() -> dict[str, Callable[..., Any]]:
    """Return the functions that serve a model for those that its script does not define."""
    return {"model_fn": _model_fn, "input_fn": _input_fn, "predict_fn": _predict_fn, "output_fn": _output_fn}


def _model_fn(model_dir: str) -> Any:
    folder = Path(model_dir)
    names = [path.name for path in folder.iterdir() if path.is_file()]
    found = _PROFILE.files(names, multi_model=False)
    if len(found) != 1:
        raise UnsupportedModelError(
            "the PyTorch image loads model.pt, or the only .pt or .pth file at the top of the archive; found: "
            f"{', '.join(found or sorted(names)[:20]) or 'nothing'}"
        )
    return load(folder / found[0], torchscript)


def _input_fn(body: str | bytes, content_type: str | None) -> Any:
    import numpy as np

    with named_extra("the PyTorch image"):
        import torch  # pyright: ignore[reportMissingImports]
    media = media_type(content_type or "")
    if media not in _PROFILE.accepts:
        raise PayloadError(
            415,
            f"content type {media!r} is not supported by the PyTorch image; send one of {', '.join(_PROFILE.accepts)}",
        )
    value = decode(body.encode() if isinstance(body, str) else body, media).value
    try:
        if media in (JSON, CSV):
            # The image reads CSV by numpy.genfromtxt, which drops dimensions of length one.
            table = np.asarray(value, dtype=np.float32)
            tensor = torch.from_numpy(np.squeeze(table) if media == CSV else table)
        else:
            tensor = torch.from_numpy(value)
    except (TypeError, ValueError) as error:
        raise PayloadError(400, f"the body is not a tensor: {error}") from error
    return tensor if gpu() is None else tensor.to(f"cuda:{gpu()}")


def _predict_fn(data: Any, model: Any) -> Any:
    with named_extra("the PyTorch image"):
        import torch  # pyright: ignore[reportMissingImports]
    with torch.no_grad():
        return model.eval()(data) if hasattr(model, "eval") else model(data)


def _output_fn(prediction: Any, accept: str) -> tuple[bytes, str]:
    return encode(prediction.detach().cpu().numpy() if hasattr(prediction, "detach") else prediction, accept)
