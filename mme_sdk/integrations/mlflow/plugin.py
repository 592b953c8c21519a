"""The target `mme` of `mlflow deployments`. MLflow imports this module by its entry point; nothing else does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow.deployments import (  # pyright: ignore[reportMissingImports]
    BaseDeploymentClient,  # pyright: ignore[reportAttributeAccessIssue]
    PredictionsResponse,  # pyright: ignore[reportAttributeAccessIssue]
)
from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]
from mlflow.protos.databricks_pb2 import ErrorCode  # pyright: ignore[reportMissingImports]

from mme_sdk.client import MMEClient
from mme_sdk.errors import AccessDeniedError, ConflictError, InvalidInputError, MMEError, NotFoundError
from mme_sdk.integrations.mlflow.deployments import HELP, Deployments, Target
from mme_sdk.integrations.mlflow.tracking import connect

__all__ = ["MMEDeploymentClient", "run_local", "target_help"]

_CODES: tuple[tuple[type[MMEError], str], ...] = (
    (NotFoundError, "RESOURCE_DOES_NOT_EXIST"),
    (ConflictError, "RESOURCE_ALREADY_EXISTS"),
    (InvalidInputError, "INVALID_PARAMETER_VALUE"),
    (AccessDeniedError, "PERMISSION_DENIED"),
    (MMEError, "INTERNAL_ERROR"),
)


class MMEDeploymentClient(BaseDeploymentClient):  # type: ignore[misc] # MLflow has no types here
    """Deployments as models of one multi-model endpoint. `mlflow deployments help -t mme` describes the settings.

    Each method raises `MlflowException`, whose cause is the error of mme_sdk.

    Args:
        target_uri: `mme:/ENDPOINT?models=s3://BUCKET/PREFIX/`.
    """

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        with _mlflow_errors():
            self._target = Target.parse(target_uri)
            self._client = MMEClient(region=self._target.region)
            self._deployments = Deployments(self._target, self._client, connect)

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Register a model below the endpoint's prefix, and deploy it.

        Args:
            name: Name of the deployment: that of the model.
            model_uri: Address of the model, such as `models:/fraud/3`.
            flavor: Flavor to deploy. None takes one that the Python container serves.
            config: `version`. None means nothing.
            endpoint: None, or the endpoint of the target.

        Returns:
            Name, flavor, version, target model and address.
        """
        with _mlflow_errors():
            self._check(endpoint)
            return self._deployments.create(name, model_uri, flavor, config or {})

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Register another model, and deploy it in place of the current one.

        Args:
            name: Name of the deployment.
            model_uri: Address of the model. It is required.
            flavor: Flavor to deploy. None takes one that the Python container serves.
            config: `version`. None means nothing.
            endpoint: None, or the endpoint of the target.

        Returns:
            Name, flavor, version, target model and address.
        """
        with _mlflow_errors():
            self._check(endpoint)
            return self._deployments.update(name, model_uri, flavor, config or {})

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Delete a deployment and all versions of its model. Do nothing if the model does not exist.

        Args:
            name: Name of the deployment.
            config: `grace` and `force`. None means nothing.
            endpoint: None, or the endpoint of the target.
        """
        with _mlflow_errors():
            self._check(endpoint)
            self._deployments.delete(name, config or {})

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Return the deployments.

        Args:
            endpoint: None, or the endpoint of the target.

        Returns:
            Name, endpoint, alias and version of each.
        """
        with _mlflow_errors():
            self._check(endpoint)
            return self._deployments.list()

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Return one deployment.

        Args:
            name: Name of the deployment.
            endpoint: None, or the endpoint of the target.

        Returns:
            Name, endpoint, alias, version, flavor, address in MLflow, target model and address.
        """
        with _mlflow_errors():
            self._check(endpoint)
            return self._deployments.get(name)

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Invoke a deployment.

        Args:
            deployment_name: Name of the deployment. It is required.
            inputs: A data frame, an array, or a JSON value.
            endpoint: None, or the endpoint of the target.

        Returns:
            The answer of the model under `predictions`.
        """
        with _mlflow_errors():
            self._check(endpoint)
            return PredictionsResponse({"predictions": self._deployments.predict(deployment_name, inputs)})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _check(self, endpoint: str | None) -> None:
        if endpoint not in (None, self._target.endpoint):
            raise InvalidInputError(
                f"the target is the endpoint {self._target.endpoint!r}, not {endpoint!r}",
                hint=f"use the target mme:/{endpoint}",
            )


def run_local(
    target: str,
    name: str,
    model_uri: str,
    flavor: str | None = None,  # noqa: ARG001 - MLflow passes it
    config: Mapping[str, Any] | None = None,  # noqa: ARG001
) -> None:
    """Refuse to run a model locally: `python -m mme_sdk.local` runs the whole endpoint.

    Args:
        target: The target.
        name: Name of the deployment.
        model_uri: Address of the model.
        flavor: Flavor to deploy.
        config: Settings.

    Raises:
        MlflowException: Always.
    """
    raise MlflowException(
        f"{target} does not run {name} ({model_uri}) by itself: start `python -m mme_sdk.local`, export the variables "
        "that it prints, and use `mlflow deployments create`",
        error_code=ErrorCode.Value("NOT_IMPLEMENTED"),
    )


def target_help() -> str:
    """Return the help of the target.

    Returns:
        The text.
    """
    return HELP


@contextmanager
def _mlflow_errors() -> Iterator[None]:
    try:
        yield
    except MMEError as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        raise MlflowException(str(error), error_code=ErrorCode.Value(code)) from error
