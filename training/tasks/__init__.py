"""Tasks: data as code."""
