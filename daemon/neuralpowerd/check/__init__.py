"""`neuralpowerd check`: what a machine offers."""
