"""The keys of an embedded SageMaker, kept with its data."""

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
    """The one pair of keys that an embedded SageMaker accepts; kept with its data.

    Attributes:
        access_key: For `AWS_ACCESS_KEY_ID`.
        secret_key: For `AWS_SECRET_ACCESS_KEY`.
    """

    access_key: str
    secret_key: str = attrs.field(repr=False)


def load_credentials(path: Path) -> LocalCredentials:
    """The keys of a data directory, made at its first use and readable by their owner alone.

    A file that holds no keys, such as one that a crash cut short, is kept beside as `credentials.json.damaged`.
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
            f"cannot read {path}: {error.strerror}", hint="remove it to have new keys made; the data stays usable"
        ) from error
    if path.exists():
        damaged = path.with_name(f"{path.name}.damaged")
        path.replace(damaged)
        _log.warning(
            "%s held no keys: it is now %s, and new keys are made. The data is unchanged; programs that use the old "
            "keys must be given the new ones.",
            path,
            damaged.name,
        )
    keys = LocalCredentials(access_key=f"LOCAL{secrets.token_hex(8).upper()}", secret_key=secrets.token_urlsafe(30))
    disk.write_atomically(path, json.dumps(attrs.asdict(keys)).encode())
    return keys
