"""The HTTP side of the embedded SageMaker."""
