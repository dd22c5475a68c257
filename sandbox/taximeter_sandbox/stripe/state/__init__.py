"""What every part of an account is made of: the clock, ids, the journal, tables, and the port to the account."""
