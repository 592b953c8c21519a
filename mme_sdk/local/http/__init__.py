"""The HTTP server of the embedded SageMaker."""
