"""Binance USD-M dump files into a NautilusTrader Parquet catalog."""
