"""Measuring: interleaved rounds, medians with spread, and reports that say on which machine."""
