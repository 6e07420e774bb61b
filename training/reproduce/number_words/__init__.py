"""The experiment number-words: "three hundred and twelve" → 312, by LSTMs and by a recurrent arithmetic unit."""
