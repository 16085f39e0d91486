"""Events that Prefect's automations can send on: a gate that failed, a request that is overdue.

Each names its subject by id alone. `docs/alerts.md` shows an automation that writes an e-mail or a message to Slack.
"""

from __future__ import annotations

from prefect.events import emit_event

GATE_FAILED = "expunge.gate.failed"
REQUEST_OVERDUE = "expunge.request.overdue"
AUDIT_FAILED = "expunge.audit.failed"


def tell(event: str, kind: str, name: str, problem: str, command: str = "") -> None:
    """Emit an event about the release or request `name`: what is wrong, and the command that ends it."""
    emit_event(
        event=event,
        resource={"prefect.resource.id": f"expunge.{kind}.{name}", "prefect.resource.name": name},
        payload={"subject": name, "problem": problem, "command": command},
    )
