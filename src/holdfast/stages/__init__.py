"""What one stage is, and doing it."""
