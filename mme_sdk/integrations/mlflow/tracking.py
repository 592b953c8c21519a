"""What mme_sdk asks of MLflow: registered models, versions, aliases, and files. MLflow is imported on first use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import attrs

from mme_sdk.errors import (
    AccessDeniedError,
    InvalidInputError,
    MissingExtraError,
    MMEError,
    ModelNotFoundError,
    ServiceError,
    StorageError,
)
from mme_sdk.integrations.mlflow.folders import LocalFolder, ModelFolder, RemoteFolder

__all__ = ["CREATED", "SOURCE", "RegisteredModel", "RegisteredVersion", "Tracking", "connect"]

SOURCE, CREATED = "mlflow-model", "mlflow-created"
"""Metadata of a registered version: the MLflow version it comes from, and when MLflow created that."""
_PAGE = 1000  # registered models or versions of one request
_TEXT = 300  # characters of a message of MLflow
_VERSION = re.compile(r"models:/([^/]+)/([0-9]+)/?")
_ALIAS = re.compile(r"models:/([^/]+)@([^/@]+)")
# User names and signatures in addresses. An artifact store may put a signed address into its message.
_SECRET = re.compile(r"(?<=//)[^/\s@]+@|(?<=[^\s?])\?\S+")
_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
_DENIED = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})
_INVALID = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST"})


@attrs.frozen
class RegisteredModel:
    """A registered model of MLflow.

    Attributes:
        name: Its name.
        aliases: The version of each alias.
    """

    name: str
    aliases: Mapping[str, str]


@attrs.frozen
class RegisteredVersion:
    """A version of a registered model of MLflow.

    Attributes:
        name: Name of the registered model.
        version: Its number.
        created: Time of its creation, in milliseconds, as MLflow says it.
        ready: Whether MLflow has all of its files.
    """

    name: str
    version: str
    created: str
    ready: bool = True

    @property
    def uri(self) -> str:
        """Its address, `models:/name/version`."""
        return f"models:/{self.name}/{self.version}"

    @property
    def reference(self) -> str:
        """`name/version`, for reports."""
        return f"{self.name}/{self.version}"

    @property
    def metadata(self) -> dict[str, str]:
        """What is stored with the archive. MLflow gives a number again after a model was deleted, with another time."""
        return {SOURCE: self.uri, CREATED: self.created}


class Tracking:
    """Reads from MLflow. Safe to share between threads, as MLflow's client is.

    Args:
        client: An `mlflow.MlflowClient`.
        download: `mlflow.artifacts.download_artifacts`.
        tracking_uri: Address of the tracking server, or None for MLflow's own setting.
        registry_uri: Address of the model registry, or None for MLflow's own setting.
    """

    def __init__(
        self,
        client: Any,
        download: Callable[..., str],
        *,
        tracking_uri: str | None = None,
        registry_uri: str | None = None,
    ) -> None:
        self._client, self._download = client, download
        self._uris = {"tracking_uri": tracking_uri, "registry_uri": registry_uri}

    def models(self, names: Iterable[str] | None = None) -> list[RegisteredModel]:
        """Return registered models with their aliases.

        Args:
            names: Their names. None means all.

        Raises:
            ModelNotFoundError: MLflow does not have one of them.
            MMEError: MLflow cannot be read.
        """
        if names is None:
            with _translated("the registered models"):
                search = partial(self._client.search_registered_models, max_results=_PAGE)
                return [_model(one) for one in _pages(search)]
        models = []
        for name in names:
            with _translated(f"the registered model {name!r}"):
                models.append(_model(self._client.get_registered_model(name)))
        return models

    def versions(self, names: Iterable[str] | None = None) -> list[RegisteredVersion]:
        """Return the versions of registered models, those that are not ready included.

        Args:
            names: Names of the models. None means all.

        Raises:
            MMEError: MLflow cannot be read.
        """
        filters = [None] if names is None else [f"name = {_quoted(name)}" for name in names]
        found: list[RegisteredVersion] = []
        for one in filters:
            with _translated("the versions" if one is None else f"the versions with {one}"):
                search = partial(self._client.search_model_versions, filter_string=one, max_results=_PAGE)
                found += [_version(version) for version in _pages(search)]
        return found

    def find(self, model_uri: str) -> RegisteredVersion | None:
        """Return the version that `models:/name/number` or `models:/name@alias` stands for; None for another address.

        Raises:
            ModelNotFoundError: MLflow does not have it.
            MMEError: MLflow cannot be read.
        """
        with _translated(model_uri):
            if match := _VERSION.fullmatch(model_uri):
                return _version(self._client.get_model_version(*match.groups()))
            if match := _ALIAS.fullmatch(model_uri):
                return _version(self._client.get_model_version_by_alias(*match.groups()))
        return None

    def folder(self, model: RegisteredVersion | str, scratch: Path) -> ModelFolder:
        """Return the folder of a model. Its files are downloaded when they are asked for.

        Args:
            model: A version, or any address of a model that MLflow knows.
            scratch: An empty folder for the downloads.

        Raises:
            MMEError: MLflow cannot be read.
        """
        shown = root = model if isinstance(model, str) else model.uri
        if not isinstance(model, str):
            with _translated(f"the address of {shown}"):
                root = str(self._client.get_model_version_download_uri(model.name, model.version))
        parts = urlsplit(root)
        if parts.scheme == "" or (parts.scheme == "file" and parts.netloc in ("", "localhost")):
            return LocalFolder(shown, Path(url2pathname(parts.path) if parts.scheme else root))
        query = f"?{parts.query}" if parts.query else ""
        base = root.removesuffix(query).rstrip("/")

        def download(path: str, target: Path) -> str:
            with _translated(f"the download of {path} of {shown}"):
                return self._download(artifact_uri=f"{base}/{path}{query}", dst_path=str(target), **self._uris)

        return RemoteFolder(shown, scratch, download)


def connect(tracking_uri: str | None = None, registry_uri: str | None = None) -> Tracking:
    """Import MLflow, and return what reads from it.

    Args:
        tracking_uri: Address of the tracking server. None means MLflow's own setting, such as MLFLOW_TRACKING_URI.
        registry_uri: Address of the model registry. None means MLflow's own setting.

    Raises:
        MissingExtraError: MLflow, or a package that it needs for the address, is not installed.
        MMEError: MLflow refuses the address.
    """
    try:
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
        from mlflow.artifacts import download_artifacts  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("integrations.mlflow needs MLflow", hint="pip install 'mme-sdk[mlflow]'") from error
    try:
        with _translated("the address of the tracking server"):
            client = MlflowClient(tracking_uri=tracking_uri, registry_uri=registry_uri)
    except InvalidInputError as error:
        error.hint = (
            "set MLFLOW_TRACKING_URI to the address of a server; a database, which is also the default, needs "
            "SQLAlchemy and alembic: pip install mlflow"
        )
        raise
    return Tracking(client, download_artifacts, tracking_uri=tracking_uri, registry_uri=registry_uri)


def _pages(read: Callable[..., Any]) -> Iterator[Any]:
    token = None
    while True:
        page = read(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _model(found: Any) -> RegisteredModel:
    return RegisteredModel(str(found.name), {str(alias): str(version) for alias, version in found.aliases.items()})


def _version(found: Any) -> RegisteredVersion:
    ready = str(getattr(found, "status", None) or "READY") == "READY"
    return RegisteredVersion(str(found.name), str(found.version), str(found.creation_timestamp), ready)


def _quoted(name: str) -> str:
    for quote in ("'", '"'):
        if quote not in name:
            return f"{quote}{name}{quote}"
    raise InvalidInputError(
        f"the name {name!r} contains both kinds of quotes, and MLflow cannot search for it",
        hint="rename the registered model in MLflow",
    )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Replace the exceptions of MLflow, and of the libraries it calls, by errors of this SDK.

    The original exception is not shown: its text can contain a signed address.
    """
    try:
        yield
    except MMEError:
        raise
    except ImportError as error:
        package = (error.name or "").partition(".")[0] or "a package"
        raise MissingExtraError(f"MLflow needs {package} for {what}", hint=f"pip install {package}") from None
    except Exception as error:  # noqa: BLE001 - MLflow, and each artifact store, have their own exceptions
        raise _error(what, error) from None


def _error(what: str, error: Exception) -> MMEError:
    code = str(getattr(error, "error_code", ""))
    said = _SECRET.sub("", (str(error).strip() or type(error).__name__).splitlines()[0])[:_TEXT]
    if code in _ABSENT:
        return ModelNotFoundError(f"MLflow has no such model: {what}: {said}", code=code)
    if code in _DENIED:
        return AccessDeniedError(
            f"MLflow does not permit {what}: {said}", code=code, hint="check the credentials for MLflow"
        )
    if code in _INVALID:
        return InvalidInputError(f"MLflow refuses {what}: {said}", code=code)
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return StorageError(f"{what} failed: {error.strerror}: {error.filename}")
    return ServiceError(
        f"MLflow failed at {what}: {said}", code=code or None, hint="check MLFLOW_TRACKING_URI and the artifact store"
    )
