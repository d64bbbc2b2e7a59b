"""Fine-tuning: rows with what is trained of them, the trainer, checkpoints, the trained model."""
