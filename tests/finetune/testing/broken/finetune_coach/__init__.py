"""A plugin with a callback and a section that keep every rule; a test injects faults into it."""
