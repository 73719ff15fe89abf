"""Published results: which models did better than ours on MTEB, and are worth measuring here."""
