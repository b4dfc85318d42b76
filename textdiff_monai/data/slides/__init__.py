"""Slides: windows of them, regions, and masks too large for memory."""
