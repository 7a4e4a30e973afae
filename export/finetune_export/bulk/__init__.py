"""Predictions by the hundred thousand: constant memory, all processors, and a run that was killed can go on."""
