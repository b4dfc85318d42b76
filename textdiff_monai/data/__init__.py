"""What comes in and what is written: layouts, tables, images, masks, captions, checks."""
