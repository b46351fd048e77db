"""The package of the docs can be imported, as if it were installed, and so can the plugin that their blocks make."""

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "wharfd-loyalty"
for folder in (EXAMPLE, Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
