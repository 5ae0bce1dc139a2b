"""The files of a recording: write-ahead logs, segments, their summaries, and the room that they take."""
