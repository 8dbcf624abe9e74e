"""NautilusTrader strategies on Phoenix signals: pure decisions, thin engine classes."""
