"""Speed and memory against the published way of computing; not part of the wheel."""
