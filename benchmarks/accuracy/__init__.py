"""The accuracy cases: what is drawn and simulated, and what an estimate of it is worth."""
