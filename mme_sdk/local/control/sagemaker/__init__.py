"""SageMaker's resources: models, endpoint configurations and endpoints."""
