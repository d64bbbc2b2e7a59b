"""Integration of the metrics, quotas, and the choice of rows and responses."""
