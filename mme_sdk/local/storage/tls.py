"""Mutual TLS for every listener of SeaweedFS except S3, so that only SeaweedFS itself can connect to them."""

from __future__ import annotations

import socket
from pathlib import Path

from mme_sdk.errors import MissingExtraError
from mme_sdk.local.storage import disk

__all__ = ["answer_without_tls", "write_certificates"]

_HTTP = ("master", "volume", "filer", "admin")
_TLS_REQUIRED = b"HTTP/1.0 400 "  # start of the response of a TLS listener in Go to a request without TLS
_GRPC = (*_HTTP, "s3", "worker", "client", "mq", "msg_agent", "msg_broker")


def write_certificates(folder: Path) -> None:
    """Write a certificate authority, a certificate, and the `security.toml` that makes SeaweedFS require it.

    The key of the authority is not written, so the listeners accept this certificate only. The paths in
    `security.toml` are relative, so SeaweedFS must run in the folder.

    Args:
        folder: Working directory of SeaweedFS.

    Raises:
        MissingExtraError: The `local` extra is not installed.
        StorageError: A file cannot be written.
    """
    try:
        import trustme
    except ImportError as error:
        raise MissingExtraError("the embedded SageMaker needs trustme", hint="pip install 'mme-sdk[local]'") from error
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    disk.write_atomically(folder / "ca.pem", authority.cert_pem.bytes())
    disk.write_atomically(folder / "node.pem", certificate.private_key_and_cert_chain_pem.bytes())
    pair = 'cert = "node.pem"\nkey = "node.pem"\n'
    sections = [
        '[grpc]\nca = "ca.pem"\n',
        *(f"[grpc.{name}]\n{pair}" for name in _GRPC),
        *(f'[https.{name}]\n{pair}ca = "ca.pem"\n' for name in _HTTP),
        f'[https.client]\nenabled = true\n{pair}ca = "ca.pem"\n',
    ]
    disk.write_atomically(folder / "security.toml", "\n".join(sections).encode())


def answer_without_tls(port: int, *, timeout: float) -> str | None:
    """Send a request without TLS to a listener, and return its response if the listener accepts the request.

    SeaweedFS serves gRPC without TLS if it cannot read its certificates, so the host checks every listener.

    Args:
        port: TCP port on 127.0.0.1.
        timeout: Seconds for each step.

    Returns:
        A text with the response; None if the listener refuses the request or the port has no listener.
    """
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while more := connection.recv(4096):
                answer += more
                if not _TLS_REQUIRED.startswith(answer[: len(_TLS_REQUIRED)]):
                    break
    except ConnectionError:
        pass
    except OSError as error:
        return f"port {port}: {error}"
    if not answer or b"HTTP request to an HTTPS server" in answer:
        return None
    return f"port {port} answered {answer[:40]!r}"
