from __future__ import annotations

import http.client
import json
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mme_sdk.local import processes as children
from mme_sdk.local.containers import Command
from mme_sdk.local.hosting.connections import free_port


class Container:
    """A Python container on loopback, asked over plain HTTP."""

    def __init__(
        self, *arguments: str, env: dict[str, str] | None = None, key: str | None = None, log: Path | None = None
    ) -> None:
        errors = subprocess.PIPE if log is None else os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mme_sdk.local.containers.python", "--port", "0", "--exit-with-stdin", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=env,
            text=True,
        )
        if log is not None:
            os.close(errors)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if key is not None:
            self.process.stdin.write(f"{key}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert "listening on" in line, self.process.communicate()
        self.port = int(line.rpartition(":")[2])

    def healthy(self) -> Container:
        """Wait until it answers `/ping`; calls without a pause would slow the load that they wait for."""
        while self.ask("GET", "/ping")[0] != 200:
            assert self.process.poll() is None, self.process.communicate()
            Peer.pause()
        return self

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), {key.lower(): value for key, value in answer.getheaders()}
        finally:
            connection.close()

    def load(self, name: str, path: Path) -> tuple[int, dict[str, Any]]:
        status, body, _ = self.ask("POST", "/models", json.dumps({"model_name": name, "url": str(path)}).encode())
        return status, json.loads(body)

    def invoke(
        self, name: str, body: Any, content_type: str = "application/json", accept: str = "*/*", **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask(
            "POST",
            f"/models/{name}/invoke",
            raw,
            {"Content-Type": content_type, "Accept": accept, **{k.replace("_", "-"): v for k, v in headers.items()}},
        )

    def models(self) -> list[str]:
        return [one["modelName"] for one in json.loads(self.ask("GET", "/models")[1])["models"]]

    def close(self) -> str:
        self.process.terminate()
        _, errors = self.process.communicate(timeout=120)
        return errors


@contextmanager
def running(
    *arguments: str, env: dict[str, str] | None = None, key: str | None = None, log: Path | None = None
) -> Iterator[Container]:
    container = Container(*arguments, env=env, key=key, log=log)
    try:
        yield container
    finally:
        container.close()


def script(directory: Path, source: str, **files: str) -> Path:
    """An extracted archive with code/inference.py."""
    (directory / "code").mkdir(parents=True)
    (directory / "code" / "inference.py").write_text(source)
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


class Peer:
    """Any container of a `Command`, run as the host runs it."""

    def __init__(self, command: Command, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(3):  # another process can take the port between the moment it is found free and its use
            self._start(command, folder)
            for _ in range(3000):
                if self.process.poll() is not None or self.ask("GET", "/ping")[0] == 200:
                    break
                self.pause()
            if self.process.poll() is None and self.ask("GET", "/ping")[0] == 200:
                return
            self.close()
            if "ddress already in use" not in (folder / "log").read_text():
                break
        raise AssertionError((folder / "log").read_text()[-2000:])

    def _start(self, command: Command, folder: Path) -> None:
        self.port = free_port(random.SystemRandom())  # a seeded generator gives two workers of a test run equal ports
        self.socket = Path(tempfile.mkdtemp(dir="/tmp"), "s") if command.uses_socket else None
        values = {
            "port": str(self.port),
            "socket": str(self.socket),
            "memory": str(1 << 30),
            "directory": str(folder),
            "model": "",
        }
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            children.die_with_parent(command.words(single=False, values=values)),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "SAGEMAKER_MULTI_MODEL": "true", **command.variables(values)},
            start_new_session=True,
            cwd=folder,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(b"the-key\n")
        self.process.stdin.flush()

    @staticmethod
    def pause() -> None:
        select.select([], [], [], 0.05)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body; status 0 without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            if self.socket is not None:
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.settimeout(120)
                connection.sock.connect(str(self.socket))
            connection.request(method, path, body=body, headers={"X-Mme-Sdk-Key": "the-key", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def group(self) -> list[int]:
        """Processes of its group other than itself."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid="], capture_output=True, text=True, check=True).stdout
        pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
        return [pid for pid, group in pairs if group == self.process.pid and pid != self.process.pid]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=120)
        self._log.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
