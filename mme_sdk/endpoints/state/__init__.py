"""Live endpoints: their description, the spec that would make them, and the difference to another spec."""
