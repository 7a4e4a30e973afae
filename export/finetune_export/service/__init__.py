"""The HTTP service: bounded in everything it takes; needs the extra ``finetune-export[serve]``."""
