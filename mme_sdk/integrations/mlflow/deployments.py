"""Deployments of MLflow as models of one multi-model endpoint. `plugin` calls this; it does not import MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import attrs

from mme_sdk._validation import check_number
from mme_sdk.errors import ConflictError, InvalidInputError, ModelNotFoundError
from mme_sdk.integrations.mlflow.sync import register
from mme_sdk.integrations.mlflow.tracking import SOURCE, Tracking
from mme_sdk.registry.alias import Alias
from mme_sdk.registry.names import check_alias, check_name
from mme_sdk.types.model import ModelVersion
from mme_sdk.types.s3uri import S3Uri

if TYPE_CHECKING:
    from mme_sdk.client import MMEClient
    from mme_sdk.endpoints import Endpoint
    from mme_sdk.endpoints.state.description import EndpointDescription
    from mme_sdk.registry import ModelRegistry

__all__ = ["HELP", "Deployments", "Target"]

_FORM = "mme:/ENDPOINT?models=s3://BUCKET/PREFIX/"
HELP = f"""\
The target is one multi-model endpoint of Amazon SageMaker: {_FORM}

A deployment is a model of the endpoint. Its name is the name of the model, and the alias `deployed` of the model refers
to the version that answers.

Settings in the target, after `?` and separated by `&`:
  models        S3 prefix of the endpoint. If it is left out, it is read from the endpoint.
  alias         Alias that refers to the deployed version. Default: deployed.
  region        AWS region. Default: that of the environment, as are the credentials.
  content_type  Media type in which `predict` sends. Default: application/json, a data frame as a list of records.

Settings with -C, of create and update:
  version       Version of the model. Default: the number of `models:/NAME/NUMBER` or of the alias `models:/NAME@ALIAS`;
                for another address, derived from the content.

Settings with -C, of delete:
  grace         Seconds between the refusal of further invocations and the deletion of the archives. Default: 0.
  force         true deletes the model even if other aliases refer to its versions. Default: false.
"""


@attrs.frozen
class Target:
    """A target URI.

    Attributes:
        endpoint: Name of the endpoint.
        models: S3 prefix of the endpoint; None to read it from the endpoint.
        alias: Alias of the deployed versions.
        region: AWS region; None for that of the environment.
        content_type: Media type in which data are sent; None chooses it by their type.
    """

    endpoint: str
    models: str | None = None
    alias: str = "deployed"
    region: str | None = None
    content_type: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Target:
        """Parse a target URI.

        Raises:
            InvalidInputError: It is not valid.
        """
        path, _, query = uri.partition("?")
        scheme, _, endpoint = path.partition(":")
        name = endpoint.removeprefix("/")
        if scheme != "mme" or not endpoint.startswith("/") or not name or "/" in name or "#" in uri:
            raise InvalidInputError(f"the target {uri!r} does not name an endpoint", hint=f"write {_FORM}")
        settings: dict[str, str] = {}
        for part in query.split("&") if query else []:
            key, equals, value = part.partition("=")
            if key in settings or key not in ("alias", "content_type", "models", "region") or not equals:
                raise InvalidInputError(
                    f"the target {uri!r} has an unknown or repeated setting {part!r}",
                    hint="the settings are models, alias, region and content_type; write & within a value as %26",
                )
            settings[key] = unquote(value)
            if not settings[key]:
                raise InvalidInputError(f"the setting {key} of the target {uri!r} is empty", hint=f"write {_FORM}")
        if "models" in settings:
            settings["models"] = str(S3Uri.parse(settings["models"]).as_prefix())
        check_alias(settings.get("alias", "deployed"))
        return cls(name, **settings)


class Deployments:
    """The deployments of one target.

    Args:
        target: The target.
        client: A client.
        tracking: Returns what reads from MLflow. Only `create` and `update` call it.
    """

    def __init__(self, target: Target, client: MMEClient, tracking: Callable[[], Tracking]) -> None:
        self._target, self._client, self._tracking = target, client, tracking
        self._endpoint: Endpoint = client.endpoint(target.endpoint)
        self._prefix = target.models

    def create(self, name: str, model_uri: str, flavor: str | None, config: Mapping[str, Any]) -> dict[str, Any]:
        """Register a model, and create the alias that deploys it.

        Raises:
            ConflictError: The deployment exists.
            MMEError: A step failed. Without the alias, there is no deployment.
        """
        models = self._models()
        if self._alias(models, name) is not None:
            raise ConflictError(f"the deployment {name!r} exists", hint="update it, or choose another name")
        stored, used = self._register(models, name, model_uri, flavor, config)
        models.alias(name, self._target.alias, stored, expected=None)
        return {"name": name, "flavor": used, **self._facts(stored)}

    def update(self, name: str, model_uri: str | None, flavor: str | None, config: Mapping[str, Any]) -> dict[str, Any]:
        """Register another model, and move the alias to it.

        Raises:
            ModelNotFoundError: The deployment does not exist.
            MMEError: A step failed. The deployment is unchanged.
        """
        if model_uri is None:
            raise InvalidInputError(f"the update of {name!r} needs the URI of a model", hint="give it with -m")
        models = self._models()
        current = self._known(models, name)
        stored, used = self._register(models, name, model_uri, flavor, config)
        models.alias(name, self._target.alias, stored, expected=current.weights)
        return {"name": name, "flavor": used, **self._facts(stored)}

    def delete(self, name: str, config: Mapping[str, Any]) -> None:
        """Delete the alias, then all versions of the model. Do nothing if the model does not exist.

        Raises:
            ConflictError: Another alias refers to a version. Nothing was deleted.
            MMEError: A step failed; delete again.
        """
        given = _settings("delete", config, "grace", "force")
        grace, force = _number(given.get("grace", "0")), _flag(given.get("force", "false"))
        models = self._models()
        own = f"{name}@{self._target.alias}"
        if not force and (others := [one.reference for one in models.aliases(name) if one.reference != own]):
            raise ConflictError(
                f"the deployment {name!r} was not deleted, because {', '.join(others)} refer to versions of the model",
                hint="delete these aliases first, or give -C force=true",
            )
        with suppress(ModelNotFoundError):
            models.unalias(name, self._target.alias)
        with suppress(ModelNotFoundError):
            models.delete(name, grace=grace, force=force)

    def list(self) -> list[dict[str, Any]]:
        """Return the name, the endpoint and the version of each deployment."""
        models = self._models()
        return [self._shown(one) for one in models.aliases() if one.alias == self._target.alias]

    def get(self, name: str) -> dict[str, Any]:
        """Return what is known of a deployment.

        Raises:
            ModelNotFoundError: It does not exist.
        """
        models = self._models()
        alias = self._known(models, name)
        found = self._shown(alias)
        if len(alias.weights) == 1:
            stored = models.get(name, next(iter(alias.weights)))
            found |= {"flavor": stored.metadata.get("mlflow-flavor"), "model_uri": stored.metadata.get(SOURCE)}
            found |= self._facts(stored)
        return found

    def predict(self, name: str | None, inputs: Any) -> Any:
        """Invoke the deployed version.

        Raises:
            ModelNotFoundError: The deployment does not exist.
            MMEError: The invocation failed.
        """
        if name is None:
            raise InvalidInputError("predict needs the name of a deployment", hint="give --name")
        version = self._models().resolve(f"{check_name(name)}@{self._target.alias}")
        content_type = self._target.content_type
        if content_type is None and hasattr(inputs, "to_dict") and hasattr(inputs, "columns"):
            inputs, content_type = _records(inputs), "application/json"
        # The address, not the version: the SDK then checks that it is below the endpoint's own prefix.
        answer = self._endpoint.invoke(inputs, model=version.uri, content_type=content_type).value
        return answer.tolist() if hasattr(answer, "tolist") else answer

    def _models(self) -> ModelRegistry:
        if self._prefix is None:
            self._prefix = _prefix(self._endpoint.describe())
        return self._client.models(self._prefix)

    def _register(
        self, models: ModelRegistry, name: str, model_uri: str, flavor: str | None, config: Mapping[str, Any]
    ) -> tuple[ModelVersion, str]:
        given = _settings("create and update", config, "version")
        check_name(name)
        seen = self._endpoint.describe()
        served, images = _prefix(seen), {image for variant in seen.variants for image in variant.images}
        if served != models.uri:
            raise InvalidInputError(
                f"{self._target.endpoint} serves the models below {served}, not those below {models.uri}",
                hint="correct models= of the target, or leave it out",
                endpoint=self._target.endpoint,
            )
        tracking = self._tracking()
        found = tracking.find(model_uri)
        number = None if found is None else found.version
        source = model_uri if found is None else found
        stored = register(
            models,
            tracking,
            source,
            name,
            given.get("version", number),
            flavor=flavor,
            image=images.pop() if len(images) == 1 else None,
        )
        return stored, stored.metadata.get("mlflow-flavor", "")

    def _facts(self, version: ModelVersion) -> dict[str, Any]:
        return {"version": version.version, "target_model": version.target_model, "uri": version.uri}

    def _shown(self, alias: Alias) -> dict[str, Any]:
        versions = [*alias.weights]
        shown = versions[0] if len(versions) == 1 else dict(alias.weights)
        return {"name": alias.name, "endpoint": self._target.endpoint, "alias": alias.alias, "version": shown}

    def _alias(self, models: ModelRegistry, name: str) -> Alias | None:
        return next((one for one in models.aliases(name) if one.alias == self._target.alias), None)

    def _known(self, models: ModelRegistry, name: str) -> Alias:
        found = self._alias(models, name)
        if found is None:
            raise ModelNotFoundError(
                f"there is no deployment {name!r} below {models.uri}",
                model=name,
                hint="`mlflow deployments list` shows the deployments, `mlflow deployments create` makes one",
            )
        return found


def _prefix(seen: EndpointDescription) -> str:
    if seen.mode != "MultiModel" or seen.model_data is None:
        raise InvalidInputError(
            f"{seen.name} is not a multi-model endpoint, or its model cannot be read",
            hint=f"name a multi-model endpoint: {_FORM}",
            endpoint=seen.name,
        )
    return str(S3Uri.parse(seen.model_data).as_prefix())


def _settings(verb: str, config: Mapping[str, Any], *names: str) -> dict[str, str]:
    unknown = sorted(set(config) - set(names))
    if unknown:
        raise InvalidInputError(
            f"unknown settings: {', '.join(map(str, unknown))}", hint=f"{verb} take {' and '.join(names)}"
        )
    return {name: str(value) for name, value in config.items()}


def _number(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise InvalidInputError(f"grace must be a number of seconds, not {text!r}") from None
    check_number("grace", seconds, at_least=0)
    return seconds


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InvalidInputError(f"force must be true or false, not {text!r}")
    return text.lower() == "true"


def _records(frame: Any) -> list[dict[str, Any]]:
    """Return a data frame as records, which keep the names of the columns."""
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        raise InvalidInputError("two columns of the data frame have the same name", hint="rename one of them")
    frame = frame.set_axis(names, axis="columns")
    return list(frame.to_dict("records"))
