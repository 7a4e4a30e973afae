"""The backbone 'starter' for finetune, with the weights it was pretrained to."""
