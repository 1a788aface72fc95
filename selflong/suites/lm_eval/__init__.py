"""Any task of lm-evaluation-harness."""
