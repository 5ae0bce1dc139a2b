"""What a reading should be: powers, nuisance parameters and noise."""
