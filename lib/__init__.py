"""Private image sharing: models, attacks and metrics, by concept."""
