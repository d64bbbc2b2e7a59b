"""The stages of the rival methods: what rows are ranked by beside the crowd's scores."""
