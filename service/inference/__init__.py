"""Arrays in, arrays out: sessions, the registry of loaded models, and prediction. Knows no HTTP."""
