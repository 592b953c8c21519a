"""AWS's wire protocols, from the service models."""
