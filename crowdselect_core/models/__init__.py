"""Local models and their tokenizers: hub ids, loading, templates, batches, likelihoods."""
