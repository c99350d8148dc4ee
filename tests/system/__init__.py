"""Tests of processes: start, workers, drain, deployment, memory, the bench and the soak."""
