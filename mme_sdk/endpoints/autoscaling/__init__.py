"""Application Auto Scaling of an endpoint's variants, and its backup in tags."""
