"""The TensorFlow image: SavedModels, with the handlers of a script or without a script."""

from __future__ import annotations

import io
import json
import re
import secrets
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlencode

from mme_sdk.local.containers.python.images.profile import is_multi_model
from mme_sdk.local.containers.python.images.saved_models import Answer, SavedModels
from mme_sdk.local.containers.python.payloads import CSV, JSON, ModelResponse, PayloadError
from mme_sdk.types.matrix import media_type

__all__ = ["Context", "Handlers", "default_handler", "handlers"]

_LINES = ("application/jsonlines", "application/jsons")


class Context(NamedTuple):
    """The context of a request, with the fields that the image gives to handlers.

    Attributes:
        model_name: Name of the model in the custom attributes (`tfs-model-name`); None without one.
        model_version: Its version (`tfs-model-version`); None without one.
        method: The method (`tfs-method`); None without one.
        rest_uri: Address of the model's REST interface.
        grpc_port: Always `0`: there is no gRPC interface.
        channel: Always None.
        custom_attributes: The header X-Amzn-SageMaker-Custom-Attributes; None without one.
        request_content_type: Content type of the request. Default: `application/json`.
        accept_header: Accept header of the request. Default: `application/json`.
        content_length: Length of the body, in bytes.
    """

    model_name: str | None
    model_version: str | None
    method: str | None
    rest_uri: str
    grpc_port: str
    channel: Any
    custom_attributes: str | None
    request_content_type: str
    accept_header: str
    content_length: int


def handlers(functions: dict[str, Any]) -> Callable[[Any, Context, Callable[[bytes], Answer]], Any] | None:
    """Return what serves a request: `handler` of a script, or its `input_handler` and `output_handler`.

    Args:
        functions: The names that the script defines.

    Returns:
        A function of the body as a stream, the context, and a function that posts to the model; None if the script
        defines neither.
    """
    if "handler" in functions:
        return lambda data, context, _: functions["handler"](data, context)
    if "input_handler" in functions and "output_handler" in functions:

        def pair(data: Any, context: Context, post: Callable[[bytes], Answer]) -> Any:
            return functions["output_handler"](post(_posted(functions["input_handler"](data, context))), context)

        return pair
    return None


def default_handler(data: Any, context: Context, post: Callable[[bytes], Answer]) -> Any:
    """Serve a request without a script, as the image does."""
    body: bytes = data.read()
    media = media_type(context.request_content_type)
    if is_multi_model():
        pass  # the image passes the body on as it is
    elif media in (JSON, *_LINES):
        body = _from_json(body)
    elif media == CSV:
        body = _from_csv(body)
    else:
        raise PayloadError(
            415, f"content type {media!r} is not supported by the TensorFlow image; send {JSON}, {CSV} or {_LINES[0]}"
        )
    answer = post(body)
    accepts = context.accept_header.replace(" ", "").split(",")
    known = JSON in accepts or _LINES[0] in accepts
    return answer.content, accepts[0] if known else JSON, answer.status_code


def _from_json(body: bytes) -> bytes:
    text = body.decode()
    if re.search(r'"(instances|inputs|examples)"\s*:', text):
        return body
    if re.search(r"[}\]]\s*[\[{]", text):  # objects or lists without a comma between them: JSON lines
        lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
        text = lines[0] if len(lines) == 1 else f"[{','.join(lines)}]"
    elif not re.match(r"\s*\[\s*\[", text):
        text = f"[{text}]"
    return f'{{"instances":{text}}}'.encode()


def _from_csv(body: bytes) -> bytes:
    text = body.decode()
    quoted = re.match(r'\s*("|[\d.Ee+\-]+.*)', text) is None
    rows = []
    for line in text.strip().splitlines():
        if line.strip():
            row = line.strip()
            if quoted:
                row = ",".join(json.dumps(field) for field in row.split(","))
            rows.append(f"[{row}]" if "," in row else row)
    return f'{{"instances":[{",".join(rows)}]}}'.encode()


def _posted(value: Any) -> bytes:
    """Return the body that the library `requests` would send."""
    if hasattr(value, "read"):
        value = value.read()
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return b"" if value is None else value.encode() if isinstance(value, str) else urlencode(value).encode()


class Handlers:
    """A model of the TensorFlow image.

    Args:
        models: The SavedModels of the archive.
        handle: What serves a request.
        listen: Whether to listen on a port of the loopback interface, for the `rest_uri` of handlers.
    """

    def __init__(self, models: SavedModels, handle: Callable[..., Any], *, listen: bool) -> None:
        self._models = models
        self._handle = handle
        self._base = _listen(models) if listen else ""

    @property
    def loaded(self) -> Any:
        """The SavedModels."""
        return self._models

    def respond(self, body: bytes, content_type: str, accept: str, headers: dict[str, str]) -> ModelResponse:
        """Serve one request.

        Args:
            body: Request body.
            content_type: Media type of the body; empty without one.
            accept: Accepted media types; empty without them.
            headers: Request headers by lower-case name.

        Returns:
            The response. As on AWS, an error is a JSON object with the key `error`.
        """
        attributes = _attributes(headers.get("x-amzn-sagemaker-custom-attributes", ""))
        name, version = attributes.get("tfs-model-name"), attributes.get("tfs-model-version")
        target = (name or self._models.default) + (f"/versions/{version}" if version else "")
        target += f":{attributes.get('tfs-method', 'predict')}"
        context = Context(
            name,
            version,
            attributes.get("tfs-method"),
            f"{self._base}{target}",
            "0",
            None,
            headers.get("x-amzn-sagemaker-custom-attributes"),
            content_type or JSON,
            accept or JSON,
            len(body),
        )
        try:
            said, media, *status = self._handle(io.BytesIO(body), context, lambda sent: self._models.post(target, sent))
            data = said.encode() if isinstance(said, str) else bytes(memoryview(said))
            return ModelResponse(
                body=data, content_type=str(media or JSON), headers={}, status=status[0] if status else 200
            )
        except PayloadError as error:
            return _error(error.status, error.message)
        except Exception as error:  # noqa: BLE001 - a script can raise anything
            traceback.print_exception(error, file=sys.stderr)
            return _error(500, str(error))


def _error(status: int, message: str) -> ModelResponse:
    return ModelResponse(body=json.dumps({"error": message}).encode(), content_type=JSON, headers={}, status=status)


def _attributes(header: str) -> dict[str, str]:
    found = (one.split("=", 1) for one in re.findall(r"tfs-[a-z\-]+=[^,]+", header))
    return {key: value.strip() for key, value in found}


def _listen(models: SavedModels) -> str:
    """Serve the REST interface on the loopback interface; return the address of the models.

    Only this process knows the path, so that other processes of the machine cannot use the model.
    """
    prefix = f"/{secrets.token_urlsafe(24)}/v1/models/"

    class Rest(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if not secrets.compare_digest(self.path[: len(prefix)].encode(), prefix.encode()):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = models.post(self.path[len(prefix) :], body)
            self.send_response(answer.status_code)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
            """Write nothing: the log is the script's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Rest)
    threading.Thread(target=server.serve_forever, daemon=True, name="rest").start()
    return f"http://127.0.0.1:{server.server_port}{prefix}"
