"""``python -m finetune_export`` is the command ``finetune-export``."""

from finetune_export.cli import main

main()
