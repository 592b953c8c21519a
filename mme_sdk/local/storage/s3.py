"""S3 on 127.0.0.1: SeaweedFS as a child process with its data on disk."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sysconfig
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from mme_sdk.errors import ConfigurationError, MissingExtraError
from mme_sdk.local import processes
from mme_sdk.local.ports import reserve
from mme_sdk.local.storage import disk, tls
from mme_sdk.protocols import Clock

__all__ = ["RECORD", "S3Server", "add_disk_space_to_error", "disk_space_warning"]

_PORT_TAKEN = ("address already in use", "Port allocation failed")
_SERVERS = ("master", "volume", "filer")
_SOCKET_MIN_AGE = 60.0  # seconds; a younger socket may not have a listener yet
_SOCKETS = Path("/tmp")  # noqa: S108 - SeaweedFS puts its unix sockets here, regardless of TMPDIR
_FILER_SOCKET = "filer.sock"
RECORD = "weed.json"
_CONFIG = "s3.json"
_MIN_FREE_SHARE = 0.01  # of the disk; SeaweedFS refuses writes if less is free
_LOW_FREE_BYTES = 256 << 20  # bytes; a large object may not fit
_GRPC_OFFSET = 10000  # the worker of the admin server adds this to the HTTP port to get the gRPC port
# Prefixes of variables that would configure SeaweedFS. Those in the environment are for other programs.
_REMOVED_VARIABLES = ("AWS_", "S3_", "WEED_")


class S3Server:
    """SeaweedFS as an S3 server on 127.0.0.1.

    Its other listeners (master, volume, filer, admin; HTTP and gRPC) require a client certificate that only this
    SeaweedFS has.

    Args:
        data_dir: Folder for objects and logs. It is created if it does not exist.
        port: TCP port of S3. The default 0 takes a free port.
        access_key: The access key that requests must be signed with.
        secret_key: The secret key that requests must be signed with.
        kms_url: URL of the KMS that creates data keys for SSE-KMS. Default None: requests for SSE-KMS fail.
        region: AWS region for requests to the KMS, default `us-east-1`.
        start_timeout: Seconds until the server must answer, default 60.
        keep: Whether the data is used again, default True. Otherwise `stop` kills the process at once, because an
            orderly stop takes more than a second.
        clock: Clock for waiting. Default: that of the system.

    Attributes:
        data_dir: Folder for objects and logs, as an absolute path.
        port: TCP port; the one in use after `start`.

    Example:
        >>> with S3Server(Path("/tmp/objects"), access_key="local", secret_key="secret") as s3:  # doctest: +SKIP
        ...     print(s3.endpoint_url)
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        access_key: str,
        secret_key: str,
        kms_url: str | None = None,
        region: str = "us-east-1",
        start_timeout: float = 60.0,
        keep: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.port = port
        self._requested_port = self._next_port = port
        # In a file: any program of the same user can read the environment of a process.
        self._config = _configuration(access_key, secret_key, kms_url, region)
        self._start_timeout = start_timeout
        self._keep = keep
        self._clock: Clock = clock or time
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}

    @property
    def endpoint_url(self) -> str:
        """The URL of the server, for `AWS_ENDPOINT_URL_S3`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of SeaweedFS; None if it is not started."""
        return None if self._process is None else self._process.pid

    @property
    def _record(self) -> Path:
        return self.data_dir / RECORD

    @property
    def _output(self) -> Path:
        return self.data_dir / "log" / "weed.out"

    def start(self) -> S3Server:
        """Start SeaweedFS and wait until it answers.

        Returns:
            This server.

        Raises:
            MissingExtraError: The `local` extra is not installed.
            ConfigurationError: The port is in use, or SeaweedFS does not start. Nothing is left running.
            StorageError: The disk is full, or a file cannot be written.
        """
        self.spawn()
        self.finish_start()
        return self

    def finish_start(self) -> None:
        """Wait until the process that `spawn` started answers. Start it again if another program took one of its ports.

        Raises:
            MissingExtraError: The `local` extra is not installed.
            ConfigurationError: The port is in use, or SeaweedFS does not start. Nothing is left running.
            StorageError: The disk is full, or a file cannot be written.
        """
        # SeaweedFS binds the free ports later, and another program may bind one first: try again.
        for last in (False, False, True):
            unprotected = None
            try:
                self._wait_for_answer()
                unprotected = self._listener_without_tls()
                self._refuse(unprotected)
            except ConfigurationError:
                self.stop()
                # What answers without TLS may be a program that took the port first.
                if last or (unprotected is None and not any(sign in self._last_output(4000) for sign in _PORT_TAKEN)):
                    raise
                self._next_port = self._requested_port
                self.spawn()
            except BaseException:
                self.stop()
                raise
            else:
                break

    def spawn(self) -> None:
        """Start the process without waiting. Linux kills it when the calling thread ends.

        Raises:
            MissingExtraError: The `local` extra is not installed.
            ConfigurationError: The port is in use, the path has a comma, or another user owns a file in the folder.
            StorageError: A file cannot be written.
        """
        if "," in str(self.data_dir):
            raise ConfigurationError(
                f"SeaweedFS cannot use the folder {self.data_dir}: it treats the comma as a separator of two folders",
                hint="choose another data_dir (--data-dir)",
            )
        weed = _find_weed()
        try:
            disk.make_folder(self.data_dir / "log")
            disk.make_private(self.data_dir)
        except OSError as error:
            raise disk.write_error(self.data_dir, error) from error
        left_behind = processes.kill_recorded(self._record)
        if left_behind is not None:
            _remove_sockets(left_behind.get("ports"))
        _remove_stale_sockets()
        # SeaweedFS writes its options here and would use them at the next start.
        (self.data_dir / "mini.options").unlink(missing_ok=True)
        tls.write_certificates(self.data_dir)
        disk.write_atomically(self.data_dir / _CONFIG, self._config)
        self._ports = _free_ports(self._next_port)
        self.port = self._next_port = self._ports["s3"]  # used again when SeaweedFS is restarted
        data = str(self.data_dir)
        ports = [
            f"-{name}.port{'.grpc' if grpc else ''}={number}"
            for (name, _, grpc), number in ((key.partition("."), number) for key, number in self._ports.items())
        ]
        command = [
            str(weed),
            f"-logdir={self.data_dir / 'log'}",
            "mini",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *ports,
            "-master.telemetry=false",
            # Every bucket has its own volumes, and a few small buckets use up the default number.
            "-master.volumeSizeLimitMB=128",
            "-volume.max=100000",
            "-volume.preStopSeconds=0",
            f"-s3.config={_CONFIG}",
            "-s3.allowDeleteBucketNotEmpty=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-s3.allowedOrigins=none",  # not an origin, so that only the CORS rules of a bucket allow web pages
            # Relative to the data directory, which other users cannot enter. An absolute path may be too long.
            f"-filer.localSocket={_FILER_SOCKET}",
            "-s3.localSocket=s3.sock",
            "-admin.ui=false",
            "-webdav=false",
        ]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_REMOVED_VARIABLES)}
        recorded = sorted(self._ports.values())
        # Record the ports before the start, so that the sockets can be removed if the host is killed now.
        processes.record_process(self._record, None, data, ports=recorded)
        with disk.open_private(self._output) as output:
            self._process = subprocess.Popen(
                processes.die_with_parent(command),
                env=inherited | {"HOME": data},  # SeaweedFS reads settings from ~/.seaweedfs
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=data,
                start_new_session=True,  # Ctrl-C in a terminal must not stop SeaweedFS before the host does
                umask=0o077,
            )
        try:
            processes.record_process(self._record, self._process.pid, data, ports=recorded)
        except BaseException:
            self.stop()
            raise

    def wait_ready(self) -> None:
        """Wait until the server answers, then check that its other listeners require TLS.

        Raises:
            ConfigurationError: The process exited, `start_timeout` is over, or a listener accepts requests without TLS.
        """
        self._wait_for_answer()
        self._refuse(self._listener_without_tls())

    def _refuse(self, unprotected: str | None) -> None:
        if unprotected is not None:
            self.stop()
            raise ConfigurationError(
                f"SeaweedFS was stopped because its {unprotected}",
                hint=f"see {self._output}; install another SeaweedFS: pip install --upgrade 'mme-sdk[local]'",
            )

    def _wait_for_answer(self) -> None:
        deadline = self._clock.monotonic() + self._start_timeout
        while not self._is_ready():
            if self._process is None or self._process.poll() is not None:
                raise ConfigurationError(
                    f"SeaweedFS exited while starting on port {self.port}: {self._last_output()}",
                    hint=f"see {self._output}",
                )
            if self._clock.monotonic() > deadline:
                raise ConfigurationError(
                    f"SeaweedFS did not answer on port {self.port} in {self._start_timeout:g} s: {self._last_output()}",
                    hint=f"see {self._output}",
                )
            self._clock.sleep(0.02)

    def _listener_without_tls(self) -> str | None:
        """Return which listener beside S3's does not require TLS, and what it answered."""
        # The filer listens on this socket without TLS, and nothing uses it.
        (self.data_dir / _FILER_SOCKET).unlink(missing_ok=True)
        for name, port in self._ports.items():
            answer = tls.answer_without_tls(port, timeout=self._start_timeout) if name != "s3" else None
            if answer is not None:
                return f"{name} server accepts requests without TLS ({answer})"
        return None

    def has_exited(self) -> bool:
        """Check whether the process exited without a call of `stop`.

        Returns:
            True if it exited.
        """
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Stop the process and wait until it has ended. Does nothing if it is not started."""
        process, self._process = self._process, None
        if process is None:
            return
        processes.stop_process(process, grace=2.0 if self._keep else 0.0)
        _remove_sockets(list(self._ports.values()))
        processes.remove_record(self._record)

    def __enter__(self) -> S3Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            # S3 answers 403 to a request without a signature when it has loaded its identities.
            return connection.getresponse().status == 403
        except OSError:
            return False
        finally:
            connection.close()

    def _last_output(self, size: int = 400) -> str:
        try:
            return self._output.read_text(errors="replace")[-size:].strip() or "it wrote no output"
        except FileNotFoundError:
            return "it wrote no output"


def disk_space_warning(data_dir: Path) -> str | None:
    """Return a message if SeaweedFS refuses writes because too little disk space is free, else None.

    Args:
        data_dir: Folder of the S3 server.
    """
    free = disk.low_space(data_dir, _MIN_FREE_SHARE)
    return free and f"S3 refuses writes: less than {_MIN_FREE_SHARE:.0%} of the disk of {data_dir} is free; {free}"


def add_disk_space_to_error(data_dir: Path, http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
    """Replace the message of a server error of S3 if the disk is almost full. Handler of `after-call.s3` of botocore.

    Args:
        data_dir: Folder of the S3 server.
        http_response: The HTTP response, from botocore.
        parsed: The parsed response, from botocore; changed in place.
    """
    free = disk.low_space(data_dir, _MIN_FREE_SHARE, _LOW_FREE_BYTES) if http_response.status_code >= 500 else None
    if free is not None:
        error = parsed.setdefault("Error", {})
        error["Message"] = f"S3 failed, and its disk is almost full: {free} on the file system of {data_dir}"


def _configuration(access_key: str, secret_key: str, kms_url: str | None, region: str) -> bytes:
    keys = {"accessKey": access_key, "secretKey": secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    config: dict[str, Any] = {"identities": [{"name": "owner", "credentials": [keys], "actions": actions}]}
    if kms_url is not None:
        kms = {"type": "aws", "endpoint": kms_url, "region": region, "access_key": access_key, "secret_key": secret_key}
        config["kms"] = {"default_provider": "host", "providers": {"host": kms}}
    return json.dumps(config).encode()


def _find_weed() -> Path:
    installed = Path(sysconfig.get_path("scripts")) / "weed"
    found = installed if installed.exists() else shutil.which("weed")
    if found is None:
        raise MissingExtraError("the embedded SageMaker needs SeaweedFS for S3", hint="pip install 'mme-sdk[local]'")
    return Path(found)


def _free_ports(wanted: int) -> dict[str, int]:
    """Return a free port for each listener, by `server` and `server.grpc`. That of S3 is `wanted` unless it is 0."""
    with contextlib.ExitStack() as held:

        def take(port: int) -> int:
            sock = held.enter_context(reserve(port))
            sock.listen()
            number: int = sock.getsockname()[1]
            return number

        try:
            ports = {"s3": take(wanted)}
        except OSError as error:
            raise ConfigurationError(
                f"S3 cannot listen on 127.0.0.1:{wanted}: {error.strerror}",
                hint="choose another s3_port (`--s3-port`), or 0 for a free port",
            ) from error
        for name in ("s3.grpc", *(f"{server}{kind}" for server in _SERVERS for kind in ("", ".grpc"))):
            ports[name] = take(0)
        while True:
            with contextlib.suppress(OSError, OverflowError):
                admin = take(0)
                return ports | {"admin": admin, "admin.grpc": take(admin + _GRPC_OFFSET)}


def _remove_stale_sockets() -> None:
    """Remove this user's sockets without a listener, which hosts that were killed left."""
    for path in _SOCKETS.glob("seaweedfs-*.sock"):
        with contextlib.suppress(OSError):
            found = path.stat()
            if found.st_uid == os.getuid() and time.time() - found.st_mtime >= _SOCKET_MIN_AGE:
                _remove_without_listener(path)


def _remove_sockets(ports: object) -> None:
    """Remove the sockets that a SeaweedFS of these ports left. Another SeaweedFS may have the same ports by now."""
    for port in ports if isinstance(ports, list) else []:
        for path in _SOCKETS.glob(f"seaweedfs-*-{int(port)}.sock"):
            with contextlib.suppress(OSError):
                _remove_without_listener(path)


def _remove_without_listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
