"""What a web page, or another user of the machine, can send to every listener of a host: without a key, over TCP."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import psutil
import trustme

SECRET = b"the content that nobody else may see"
BUCKET, KEY, UNNAMED = "secret-bucket", "models/secret-model.tar.gz", "models/never-asked-for.tar.gz"
HIDDEN = (SECRET, BUCKET.encode(), b"secret-model", b"never-asked-for", b"three.tar.gz")
METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS")
PATHS = (
    "/",
    "/_mme/",
    "/_mme/status",
    "/_mme/faults",
    "/ping",
    "/models",
    "/models?limit=100",
    "/invocations",
    "/metrics",
    "/status",
    "/debug/pprof/",
    "/debug/pprof/cmdline",
    "/ui/index.html",
    "/stats/health",
    "/stats/memory",
    # filer
    "/buckets/",
    f"/buckets/{BUCKET}/{KEY}",
    f"/buckets/{BUCKET}/?recursive=true",
    "/etc/iam/identity.json",
    "/topics/.system/log/",
    "/.tus/.uploads/",
    # master
    "/dir/assign",
    "/dir/lookup?volumeId=1",
    "/dir/status",
    "/vol/status",
    "/vol/grow?count=1",
    "/vol/vacuum",
    "/col/delete?collection=" + BUCKET,
    "/submit",
    "/cluster/status",
    "/1,01637037d6",
    # volume server
    "/1/01637037d6",
    "/2,01637037d6",
    "/3,01637037d6",
    # admin
    "/admin",
    "/admin/",
    "/object-store/buckets",
    "/api/admin",
    "/api/s3/buckets",
    "/api/files/delete-multiple",
    "/api/plugin/status",
    "/plugin",
    "/login",
    # S3
    f"/{BUCKET}",
    f"/{BUCKET}?list-type=2",
    f"/{BUCKET}/{KEY}",
)
GRPC = (
    ("/filer_pb.SeaweedFiler/ListEntries", b"\x0a\x08/buckets"),
    ("/filer_pb.SeaweedFiler/LookupDirectoryEntry", b"\x0a\x08/buckets\x12" + bytes([len(BUCKET)]) + BUCKET.encode()),
    ("/filer_pb.SeaweedFiler/CreateEntry", b"\x0a\x08/buckets\x12\x07\x0a\x05owned"),
    (
        "/filer_pb.SeaweedFiler/DeleteEntry",
        b"\x0a\x08/buckets\x12" + bytes([len(BUCKET)]) + BUCKET.encode() + b"\x20\x01\x28\x01",
    ),
    ("/filer_pb.SeaweedFiler/GetFilerConfiguration", b""),
    ("/master_pb.Seaweed/Assign", b""),
    ("/master_pb.Seaweed/VolumeList", b""),
    ("/master_pb.Seaweed/CollectionList", b""),
    ("/volume_server_pb.VolumeServer/VolumeServerStatus", b""),
    ("/volume_server_pb.VolumeServer/VolumeDelete", b"\x08\x01"),
    ("/worker_pb.WorkerService/GetMasterAddresses", b""),
    ("/messaging_pb.SeaweedS3IamCache/PutIdentity", b""),
    ("/iam_pb.SeaweedIdentityAccessManagement/ListUsers", b""),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"\x3a\x00"),
)
_LIMIT = 20.0  # seconds that only a hang would take


@attrs.frozen
class Listener:
    """A listening TCP socket."""

    address: str
    port: int
    command: str


def family(pid: int) -> list[psutil.Process]:
    """A process and everything below it."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def listeners(pid: int) -> list[Listener]:
    """The TCP listeners of a process tree, and its UDP sockets."""
    found: dict[tuple[str, int], Listener] = {}
    for process in family(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in process.net_connections("inet"):
                if one.status == psutil.CONN_LISTEN or one.type == socket.SOCK_DGRAM:
                    key = (one.laddr.ip, one.laddr.port)
                    found.setdefault(key, Listener(*key, " ".join(process.cmdline())))
    return list(found.values())


def is_loopback(listener: Listener) -> bool:
    return ipaddress.ip_address(listener.address).is_loopback


def unix_sockets(pid: int) -> list[Path]:
    """The named unix sockets of a process tree that can be reached by their path."""
    found = set()
    for process in family(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in process.net_connections("unix"):
                name = one.laddr if isinstance(one.laddr, str) else ""
                path = Path(process.cwd(), name)
                if name and path.exists():
                    found.add(path)
    return sorted(found)


def others_can_connect(path: Path) -> bool:
    """Whether permissions let another user connect: write to the socket, and search every folder above it."""
    if not path.stat().st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)


def requests(paths: Sequence[str], methods: Sequence[str] = METHODS) -> Iterator[bytes]:
    """Requests as a page of another origin sends them; a POST with a form needs no preflight."""
    form = (
        b'--xx\r\nContent-Disposition: form-data; name="file"; filename="secret-model.tar.gz"\r\n'
        b"Content-Type: application/gzip\r\n\r\nreplaced\r\n--xx--\r\n"
    )
    for path in paths:
        for method in methods:
            body = form if method in ("PUT", "POST") else b""
            lines = [
                f"{method} {path} HTTP/1.1",
                "Host: attacker.example",
                "Origin: http://attacker.example",
                "Access-Control-Request-Method: PUT",
                "Connection: close",
                *([f"Content-Length: {len(body)}", "Content-Type: multipart/form-data; boundary=xx"] if body else []),
            ]
            yield "\r\n".join([*lines, "", ""]).encode() + body


def grpc(path: str, message: bytes) -> bytes:
    """A whole gRPC call in HTTP/2 frames, with a compressed-header block that uses no table."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def header(name: bytes, value: bytes) -> bytes:
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"attacker.example"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
    block = b"".join(header(name, value) for name, value in fields)
    data = b"\x00" + len(message).to_bytes(4, "big") + message
    ping = frame(6, 0, 0, b"no-reply")  # its answer, or the end, says that all before was answered or refused
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0, b"")
        + frame(4, 1, 0, b"")
        + frame(1, 4, 1, block)
        + frame(0, 1, 1, data)
        + ping
    )


def stranger(certificate: bool) -> ssl.SSLContext:
    """TLS of a client that trusts anybody, without a certificate or with one that it made itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if certificate:
        own = trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        with tempfile.NamedTemporaryFile() as file:
            own.write_to_path(file.name)
            context.load_cert_chain(file.name)
    return context


def send(address: str | Path, port: int, content: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """Send bytes and return all that comes back until the end, or until an HTTP/2 ping is answered."""
    answer = b""
    kind = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(kind)
    connection.settimeout(_LIMIT)
    try:
        connection.connect(str(address) if isinstance(address, Path) else (address, port))
        if tls is not None:
            connection = tls.wrap_socket(connection)
        connection.sendall(content)
        while b"\x06\x01\x00\x00\x00\x00no-reply" not in answer and (more := connection.recv(65536)):
            answer += more
    except TimeoutError:
        raise
    except OSError:
        pass
    finally:
        connection.close()
    return answer


def success(answer: bytes, attempt: bytes) -> str | None:
    """Why an answer is more than a refusal; None where it is a refusal. It may repeat what was sent."""
    head = answer.partition(b"\r\n\r\n")[0]
    status = head.split(b" ", 2)[1:2]
    if any(hidden in answer and hidden not in attempt for hidden in HIDDEN):
        return "it shows names or content"
    if b"access-control-allow" in head.lower():
        return "it carries a CORS header"
    if answer.startswith(b"HTTP/") and not status[0].startswith((b"4", b"5")):
        return f"it answers {status[0].decode()}"
    if answer and not answer.startswith((b"HTTP/", b"\x15\x03")):  # the second is a TLS alert
        return f"it speaks: {answer[:60]!r}"
    return None
