"""State that processes and machines share: leases, cold slots, the rate of calls and load times."""
