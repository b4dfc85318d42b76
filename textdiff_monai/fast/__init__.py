"""Exact replacements of what is slow on a CPU; each is tested equal to the plain code that it replaces."""
