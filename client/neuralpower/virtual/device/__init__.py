"""The device in software: what runs when, what it draws, and the truth of it."""
