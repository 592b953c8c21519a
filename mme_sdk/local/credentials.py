"""The access key and secret key of an embedded SageMaker, stored in its data directory."""

from __future__ import annotations

import json
import logging
import secrets
from pathlib import Path

import attrs

from mme_sdk.errors import ConfigurationError
from mme_sdk.local.storage import disk

__all__ = ["CREDENTIALS", "LocalCredentials", "load_credentials"]

CREDENTIALS = "credentials.json"
_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class LocalCredentials:
    """The keys of a caller of an embedded SageMaker.

    Attributes:
        access_key: Value for `AWS_ACCESS_KEY_ID`; required.
        secret_key: Value for `AWS_SECRET_ACCESS_KEY`; required. The repr does not show it.
        session_token: Value for `AWS_SESSION_TOKEN`, default None. Only the keys of a role's session have it.
    """

    access_key: str
    secret_key: str = attrs.field(repr=False)
    session_token: str | None = attrs.field(default=None, repr=False)


def load_credentials(path: Path) -> LocalCredentials:
    """Return the keys in a file. Create the file, readable by its owner only, if it does not exist.

    A file without keys, such as one that a crash truncated, is renamed to `credentials.json.damaged` and replaced.

    Args:
        path: Path of `credentials.json`.

    Returns:
        The keys.

    Raises:
        ConfigurationError: The file cannot be read.
        StorageError: The file cannot be written.
    """
    try:
        kept = json.loads(path.read_bytes())
        keys = LocalCredentials(access_key=kept["access_key"], secret_key=kept["secret_key"])
        if all(isinstance(one, str) and one for one in (keys.access_key, keys.secret_key)):
            return keys
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError):
        pass
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {path}: {error.strerror}",
            hint="remove the file; the host then creates new keys and keeps the data",
        ) from error
    if path.exists():
        damaged = path.with_name(f"{path.name}.damaged")
        path.replace(damaged)
        _log.warning(
            "%s contains no keys. It is renamed to %s, and new keys are created. The data is unchanged. Programs that "
            "use the old keys need the new ones.",
            path,
            damaged.name,
        )
    keys = LocalCredentials(access_key=f"LOCAL{secrets.token_hex(8).upper()}", secret_key=secrets.token_urlsafe(30))
    disk.write_atomically(path, json.dumps({"access_key": keys.access_key, "secret_key": keys.secret_key}).encode())
    return keys
