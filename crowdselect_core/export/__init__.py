"""What a run writes for its user: tables, training files, and the manifest over them."""
