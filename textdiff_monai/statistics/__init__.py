"""How far figures can be believed: intervals and tests, by image."""
