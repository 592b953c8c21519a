"""A loopback server that records requests of SageMaker Runtime and S3, and answers each as it should be answered."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs

from mme_sdk.local.wire.event_stream import encode_payload_part


@attrs.frozen
class Recorded:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Recorder:
    """Records what arrives.

    Attributes:
        requests: What arrived, in order. A payload `blocks` is not answered.
        mood: `well`, `cold` (each model is loading), or `drops` (the first request is left without an answer).
        said: Response headers of invocations, beside the usual ones.
    """

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.mood = "well"
        self.said: dict[str, str] = {}
        self.ended = threading.Event()
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_PUT(self) -> None:
                self.record()
                self.answer(200, b"", {"ETag": '"0"'})

            def do_POST(self) -> None:
                self.record()
                if recorder.requests[-1].body == b"blocks":
                    recorder.ended.wait()
                    self.close_connection = True
                elif recorder.mood == "drops" and len(recorder.requests) == 1:
                    self.close_connection = True
                elif recorder.mood == "cold":
                    self.answer(429, b'{"Message": "loading"}', {"x-amzn-ErrorType": "ModelNotReadyException"})
                elif self.path.endswith("/async-invocations"):
                    where = {"X-Amzn-SageMaker-OutputLocation": "s3://answers/1.out"}
                    self.answer(202, b'{"InferenceId": "i-1"}', where)
                elif self.path.endswith("-response-stream"):
                    kind = {"Content-Type": "application/vnd.amazon.eventstream"}
                    self.answer(200, encode_payload_part(b"[1.0]"), kind | recorder.said)
                else:
                    self.answer(200, b"[1.0]", {"Content-Type": "application/json"} | recorder.said)

            def record(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.requests.append(Recorded(self.command, self.path, headers, body))

            def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def reset(self) -> None:
        """Forget what arrived, and answer well again."""
        self.requests.clear()
        self.mood, self.said = "well", {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def invocations(self) -> list[Recorded]:
        return [one for one in self.requests if one.method == "POST"]

    def json(self) -> Any:
        return json.loads(self.invocations[-1].body)

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
