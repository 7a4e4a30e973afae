"""Measures exported models on this machine: latency, throughput, memory, size, and the metric on real pictures."""
