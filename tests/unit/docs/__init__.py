"""The generated and the written pages of docs/ agree with the code."""
