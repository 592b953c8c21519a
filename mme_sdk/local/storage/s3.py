"""A real S3 on loopback: SeaweedFS as a child process, its data on disk."""

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
from mme_sdk.local.storage import disk, tls
from mme_sdk.protocols import Clock

__all__ = ["RECORD", "S3Server", "add_disk_space_to_error", "disk_space_warning", "set_default_kms_key"]

_PORT_TAKEN = ("address already in use", "Port allocation failed")
_SERVERS = ("master", "volume", "filer")
_SETTLED = 60.0  # seconds after which a socket is no longer one that is just being made
_SOCKETS = Path("/tmp")  # noqa: S108 - where SeaweedFS puts its unix sockets, whatever TMPDIR says
_FILER_SOCKET = "filer.sock"
RECORD = "weed.json"
_CONFIG = "s3.json"
_LEAST_FREE = 0.01  # of its disk; SeaweedFS refuses writes below that
_LITTLE_FREE = 256 << 20  # bytes; one large object more may be too much
_GRPC_OFFSET = 10000  # the admin server's worker takes its gRPC port to be its HTTP port plus this
# Variables that configure SeaweedFS or its S3: those of the caller's shell are meant for another server.
_NOT_PASSED_ON = ("AWS_", "S3_", "WEED_")


class S3Server:
    """SeaweedFS serving S3 on 127.0.0.1.

    Its other listeners (master, volume, filer, admin; HTTP and gRPC) demand a client certificate that only this
    SeaweedFS has.

    Args:
        data_dir: Folder for objects and logs; made where absent.
        port: Port of the S3 API; a free one where 0.
        access_key: The only access key it accepts.
        secret_key: Its secret.
        kms_url: Address of the KMS that makes its data keys for SSE-KMS; without one it refuses SSE-KMS.
        region: The region that requests to the KMS are signed for.
        start_timeout: Seconds until it must answer.
        keep: Whether the data is used again. If not, it is ended at once; its own way to stop takes more than a second.
        clock: Time and sleep.

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
        self._given_port = self._wanted_port = port
        # In a file: any program of the same user can read the environment of a process.
        self._config = _configuration(access_key, secret_key, kms_url, region)
        self._start_timeout = start_timeout
        self._keep = keep
        self._clock: Clock = clock or time
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}

    @property
    def endpoint_url(self) -> str:
        """Its address, for `AWS_ENDPOINT_URL_S3`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def _record(self) -> Path:
        return self.data_dir / RECORD

    @property
    def _output(self) -> Path:
        return self.data_dir / "log" / "weed.out"

    def start(self) -> S3Server:
        """Start it and wait until it answers.

        Returns:
            This server.

        Raises:
            MissingExtraError: The `local` extra is not installed.
            ConfigurationError: The port is taken, or SeaweedFS does not come up; nothing is left running.
            StorageError: The disk is full.
        """
        # The ports are found first and bound later by SeaweedFS: somebody else may be faster, so try again.
        for last in (False, False, True):
            self.spawn()
            try:
                self.wait_ready()
            except ConfigurationError:
                self.stop()
                if last or not any(sign in self._tail(4000) for sign in _PORT_TAKEN):
                    raise
                self._wanted_port = self._given_port
            except BaseException:
                self.stop()
                raise
            else:
                break
        return self

    def spawn(self) -> None:
        """Start the process, without waiting; on Linux it dies with the calling thread.

        Raises:
            ConfigurationError: The port is taken, the folder's name has a comma, or another user owns something in it.
            StorageError: A file cannot be written, for instance because the disk is full.
        """
        if "," in str(self.data_dir):
            raise ConfigurationError(
                f"SeaweedFS cannot keep data in {self.data_dir}: it reads the comma as two folders",
                hint="choose another data_dir (--data-dir)",
            )
        weed = _program()
        try:
            disk.make_folder(self.data_dir / "log")
            disk.make_private(self.data_dir)
        except OSError as error:
            raise disk.write_error(self.data_dir, error) from error
        left_behind = processes.kill_recorded(self._record)
        if left_behind is not None:
            _remove_sockets(left_behind.get("ports"))
        _sweep_sockets()
        # SeaweedFS writes its options here and would prefer them to new defaults at the next start.
        (self.data_dir / "mini.options").unlink(missing_ok=True)
        tls.write_certificates(self.data_dir)
        disk.write_atomically(self.data_dir / _CONFIG, self._config)
        self._ports = _free_ports(self._wanted_port)
        self.port = self._wanted_port = self._ports["s3"]  # the same again, should it have to be started once more
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
            # Every bucket takes volumes of its own; the default count is soon used up by small buckets.
            "-master.volumeSizeLimitMB=128",
            "-volume.max=100000",
            "-volume.preStopSeconds=0",
            f"-s3.config={_CONFIG}",
            "-s3.allowDeleteBucketNotEmpty=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-s3.allowedOrigins=none",  # no origin has this name: only a bucket's own CORS rules let a web page in
            # Relative to the data directory, which is closed to others; an absolute path may be too long for a socket.
            f"-filer.localSocket={_FILER_SOCKET}",
            "-s3.localSocket=s3.sock",
            "-admin.ui=false",
            "-webdav=false",
        ]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
        recorded = sorted(self._ports.values())
        # First the ports: the sockets of a process that is killed before its id is known are found by them.
        processes.record_process(self._record, None, data, ports=recorded)
        with disk.open_private(self._output) as output:
            self._process = subprocess.Popen(
                processes.die_with_parent(command),
                env=inherited | {"HOME": data},  # it reads settings from ~/.seaweedfs
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=data,
                start_new_session=True,  # Ctrl-C in a terminal is for the host, which stops this in order
                umask=0o077,
            )
        try:
            processes.record_process(self._record, self._process.pid, data, ports=recorded)
        except BaseException:
            self.stop()
            raise

    def wait_ready(self) -> None:
        """Wait until it answers, and until its other listeners are known to demand TLS.

        Raises:
            ConfigurationError: It ended, the time is over, or a listener serves without TLS.
        """
        deadline = self._clock.monotonic() + self._start_timeout
        while not self._answers():
            if self._process is None or self._process.poll() is not None:
                raise ConfigurationError(
                    f"SeaweedFS ended while starting on port {self.port}: {self._tail()}", hint=f"see {self._output}"
                )
            if self._clock.monotonic() > deadline:
                raise ConfigurationError(
                    f"SeaweedFS did not answer on port {self.port} within {self._start_timeout:g} s: {self._tail()}",
                    hint=f"see {self._output}",
                )
            self._clock.sleep(0.02)
        # The filer serves this socket without TLS, and nothing here uses it.
        (self.data_dir / _FILER_SOCKET).unlink(missing_ok=True)
        for name, port in self._ports.items():
            answer = tls.answer_without_tls(port, timeout=self._start_timeout) if name != "s3" else None
            if answer is not None:
                self.stop()
                raise ConfigurationError(
                    f"SeaweedFS was stopped: its {name} server does not refuse a request without TLS ({answer})",
                    hint=f"see {self._output}; pip install --upgrade 'mme-sdk[local]' may bring another SeaweedFS",
                )

    def has_exited(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Stop it; safe to call again."""
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

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            # 403 without a signature is the answer of an S3 that has its identities loaded.
            return connection.getresponse().status == 403
        except OSError:
            return False
        finally:
            connection.close()

    def _tail(self, size: int = 400) -> str:
        try:
            return self._output.read_text(errors="replace")[-size:].strip() or "it said nothing"
        except FileNotFoundError:
            return "it said nothing"


def disk_space_warning(data_dir: Path) -> str | None:
    """Why an S3 refuses writes for lack of space, for a message; None where it does not.

    Args:
        data_dir: Its folder.
    """
    free = disk.low_space(data_dir, _LEAST_FREE)
    return free and f"S3 takes no more objects: it needs {_LEAST_FREE:.0%} of the disk of {data_dir}; {free}"


def add_disk_space_to_error(data_dir: Path, http_response: Any, parsed: dict[str, Any], **_: Any) -> None:
    """Say in a server error of S3 that the disk is almost full, where it is; for botocore's event `after-call.s3`.

    Args:
        data_dir: Folder of the S3 server.
        http_response: As botocore gives it.
        parsed: As botocore gives it.
    """
    free = disk.low_space(data_dir, _LEAST_FREE, _LITTLE_FREE) if http_response.status_code >= 500 else None
    if free is not None:
        error = parsed.setdefault("Error", {})
        error["Message"] = f"S3 failed, and its disk is almost full: {free} on the file system of {data_dir}"


def set_default_kms_key(params: dict[str, Any], **_: Any) -> None:
    """Name the key of a request for SSE-KMS that names none: AWS takes the key `aws/s3` then, and SeaweedFS none.

    Args:
        params: The request's parameters, changed in place; a handler of botocore's `before-parameter-build`.
    """
    if params.get("ServerSideEncryption") == "aws:kms":
        params.setdefault("SSEKMSKeyId", "alias/aws/s3")


def _configuration(access_key: str, secret_key: str, kms_url: str | None, region: str) -> bytes:
    keys = {"accessKey": access_key, "secretKey": secret_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    config: dict[str, Any] = {"identities": [{"name": "owner", "credentials": [keys], "actions": actions}]}
    if kms_url is not None:
        kms = {"type": "aws", "endpoint": kms_url, "region": region, "access_key": access_key, "secret_key": secret_key}
        config["kms"] = {"default_provider": "host", "providers": {"host": kms}}
    return json.dumps(config).encode()


def _program() -> Path:
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = beside if beside.exists() else shutil.which("weed")
    if found is None:
        raise MissingExtraError("the embedded SageMaker needs SeaweedFS for S3", hint="pip install 'mme-sdk[local]'")
    return Path(found)


def _free_ports(wanted: int) -> dict[str, int]:
    """A free port for each listener, by `server` and `server.grpc`; that of S3 is the one wanted, unless 0."""
    with contextlib.ExitStack() as held:

        def take(port: int) -> int:
            sock = held.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            sock.listen()
            number: int = sock.getsockname()[1]
            return number

        try:
            ports = {"s3": take(wanted)}
        except OSError as error:
            raise ConfigurationError(
                f"cannot serve S3 on 127.0.0.1:{wanted}: {error.strerror}",
                hint="choose another s3_port (`--s3-port`), or 0 for any free one",
            ) from error
        for name in ("s3.grpc", *(f"{server}{kind}" for server in _SERVERS for kind in ("", ".grpc"))):
            ports[name] = take(0)
        while True:
            with contextlib.suppress(OSError, OverflowError):
                admin = take(0)
                return ports | {"admin": admin, "admin.grpc": take(admin + _GRPC_OFFSET)}


def _sweep_sockets() -> None:
    """Remove what hosts that were killed left: this user's sockets that nobody listens on any more."""
    for path in _SOCKETS.glob("seaweedfs-*.sock"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            found = path.stat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _SETTLED:
                continue
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)


def _remove_sockets(ports: object) -> None:
    for port in ports if isinstance(ports, list) else []:
        for path in _SOCKETS.glob(f"seaweedfs-*-{int(port)}.sock"):
            path.unlink(missing_ok=True)
