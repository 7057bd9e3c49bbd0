"""The task's own loss: the sum over rows divided by the sum of counts; a negative log-likelihood in nats where the
task has one."""

from typing import ClassVar

from luthier.evaluation.metrics._of_losses import OfLosses


class Loss(OfLosses):
    """The task's loss without smoothing or weights; it also sees how sure a wrong answer was."""

    higher_is_better: ClassVar[bool] = False
