"""Microstructure and volatility signals, streaming and batch."""
