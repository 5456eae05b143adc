"""The command line as ``python -m napari_accr``, which torchrun can start."""

from __future__ import annotations

import sys

from napari_accr.cli import main

if __name__ == "__main__":
    sys.exit(main())
