"""Seconds for people."""

_MINUTE, _HOUR = 60, 3600


def duration(seconds: float) -> str:
    """As it was measured: `0.4 s`, `34 s`, `2 min 05 s`, `1 h 24 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return _whole(round(seconds))


def rough_duration(seconds: float) -> str:
    """As an estimate deserves it: `5 s`, `40 s`, `3 min 30 s`, `1 h 20 min`; never nothing."""
    step = 1 if seconds < 20 else 5 if seconds < 120 else 30 if seconds < 600 else 60 if seconds < _HOUR else 300
    return _whole(max(1, round(seconds / step) * step))


def _whole(seconds: int) -> str:
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        minutes, rest = divmod(seconds, _MINUTE)
        return f"{minutes} min" + (f" {rest:02d} s" if rest else "")
    hours, rest = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h" + (f" {rest:02d} min" if rest else "")
