"""The built-in data set, backbones and target, registered through the same hooks as a stranger's."""
