"""What each column of Binance's USD-M dumps means, for every other Phoenix package."""
