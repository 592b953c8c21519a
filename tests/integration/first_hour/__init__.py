"""The first hour of a new user: names, statuses, cold starts, and the messages of common mistakes."""
