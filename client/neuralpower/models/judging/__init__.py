"""Models beside baselines and published figures."""
