"""Run a plan: who does which stage when, and what is kept of it."""
