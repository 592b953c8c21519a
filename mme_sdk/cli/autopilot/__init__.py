"""The commands `mme autopilot`."""
