"""From a data set to pictures that can be trained on: audit, split, pixels."""
