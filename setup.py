"""What setup.cfg cannot say: every package of the code, and the folder bundle/ as one more beside them."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["textdiff_monai*"]), "textdiff_monai.bundle"],
    package_dir={"textdiff_monai.bundle": "bundle"},
)
