"""Metrics of classes that have an order."""
