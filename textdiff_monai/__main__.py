"""``python -m textdiff_monai`` is ``textdiff``."""

from textdiff_monai.cli import main

main()
