"""What a tick costs and how late it is: our loop beside cyclictest, a bare C loop and a Python loop."""
