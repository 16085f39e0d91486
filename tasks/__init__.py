"""Prefect tasks, one per pipeline step: each reproduces its DVC stage in this process and returns digests."""

from expunge.project.prefect_home import use_own_home
from expunge.project.telemetry import switch_off

switch_off()
use_own_home()
