"""The command line `mme`. No other package imports it.

Each module with commands has a function `add_to`, which adds them to a click group. `mme_sdk/cli/main.py` lists the
modules. A module imports the SDK inside its functions, so that `mme --help` starts without it.
"""
