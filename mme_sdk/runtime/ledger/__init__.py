"""The ledger of a job: the answers that it has, so that a job that is run again calls only what is missing."""
