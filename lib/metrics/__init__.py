"""Metrics: arrays and features in, numbers with intervals out."""
