"""What umbel and some of its extras need: python requirements.py pyproject.toml [EXTRA ...]"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text("utf-8"))["project"]
extras = project["optional-dependencies"]
unknown = [name for name in sys.argv[2:] if name not in extras]
if unknown:
    sys.exit(f"EXTRAS: umbel has no extra {unknown[0]!r}; it has {', '.join(sorted(extras))}")
print(*project["dependencies"], *(line for name in sys.argv[2:] for line in extras[name]), sep="\n")
