"""What captions mean and in how many ways that can be said: the grammar, without images."""
