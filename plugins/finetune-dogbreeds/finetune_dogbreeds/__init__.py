"""Dog breeds for finetune: an embedded drawn sample, the real Stanford Dogs, drawn kinds to pretrain on."""
