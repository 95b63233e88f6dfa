"""Pictures, curves and the report."""
