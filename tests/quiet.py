"""A search's progress that says nothing, for tests."""


class Quiet:
    """Satisfies `training.fitting.selection.Progress`."""

    def start(self, title: str, n_fits: int, plan: str | None = None) -> None:
        """Ignore the beginning of a search."""

    def epoch(self, fit: int, label: str, share: float, train_loss: float, validation_loss: float) -> None:
        """Ignore an epoch."""

    def step(self, done: int, what: str) -> None:
        """Ignore a step."""

    def finish(self, summary: str) -> None:
        """Ignore the end of a search."""
