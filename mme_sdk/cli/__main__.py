"""The command line as a module: `python -m mme_sdk.cli`."""

import sys

from mme_sdk.cli.entry import main

sys.exit(main())
