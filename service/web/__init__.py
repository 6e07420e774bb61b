"""Pages for people and their assets."""
