"""Training in processes of their own: several of them, or one on a GPU that it frees at its end."""
