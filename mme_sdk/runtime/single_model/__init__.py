"""What only single-model endpoints offer: streamed answers and asynchronous inference."""
