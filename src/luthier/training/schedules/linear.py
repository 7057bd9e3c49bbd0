"""From the peak straight down: 1 - progress. The usual choice since BERT, https://arxiv.org/abs/1810.04805."""

from luthier.training.schedules import Schedule


class Linear(Schedule):
    """Warm-up, then a straight line to zero."""

    def after_warmup(self, progress: float) -> float:
        return 1.0 - progress
