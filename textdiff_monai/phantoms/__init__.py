"""Generated images and the grammar of their captions."""
