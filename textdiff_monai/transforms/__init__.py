"""Pictures to network inputs and masks back, and augmentation that keeps the caption true."""
