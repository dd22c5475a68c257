"""What maintains the repository: pages of docs that are made from the code. Not installed."""
