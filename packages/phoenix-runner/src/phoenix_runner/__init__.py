"""Suites, replay, walk-forward experiments, bundles and reports."""
