"""lm-evaluation-harness on short tasks."""
