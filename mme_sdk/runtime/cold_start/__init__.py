"""Cold starts: single flight, load limits, learned load times and probe schedules."""
