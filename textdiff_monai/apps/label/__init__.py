"""The MONAI Label server that reads sentences."""
