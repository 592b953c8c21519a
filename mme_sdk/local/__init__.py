"""An embedded SageMaker on 127.0.0.1, for laptops and CI."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    from mme_sdk.errors import ConfigurationError

    raise ConfigurationError(
        "the embedded SageMaker does not run on Windows: it needs Unix sockets and process groups",
        hint="run it in WSL or in a Linux container; the rest of mme_sdk works on Windows",
    )

if TYPE_CHECKING:
    from mme_sdk.local.access import LocalIam
    from mme_sdk.local.containers import Command
    from mme_sdk.local.control.settings import ControlSettings
    from mme_sdk.local.credentials import LocalCredentials
    from mme_sdk.local.faults import Fault, Faults
    from mme_sdk.local.host import LocalSageMaker
    from mme_sdk.local.hosting import Gpu, HostingSettings
    from mme_sdk.local.http.request_log import RequestLog, RequestRecord
    from mme_sdk.local.storage.s3 import S3Server

__all__ = [
    "Command",
    "ControlSettings",
    "Fault",
    "Faults",
    "Gpu",
    "HostingSettings",
    "LocalCredentials",
    "LocalIam",
    "LocalSageMaker",
    "RequestLog",
    "RequestRecord",
    "S3Server",
]

_MODULES = {
    "Command": "mme_sdk.local.containers",
    "ControlSettings": "mme_sdk.local.control.settings",
    "Fault": "mme_sdk.local.faults",
    "Faults": "mme_sdk.local.faults",
    "Gpu": "mme_sdk.local.hosting",
    "HostingSettings": "mme_sdk.local.hosting",
    "LocalCredentials": "mme_sdk.local.credentials",
    "LocalIam": "mme_sdk.local.access",
    "LocalSageMaker": "mme_sdk.local.host",
    "RequestLog": "mme_sdk.local.http.request_log",
    "RequestRecord": "mme_sdk.local.http.request_log",
    "S3Server": "mme_sdk.local.storage.s3",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use. Container processes import this package too and use none of the names."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_MODULES[name]), name)
    except ImportError as error:
        from mme_sdk.errors import MissingExtraError

        text = f"mme_sdk.local.{name} needs {error.name}"
        raise MissingExtraError(text, hint="pip install 'mme-sdk[local]'") from error
