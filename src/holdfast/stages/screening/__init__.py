"""A screening as a stage, and of rows that need not fit into memory."""
