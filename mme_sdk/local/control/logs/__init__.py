"""CloudWatch Logs over the output of the containers."""
