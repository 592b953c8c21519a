"""The own functions of the Hugging Face image: a `pipeline` over the files of the archive."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mme_sdk.artifacts.profiles import profile_named
from mme_sdk.local.containers.python.formats import UnsupportedModelError, gpu, named_extra
from mme_sdk.local.containers.python.payloads import CSV, JSON, NPY, PayloadError
from mme_sdk.types.matrix import media_type

__all__ = ["decode", "encode", "functions"]

_PROFILE = profile_named("huggingface")
# Task of a model by the end of the name of its architecture; the last one that matches counts.
_TASKS = {
    "TapasForQuestionAnswering": "table-question-answering",
    "ForQuestionAnswering": "question-answering",
    "ForTokenClassification": "token-classification",
    "ForSequenceClassification": "text-classification",
    "ForMultipleChoice": "multiple-choice",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "MTModel": "text2text-generation",
    "EncoderDecoderModel": "text2text-generation",
    "GPT2LMHeadModel": "text-generation",
    "T5WithLMHeadModel": "text2text-generation",
}
_WITHOUT_TOKENIZER = (
    "audio-classification",
    "automatic-speech-recognition",
    "image-classification",
    "image-segmentation",
    "object-detection",
    "zero-shot-image-classification",
)


def functions() -> dict[str, Callable[..., Any]]:
    """Return the functions that serve a model for those that its script does not define."""
    return {"model_fn": _model_fn, "input_fn": decode, "predict_fn": _predict_fn, "output_fn": encode}


def _model_fn(model_dir: str) -> Any:
    folder = Path(model_dir)
    task = os.environ.get("HF_TASK") or _task(folder)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # nothing is downloaded
    with named_extra("the model of config.json"):
        return _pipeline(folder, task)


def _pipeline(folder: Path, task: str) -> Any:
    import transformers  # pyright: ignore[reportMissingImports]

    processor = "feature_extractor" if task in _WITHOUT_TOKENIZER else "tokenizer"
    trusted = os.environ.get("HF_TRUST_REMOTE_CODE", "").lower() in ("1", "on", "t", "true", "y", "yes")
    return transformers.pipeline(
        task=task,
        model=str(folder),
        device=-1 if gpu() is None else gpu(),
        trust_remote_code=trusted,
        **{processor: str(folder)},
    )


def _task(folder: Path) -> str:
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "model_index.json").is_file():
            raise UnsupportedModelError(
                "the archive is a model of the library diffusers, which the Python container does not load: "
                "add code/inference.py with a model_fn"
            )
        raise UnsupportedModelError(
            "the Hugging Face image needs config.json at the top of the archive, the variable HF_TASK in the "
            "environment of the model, or code/inference.py with a model_fn"
        )
    try:
        architecture = json.loads(path.read_bytes()).get("architectures", [""])[0]
    except (ValueError, AttributeError, IndexError, TypeError) as error:
        raise UnsupportedModelError(f"config.json is not the configuration of a model: {error}") from error
    found = [task for end, task in _TASKS.items() if str(architecture).endswith(end)]
    if not found:
        raise UnsupportedModelError(
            f"the task of a {architecture or 'model without an architecture'} is not known: set HF_TASK in the "
            "environment of the model"
        )
    return found[-1]


def decode(body: str | bytes, content_type: str | None) -> Any:
    """Decode a request as the image does: the default `input_fn`.

    Args:
        body: Request body.
        content_type: Media type of the body.

    Returns:
        For JSON the value, for CSV, images and sound `{"inputs": …}`, for NPY an array.

    Raises:
        PayloadError: The body is not valid, or its media type is not supported.
    """
    import numpy as np

    media = media_type(content_type or "")
    data = body.encode() if isinstance(body, str) else bytes(body)
    if media not in _PROFILE.accepts:
        raise PayloadError(
            400, f"content type {media!r} is not supported by the Hugging Face image; send one of {_SENT}"
        )
    try:
        if media == JSON:
            return json.loads(data)
        if media == CSV:
            return _table(data.decode())
        if media == NPY:
            return np.load(io.BytesIO(data), allow_pickle=False)
        if media.startswith("audio/"):
            return {"inputs": data}
        from PIL import Image

        return {"inputs": Image.open(io.BytesIO(data)).convert("RGB")}
    except ImportError as error:
        raise PayloadError(400, f"{media} needs the package pillow where the container runs ({error})") from error
    except (ValueError, OSError, EOFError, csv.Error) as error:
        raise PayloadError(400, f"the body is not {media}: {error}") from error


def _table(text: str) -> dict[str, Any]:
    lines = text.splitlines()
    if not lines or not any(name in lines[0].lower() for name in ("question", "context", "inputs")):
        raise PayloadError(400, "the CSV has no header row with the column inputs, or question and context")
    rows = list(csv.DictReader(io.StringIO(text)))
    if rows and "inputs" in rows[0]:
        return {"inputs": [row["inputs"] for row in rows]}
    return {"inputs": rows}


def _predict_fn(data: Any, model: Any) -> Any:
    if not isinstance(data, dict):
        raise PayloadError(400, 'the body must be an object such as {"inputs": …, "parameters": {…}}')
    data = dict(data)
    inputs = data.pop("inputs", data)
    parameters = data.pop("parameters", None)
    return model(inputs, **(parameters or {}))


def encode(prediction: Any, accept: str) -> Any:
    """Encode a prediction as the image does: the default `output_fn`.

    Args:
        prediction: Return value of the model.
        accept: Media type of the answer.

    Returns:
        The body.

    Raises:
        PayloadError: The media type is not supported, or cannot represent the prediction.
    """
    import numpy as np

    if accept == JSON:
        return json.dumps(prediction, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    if accept == NPY:
        out = io.BytesIO()
        np.save(out, prediction, allow_pickle=False)
        return out.getvalue()
    if accept == CSV:
        rows = prediction if isinstance(prediction, list) else [prediction]
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise PayloadError(400, "CSV cannot represent a prediction that is not a list of objects")
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
    raise PayloadError(
        400, f"Accept {accept!r} is not supported by the Hugging Face image; use one of {', '.join(_PROFILE.answers)}"
    )


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be encoded as JSON; add an output_fn to code/inference.py")


_SENT = ", ".join(_PROFILE.accepts)
