"""What happened between two looks at a search, as records."""

from collections.abc import Iterator

from luthier.run import Record
from luthier.studying.entries import Entry, Snapshot

AFTER = {"paused": "paused", "done": "done", "failed": "failed"}


def changes(before: Snapshot, now: Snapshot) -> Iterator[Record]:
    """Trials that began, went on, were judged, rest, are done or failed; by number."""
    for entry in now.entries:
        number = entry.trial.number
        old = before.entries[number] if number < len(before.entries) else None
        if old != entry:
            yield from _of_trial(old, entry)


def _of_trial(old: Entry | None, now: Entry) -> Iterator[Record]:
    trial = now.trial
    about = {"trial": trial.number, "until": trial.target}
    if old is None:
        yield {"event": "began", **about, "values": dict(trial.values), "bracket": trial.bracket}
    elif trial.target > old.trial.target:
        yield {"event": "promoted", **about, "from": old.trial.resource}
    elif trial.state == "running" and old.trial.state == "paused":
        yield {"event": "resumed", **about, "from": old.trial.resource}
    for rung in trial.rungs[len(old.trial.rungs) if old else 0 :]:
        yield {"event": "judged", "trial": trial.number, "rung": rung}
    if trial.state in AFTER and (old is None or old.trial.state != trial.state):
        reason = {"reason": now.reason} if now.reason else {}
        yield {"event": AFTER[trial.state], "trial": trial.number, **reason}
