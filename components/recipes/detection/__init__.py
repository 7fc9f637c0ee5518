"""Recipe detection: where in an image something is, and what."""
