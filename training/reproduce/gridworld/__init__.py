"""The grid world of section 4.5 of arXiv:1808.00508: an agent that must arrive at the time asked for."""
