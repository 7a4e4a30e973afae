"""Export targets: what a trained network can be turned into, one file or folder each."""
