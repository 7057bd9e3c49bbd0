"""What torch's CPU allocator really gave out, from the profiler's memory events."""

from collections.abc import Callable

from torch import nn
from torch.profiler import ProfilerActivity, profile


def measured_peak(model: nn.Module, run: Callable[[], object]) -> int:
    """Bytes when most is taken while `run` runs, the model's own from before included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
        run()
    assert told.profiler is not None
    assert told.profiler.kineto_results is not None
    events = [event for event in told.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak + _held(model)


def _held(model: nn.Module) -> int:
    storages = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
