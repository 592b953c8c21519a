"""Application Auto Scaling: targets, policies, schedules, and the loop that scales."""
