"""Studies on signals and results that need no engine: labels, decay, regimes, chained folds."""
