"""Video: tracking, and writing results beside it."""
