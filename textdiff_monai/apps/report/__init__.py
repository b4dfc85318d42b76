"""One page that says how good a run is, where it is wrong, and how to repeat it."""
