"""From a task or a table to a published model. Never imports the web stack."""
