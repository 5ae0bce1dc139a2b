"""All of neuralpower on this machine in about two minutes: rails, recording, attribution, six models, a network held out."""
