"""Pictures and tables of what a model does to images, as the papers' figures show it."""
