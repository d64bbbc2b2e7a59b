"""What brings the flows to a Prefect server: the deployments, and a server for one machine."""
