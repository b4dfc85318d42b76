"""``python -m textdiff_monai`` is ``textdiff``."""

from textdiff_monai.apps.cli import main

main()
