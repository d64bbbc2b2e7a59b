"""Look after a store: python -m crowdselect_core.store ls|show|verify|gc."""

import sys

from crowdselect_core.store.admin.cli import main

sys.exit(main())
