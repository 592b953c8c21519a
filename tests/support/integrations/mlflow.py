"""A small fake of MLflow's client, and a registry over a model of S3 in memory: no process, no socket."""

from __future__ import annotations

import io
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from mme_sdk.aws import Aws, Call
from mme_sdk.integrations.mlflow.tracking import Tracking
from mme_sdk.registry import ModelRegistry
from tests.support.registry.s3_model import S3Model


class MemoryAws(Aws):
    """Access to a model of S3.

    Attributes:
        s3: The objects.
        calls: Number of calls of each operation.
        before: Called before each call.
    """

    def __init__(self) -> None:
        super().__init__(region="eu-west-1")
        self.s3, self.calls = S3Model(), Counter[str]()
        self.before: Callable[[Call], None] = lambda _: None
        self._lock = threading.RLock()

    def send(self, call: Call) -> Any:
        with self._lock:
            self.before(call)
            self.calls[call.operation] += 1
            answer = self.s3.perform(call)
        if call.operation == "get_object":
            answer["Body"] = io.BytesIO(answer["Body"])
        return answer


def registry(aws: MemoryAws, uri: str = "s3://ml-models/prod/") -> ModelRegistry:
    return ModelRegistry(aws, uri)


class MlflowError(Exception):
    """As mlflow.exceptions.MlflowException: it has an error code."""

    def __init__(self, message: str, error_code: str = "INTERNAL_ERROR") -> None:
        super().__init__(message)
        self.error_code = error_code


class FakeMlflow:
    """The calls of mlflow.MlflowClient that the SDK makes, and `mlflow.artifacts.download_artifacts`.

    Attributes:
        root: The artifact store.
        remote: Whether the addresses of models are those of a remote store, from which files are downloaded.
        downloaded: Addresses of the files that were downloaded.
        broken: What is raised when a file of the version is downloaded, by `name/version`.
        page: Largest number of results in one answer.
    """

    def __init__(self, root: Path, *, remote: bool = True) -> None:
        self.root, self.remote, self.page = root, remote, 1000
        self.downloaded: list[str] = []
        self.broken: dict[str, Exception] = {}
        self._models: dict[str, dict[str, str]] = {}
        self._versions: dict[str, Any] = {}

    def tracking(self) -> Tracking:
        return Tracking(self, self.download, tracking_uri="http://tracking", registry_uri=None)

    def add(
        self,
        name: str,
        version: int = 1,
        flavors: dict[str, Any] | None = None,
        *,
        created: int = 1000,
        status: str = "READY",
        files: Mapping[str, bytes] | bool = True,
    ) -> Path:
        """Add a version with an MLmodel file and further files; by default, a file of XGBoost."""
        flavors = {"xgboost": {"data": "model.ubj"}} if flavors is None else flavors
        if files is True:
            files = {"model.ubj": f"{name} {version} {created}".encode()}
        folder = self.root / f"{name}-{version}-{created}".strip(" .")
        if files:
            folder.mkdir(parents=True)
            (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}))
            for path, content in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
        self._models.setdefault(name, {})
        self._versions[f"{name}/{version}"] = SimpleNamespace(
            name=name, version=version, status=status, creation_timestamp=created, folder=folder
        )
        return folder

    def alias(self, name: str, alias: str, version: int) -> None:
        self._models[name][alias] = version  # type: ignore[assignment] # MLflow's aliases are whole numbers

    def remove(self, reference: str) -> None:
        del self._versions[reference]

    def _paged(self, found: list[Any], token: str | None, limit: int) -> Any:
        start, size = int(token or 0), min(limit, self.page)

        class Page(list[Any]):
            token = str(start + size) if start + size < len(found) else ""

        return Page(found[start : start + size])

    def search_registered_models(self, max_results: int, page_token: str | None) -> Any:
        found = [SimpleNamespace(name=name, aliases=dict(aliases)) for name, aliases in self._models.items()]
        return self._paged(found, page_token, max_results)

    def get_registered_model(self, name: str) -> Any:
        if name not in self._models:
            raise MlflowError(f"Registered Model with name={name} not found", "RESOURCE_DOES_NOT_EXIST")
        return SimpleNamespace(name=name, aliases=dict(self._models[name]))

    def search_model_versions(self, filter_string: str | None, max_results: int, page_token: str | None) -> Any:
        found = list(self._versions.values())
        if filter_string is not None:
            assert filter_string.startswith("name = ")
            found = [one for one in found if filter_string.removeprefix("name = ")[1:-1] == one.name]
        return self._paged(found, page_token, max_results)

    def get_model_version(self, name: str, version: str) -> Any:
        try:
            return self._versions[f"{name}/{version}"]
        except KeyError:
            raise MlflowError(f"Model Version {version} not found", "RESOURCE_DOES_NOT_EXIST") from None

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        return self.get_model_version(name, str(self._models[name][alias]))

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        folder = self.get_model_version(name, version).folder
        return f"s3://artifacts/{name}/{version}" if self.remote else folder.as_uri()

    def download(self, *, artifact_uri: str, dst_path: str, tracking_uri: str | None, registry_uri: str | None) -> str:
        assert (tracking_uri, registry_uri) == ("http://tracking", None)
        name, version, path = artifact_uri.removeprefix("s3://artifacts/").split("/", 2)
        target = Path(dst_path) / path
        if path != "MLmodel" and (error := self.broken.get(f"{name}/{version}")):
            target.write_bytes(b"half")
            raise error
        self.downloaded.append(artifact_uri)
        source = self.get_model_version(name, version).folder / path
        if not source.exists():
            raise MlflowError(f"{artifact_uri} does not exist", "RESOURCE_DOES_NOT_EXIST")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return str(target)
