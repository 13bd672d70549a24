"""What is read from a running training: operations, time, memory. Each probe says what it sees and what it does not."""
