"""The package of the docs can be imported, as if it were installed."""

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "wharfd-loyalty"
if str(EXAMPLE) not in sys.path:
    sys.path.append(str(EXAMPLE))
