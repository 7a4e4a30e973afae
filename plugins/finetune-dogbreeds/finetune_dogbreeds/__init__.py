"""Dog breeds for finetune: an embedded drawn sample, and the real Stanford Dogs."""
