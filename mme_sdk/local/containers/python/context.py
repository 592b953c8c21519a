"""The context argument of script functions, with the interface of SageMaker's toolkits."""

# ruff: noqa: ARG002 - scripts pass the index of the request, also by its name
from __future__ import annotations

from mme_sdk.local.containers.python.formats import gpu

__all__ = ["Context"]


class Context:
    """The context of one request, or of the load.

    The parameters and methods have the names of Multi Model Server. A request is never part of a batch, so that the
    index of the request is ignored.

    Args:
        model_dir: Folder of the extracted archive.
        headers: Request headers by lower-case name.
    """

    def __init__(self, model_dir: str, headers: dict[str, str]) -> None:
        self.system_properties = {"model_dir": model_dir, "gpu_id": gpu(), "batch_size": 1}
        self.manifest: dict[str, object] = {}
        self._headers = headers
        self._response_headers: dict[str, str] = {}
        self._content_type: str | None = None
        self._status = (200, "")

    @property
    def request_processor(self) -> list[Context]:
        """The request in Multi Model Server's older interface."""
        return [self]

    def get_request_id(self, idx: int = 0) -> str:
        """Return the id of the request; empty if it has none."""
        return self._headers.get("x-amzn-requestid", "")

    def get_request_header(self, idx: int, key: str) -> str | None:
        """Return a header of the request; the name can have any case."""
        return self._headers.get(key.lower())

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        """Return all headers of the request."""
        return dict(self._headers)

    def get_request_property(self, key: str) -> str | None:
        """Return a header of the request; the name can have any case."""
        return self._headers.get(key.lower())

    def get_request_properties(self) -> dict[str, str]:
        """Return all headers of the request."""
        return dict(self._headers)

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the media type of the response. As on AWS, the return value of the script replaces it."""
        self._content_type = value

    def get_response_content_type(self, idx: int) -> str | None:
        """Return the media type that the script has set."""
        return self._content_type

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set the HTTP status of the response."""
        self._status = (code, phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """Set the HTTP status of the response."""
        self._status = (code, phrase)

    def report_status(self, code: int, reason_phrase: str = "") -> None:
        """Set the HTTP status of the response."""
        self._status = (code, reason_phrase)

    def get_response_status(self, idx: int) -> tuple[int, str]:
        """Return the HTTP status of the response and its reason phrase."""
        return self._status

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of the response, such as X-Amzn-SageMaker-Custom-Attributes."""
        self._response_headers[key] = value

    def add_response_property(self, key: str, value: str) -> None:
        """Set a header of the response."""
        self._response_headers[key] = value

    def get_response_headers(self, idx: int = 0) -> dict[str, str]:
        """Return the headers of the response that the script has set."""
        return dict(self._response_headers)
