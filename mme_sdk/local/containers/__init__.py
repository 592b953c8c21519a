"""Programs that serve models the way a SageMaker container does."""
