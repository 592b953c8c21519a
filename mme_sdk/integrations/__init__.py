"""Programs that use endpoints and registries. Each has a package of its own, such as `mme_sdk.integrations.mlflow`."""
