"""The peak, kept: 1. Good for runs whose length is not known before."""

from luthier.training.schedules import Schedule


class Constant(Schedule):
    """Warm-up, then the peak to the end."""

    def after_warmup(self, progress: float) -> float:
        return 1.0
