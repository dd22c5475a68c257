"""What people see: pages made on the server, which say the same without any script."""
