"""The accuracy cases: what an estimate of a simulated world (tests/worlds) is worth."""
