"""Every pydantic model of the configuration, loading, and the wording of its errors."""
