"""Prefect flows: when the steps run, in which order, and who watches."""

from expunge.project.telemetry import switch_off

switch_off()
