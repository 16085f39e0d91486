"""Prefect flows: when the steps run, in which order, and who watches."""

from expunge.project.prefect_home import use_own_home
from expunge.project.telemetry import switch_off

switch_off()
use_own_home()
