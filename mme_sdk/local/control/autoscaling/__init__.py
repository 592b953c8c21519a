"""Application Auto Scaling: the service, its schedules, and the scaler that applies them."""
