"""Other programs that use endpoints and registries: each has a package of its own, such as `mme_sdk.integrations.mlflow`."""
