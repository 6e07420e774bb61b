"""From bytes to an answer: published models behind HTTP. Never imports torch."""
