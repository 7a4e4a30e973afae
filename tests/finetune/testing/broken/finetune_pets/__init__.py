"""A plugin that keeps every rule; the defects of ``defects.py`` are injected into it."""
