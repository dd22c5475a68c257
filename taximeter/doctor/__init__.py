"""`taximeter doctor`: one page that says whether all is well, what waits, what a person must do, and with which command."""
