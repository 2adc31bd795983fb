"""Diagnostics in the form that `diagnostic_aggregator` and Foxglove read."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

_LEVELS = {"ok": DiagnosticStatus.OK, "warning": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR}


def diagnostic(name: str, level: str, message: str, values: Mapping[str, object]) -> DiagnosticArray:
    """One status: level is ok, warning or error; values are shown as text."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    status = DiagnosticStatus(level=_LEVELS[level], name=name, message=message, hardware_id="jepa_ros", values=pairs)
    return DiagnosticArray(status=[status])
