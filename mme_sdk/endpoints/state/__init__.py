"""Live endpoints: description, conversion to a spec, differences from a spec, and ownership of resources."""
